# Builtin functions with ordinary and with odd arguments.
package parity.types

abs_1 := abs(-1)

abs_2 := abs(1.5)

abs_3 := abs(0)

abs_4 := abs(-9007199254740993)

ceil_1 := ceil(1.2)

ceil_2 := ceil(-1.2)

floor_1 := floor(1.8)

floor_2 := floor(-1.2)

format_int_1 := format_int(255, 16)

format_int_2 := format_int(10, 2)

format_int_3 := format_int(8, 8)

format_int_4 := format_int(1.7, 10)

format_int_5 := format_int(-255, 16)

format_int_6 := format_int(1, 3)

is_array_1 := is_array([])

is_array_2 := is_array({})

is_boolean_1 := is_boolean(false)

is_boolean_2 := is_boolean(0)

is_null_1 := is_null(null)

is_null_2 := is_null(0)

is_number_1 := is_number(1.5)

is_number_2 := is_number("1")

is_object_1 := is_object({})

is_object_2 := is_object(set())

is_set_1 := is_set(set())

is_set_2 := is_set({})

is_string_1 := is_string("")

is_string_2 := is_string(1)

round_1 := round(1.5)

round_2 := round(2.5)

round_3 := round(-1.5)

round_4 := round(0.4)

round_5 := round(-0.4)

to_number_1 := to_number("1")

to_number_2 := to_number("1.5")

to_number_3 := to_number(true)

to_number_4 := to_number(false)

to_number_5 := to_number(null)

to_number_6 := to_number("")

to_number_7 := to_number("a")

to_number_8 := to_number("1e3")

to_number_9 := to_number("0x10")

to_number_11 := to_number("-1")

to_number_14 := to_number("Infinity")

to_number_15 := to_number("NaN")

to_number_18 := to_number("12345678901234567890")

to_number_19 := to_number("1e400")

to_number_20 := to_number(3)

type_name_1 := type_name(1)

type_name_2 := type_name(set())

type_name_3 := type_name({})

type_name_4 := type_name(null)

type_name_5 := type_name("a")

type_name_6 := type_name(true)

type_name_7 := type_name([])
