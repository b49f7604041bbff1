# One statement or a few each: what is true, what is not, and what is undefined.
package parity.statements

p001 if { every x in data.dd.missing { x == 1 } }

p002 if { every x in [] { x == 1 } }

p003 if { every x in {} { x == 1 } }

p004 if { every k, v in {"a": 1} { k == "a"; v == 1 } }

p005 if { every x in [1, 2] { x > data.dd.nope } }

p006 if { every x in 5 { x == 1 } }

p007 if { every x in "abc" { x == 1 } }

p008 if { every x in null { x == 1 } }

p009 if { some x in data.dd.missing }

p010 if { some i, x in ["a"]; i == 0; x == "a" }

p011 if { some k, v in {"a": 1}; k == "a" }

p012 if { some x in {1}; x == 1 }

p014 if { some [a, b] in [[1, 2], [3]]; a == 1; b == 2 }

p015 if { some x, "v" in {"a": "v"}; x == "a" }

p016 if { some 1 in [1] }

p017 if { 1 in [1] }

p018 if { 0, 1 in [1] }

p019 if { "a", 1 in {"a": 1} }

p020 if { 1 in {1} }

p021 if { 1 in "1" }

p022 if { 1 in 5 }

p023 if { 1 in null }

p024 if { 1 in {"a": 1} }

p025 if { [1, 2][_] == 2 }

p026 if { {"a": 1}[_] == 1 }

p027 if { {1, 2}[_] == 2 }

p028 if { [1, 2][i] == 2; i == 1 }

p029 if { data.dd.list[i] == "a"; i == 0 }

p030 if { x := 1; x == 1 }

p031 if { x = 1; x == 1 }

p032 if { [a, b] := [1, 2]; a + b == 3 }

p033 if { [a, b] = [1, 2]; a + b == 3 }

p035 if { [1, x] = [y, 2]; x + y == 3 }

p037 if { [x, x] = [1, 1] }

p038 if { [x, x] = [1, 2] }

p039 if { {1, 2} == {2, 1} }

p040 if { 1 == 1.0 }

p041 if { "a" < "b" }

p042 if { [1] < [1, 2] }

p043 if { [2] > [1, 2] }

p044 if { {"a": 1} < {"b": 0} }

p045 if { null < false }

p046 if { false < true }

p047 if { true < 0 }

p048 if { 0 < "" }

p049 if { "z" < [] }

p050 if { [] < {} }

p051 if { {} == {} }

p052 if { set() == set() }

p053 if { set() != {} }

p054 if { 1 < "a" }

p055 if { "é" < "z" }

p056 if { "a" == "a" }

p057 if { "😀" > "é" }

p058 if { 1 + 1 == 2 }

p059 if { 1 / 2 == 0.5 }

p060 if { 7 % 3 == 1 }

p061 if { -7 % 3 == -1 }

p062 if { 7 % -3 == 1 }

p063 if { 7.5 % 2 == 1.5 }

p064 if { 1 / 0 == 1 }

p065 if { 1 % 0 == 1 }

p066 if { {1, 2} - {1} == {2} }

p067 if { {1, 2} & {2} == {2} }

p068 if { {1} | {2} == {1, 2} }

p069 if { 1 - {1} == 1 }

p070 if { 9007199254740993 == 9007199254740992 }

p071 if { 1e3 == 1000 }

p072 if { -0 == 0 }

p073 if { startswith(input.peer.issuer, "a") }

p074 if { data.dd.nope == null }

p075 if { true }

p076 if { false }

p077 if { null }

p078 if { 0 }

p079 if { "" }

p080 if { [] }

p081 if { {} }

p082 if { set() }

p083 if { [false] }

p084 if { data.dd.ids.orders }

p085 if { x := input.peer.issuer; x }

p086 if { f := false; not f }

p087 if { data.dd }

p088 if { is_null(input.peer.issuer) }

p089 if { `raw\n` == "raw\\n" }

p090 if { "\\u00e9" == "é" }

p091 if { "\\ud83d\\ude00" == "😀" }

p092 if { "\/" == "/" }

p094 if { x := [1, 2, 3]; x[count(x) - 1] == 3 }

p095 if { x := {"a": {"b": [10]}}; x.a.b[0] == 10 }

p096 if { x := "a"; {x: 1} == {"a": 1} }

p097 if { x := {"a": 1}; x["a"] == 1 }

p098 if { x := {[1]: 2}; x[[1]] == 2 }

p099 if { x := {1: 2}; x[1] == 2 }

p100 if { x := {{1}}; {1} in x }

p101 if { x := [y | some y in [3, 1, 2]]; x == [3, 1, 2] }

p102 if { x := {y | some y in [3, 1, 2, 3]}; count(x) == 3 }

p103 if { x := {k: v | some k, v in ["a", "b"]}; x[1] == "b" }

p104 if { x := {k: 1 | some k in ["a", "a"]}; x == {"a": 1} }

p105 if { x := {k: v | some v, k in ["a", "a"]}; x }

p106 if { x := [y | y := data.dd.missing]; x == [] }

p107 if { x := {data.dd.missing: 1} }

p108 if { x := [data.dd.missing] }

p109 if { x := [1, data.dd.missing]; true }

p110 if { x := {"a": data.dd.missing}; true }

p111 if { x := {1 | data.dd.missing}; x == set() }

p112 if { x := [a | a := [b | b := 1]]; x == [[1]] }

p113 if { x := sum([1 | some i in input.peer.segments]); x == 1 }

p114 if { all := [x | x := data.dd.list[_]]; all == ["a"] }

p115 if { some path, value; walk({"a": {"b": 2}}, [path, value]); value == 2 }

p116 if { r := {x | walk([1, [2]], [_, x]); is_number(x)}; r == {1, 2} }

p117 if { contains("abc", "b") }

p118 if { x := contains("abc", "b"); x }

p119 if { some x in numbers.range(1, 3); x == 2 }

p120 if { a := 1; b := a; b == 1 }

p121 if { x == 1; x = 1 }

p122 if { 1 = x; x == 1 }

p123 if { x := 1; x = 2 }

p124 if { [x | x := 1][0] == 1 }

p125 if { {"a": 1}.a == 1 }

p126 if { "a" in {"a": 1} }

p127 if { object.get({"a": null}, "a", 1) == null }

p128 if { object.get({"a": 1}, ["a", "b"], 2) == 2 }

p129 if { json.unmarshal("[1]")[0] == 1 }

p130 if { data.dd[k].alice == 1 }

p131 if { data["dd"]["ids"]["orders"] == 1 }

p132 if { some k; data.dd.ids[k] == 1; k == "orders" }

p133 if { some k, v in data.dd.ids; v == 1 }

p134 if { x := data.dd.ids[input.peer.service]; x == 1 }

p135 if { startswith("abc", concat("", ["a", "b"])) }
