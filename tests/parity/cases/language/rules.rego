# Kinds of rules, and what they come to.
package parity.rules

p_001 := 1 if false else := 2

p_002 := 1 if data.dd.missing else := 2 if input.peer.service == "orders" else := 3

p_003 := data.dd.missing

p_004 := data.dd.missing if true

p_005 := {"a": data.dd.missing}

p_006 := [data.dd.missing]

p_007 := x if { x := data.dd.missing } else := 5

p_008[x] := y if { some x, y in {"a": 1, "b": 2} }

p_009[x] contains y if { some x, y in {"a": 1, "b": 2} }

p_010 contains x if { some x in [1, 2, 2] }

p_011 contains data.dd.missing

p_012 contains data.dd.missing if true

p_013 contains {"code": data.dd.missing} if true

p_014[data.dd.missing] := 1 if true

p_015[x] := y if { some x, y in {"a": 1}; data.dd.missing }

p_016 contains 1 if false

p_017[1] := 2 if false

p_018 := 1 if true
p_018 := 1 if true

p_019 := 1 if true
p_019 := 2 if true

p_020[x] := 1 if { x := "a" }
p_020[x] := 2 if { x := "a" }

p_021[x] := 1 if { x := "a" }
p_021[x] := 1 if { x := "a" }

default p_022 := 1
p_022 := 2 if false

default p_023 := 1
p_023 := data.dd.missing

default p_024 := [1, {"a": 2}]
p_024 := 2 if false

default p_025 := 1
p_025 := 2 if false
p_025 := 3 if true

default p_026 := {x | some x in [1]}

p_027 := f_027(1)
f_027(x) := x + 1

p_028 := f_028(1)
f_028(x) := 1 if x == 1
f_028(x) := 2 if x > 0

p_029 := f_029(3)
f_029(x) := 1 if x == 1 else := 2

p_030 := f_030(1)
f_030(1) := "one"
f_030(2) := "two"

p_031 := f_031(2)
f_031(1) := "one"
f_031(2) := "two"

p_032 := f_032([1, 2])
f_032([a, b]) := a + b

p_034 := f_034(1)
f_034(_) := 1

p_035 := f_035(1)
f_035(_) := false

p_036 if f_036(1)
f_036(_) := false

p_037 := f_037(1)
default f_037(_) := 7
f_037(x) := 1 if x == 2

p_038 := f_038(data.dd.missing)
default f_038(_) := 7
f_038(x) := 1 if x == 2

p_039 := f_039(data.dd.missing)
f_039(_) := 7

p_040 if f_040("x")
f_040(x) if x == "x"

p_042 if q_042
q_042 if r_042
r_042 if true

p_043 := q_043.a
q_043 := {"a": 1}

p_044 := q_044.a.b
q_044.a.b := 1

p_045 := q_045["a"].b
q_045.a.b := 1

p_046 := q_046
q_046.a := 1
q_046.b := 2

p_047 := q_047
q_047.a := 1
q_047[x] := 2 if { x := "c" }

p_048 := q_048
q_048.a.b := 1
q_048.a.c := 2

p_049 := count(q_049)
q_049 contains 1
q_049 contains 2

p_050 := x if { x := q_050[_] }
q_050 contains 1

p_051 := {x | x := q_051[_]}
q_051 := [1, 1]

p_052 := x if { some x in q_052 }
q_052 := {1, 2}

p_053 if { q_053[1] }
q_053 contains 1

p_054 if { q_054.x }
q_054 contains "x"

p_055 = 1 if true

f_061(x) = 1
p_061 := f_061(1)

p_063 := 1 if { true; true }

p_064 if { true } { false }

p_065 if true else if false

p_066 if false else if true

p_067 if false else := false

p_068 if { x := 1; x == 1 } else := 2 if { true }

p_069 := {"a": 1, "a": 2}

p_070 := {"a": 1, "b": 2,}

p_071 := [1, 2,]

p_072 := {1, 1}

p_076 := 1e5

p_078 := 1.00

p_079 := 0.1

p_080 := 9007199254740993

p_081 := 9007199254740993 + 1

p_083 := 1 / 3

p_084 := 2 / 3

p_085 := 10 / 2

p_087 := 123456789012345678

p_088 := 3.0

p_089 := 1e2

p_090 := -1

p_091 := 1 - -1

p_092 := 2 * 3 + 4

p_093 := 2 + 3 * 4

p_094 := (2 + 3) * 4

p_095 := 10 - 2 - 3

p_096 := 1 == 1

p_097 := 1 in [1]

p_098 := {1, 2} | {3} & {3, 4}

p_099 := {1, 2} - {2} | {5}

p_100 := "a" if 1 == 1

p_101 := x if x := 1

p_102 := [x, y] if { some x in [1, 2]; some y in [3]; x == 1 }

p_103 := x if some x in [1]

p_104 := 1 if every x in [1] { x == 1 }

p_105 := true if not false

p_107 := {"b": 1, "a": 2}

p_108 := {3, 1, 2}

p_109 := [{3, 1}, {"z", "a"}]

p_110 := "\u0041"

p_111 := "\u00e9\n\t\\ \""

p_112 := `a"b`

p_113 := "a\u2028b"

p_114 := ""

p_115 := "\u0000"

p_116 if { some x; x = 1 }

p_117 if { some x, y; x = 1; y = 2 }

p_118 if { _ = 1 }

p_119 := {x: y} if { x := "a"; y := 1 }

p_120 if { true == true }

p_121 if { [1, 2, 3][1] == 2 }

p_122 if { {"a": [1, 2]}.a[1] == 2 }

p_123 if { input.peer.segments[0] == 1 }

p_124 if { input.peer.segments[-1] == 1 }

p_125 if { input.peer.segments["0"] == 1 }

p_126 if { data.dd.ids["orders"] }

p_127 := data.dd.ids.orders.foo

p_128 := object.keys(data.dd.ids)

p_129 := data.dd.list

p_131 := {x | some x in data.dd.list; not x == "b"}

p_132 contains x if { some x in data.dd.list; not x in {"b"} }

p_133 := 1 if { some x in [1, 2, 3]; x > 1 }

p_134 := x if { some x in [1, 2, 3]; x > 2 }

p_135 := x if { some x in [1, 2, 3]; x > 1 }

p_138 := 1 # comment

p_142 := 1 if { count := 5; count == 5 }

p_143 := 1 if { x := 1; y := 2 }

p_144 := f_144(1)
f_144(x) := y if { y := x }

p_145 := x if { x := 1 } else := y if { y := 2 }

p_146 if { not 1 == 2; not 2 == 3 }

p_147 := a.b if { a := {"b": 1} }

p_148 := a["b"] if { a := {"b": 1} }

p_149 := a[b] if { a := {"b": 1}; b := "b" }

p_150 := [a[b] | a := {"b": 1}; b := "b"]

p_151 := {"x": [1, 2]}["x"][0]

p_152 := [1, 2][0]

p_153 := {1, 2}[1]

p_155 := f_155(1).a
f_155(x) := {"a": x}

p_156 := (1 + 2)

p_157 := [1 + 2, 3 * 4]

p_158 := {"a": 1 + 2}

p_159 := 5 if { input.peer.service in {"orders", "bob"} }

p_160 := y if { y := input.peer.service in {"orders", "bob"} }

p_161 := y if { y := {"a"} == {"a"} }

p_162 := y if { y := 1 < 2 }
