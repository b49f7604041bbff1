# Builtin functions with ordinary and with odd arguments.
package parity.times

time_clock_1 := time.clock(1700000000000000000)

time_clock_2 := time.clock([1700000000000000000, "America/New_York"])

time_clock_3 := time.clock([1700000000000000000, "Europe/Berlin"])

time_clock_4 := time.clock([1700000000000000000, ""])

time_clock_5 := time.clock([1700000000000000000, "UTC"])

time_clock_6 := time.clock([1700000000000000000, "Nowhere/X"])

time_clock_7 := time.clock(-1)

time_date_1 := time.date(1700000000000000000)

time_date_2 := time.date(-1)

time_date_3 := time.date([1700000000000000000, "Asia/Tokyo"])

time_diff_1 := time.diff(1700000000000000000, 1690000000000000000)

time_diff_2 := time.diff(1690000000000000000, 1700000000000000000)

time_diff_3 := time.diff(1709251199000000000, 1706745600000000000)

time_diff_4 := time.diff([1700000000000000000, "Asia/Tokyo"], 1690000000000000000)

time_diff_5 := time.diff(0, 0)

time_diff_6 := time.diff(1711843200000000000, 1709164800000000000)

time_parse_duration_ns_1 := time.parse_duration_ns("1h")

time_parse_duration_ns_2 := time.parse_duration_ns("1h30m")

time_parse_duration_ns_3 := time.parse_duration_ns("1.5s")

time_parse_duration_ns_4 := time.parse_duration_ns("-1s")

time_parse_duration_ns_5 := time.parse_duration_ns("1")

time_parse_duration_ns_6 := time.parse_duration_ns("0")

time_parse_duration_ns_7 := time.parse_duration_ns("1µs")

time_parse_duration_ns_8 := time.parse_duration_ns("1us")

time_parse_duration_ns_9 := time.parse_duration_ns("1h ")

time_parse_duration_ns_10 := time.parse_duration_ns("")

time_parse_duration_ns_11 := time.parse_duration_ns(".5s")

time_parse_duration_ns_12 := time.parse_duration_ns("+1s")

time_parse_duration_ns_13 := time.parse_duration_ns("10000000h")

time_parse_rfc3339_ns_1 := time.parse_rfc3339_ns("2023-11-14T22:13:20Z")

time_parse_rfc3339_ns_2 := time.parse_rfc3339_ns("2023-11-14T22:13:20.123456789+01:00")

time_parse_rfc3339_ns_3 := time.parse_rfc3339_ns("2023-11-14")

time_parse_rfc3339_ns_4 := time.parse_rfc3339_ns("1600-01-01T00:00:00Z")

time_parse_rfc3339_ns_5 := time.parse_rfc3339_ns("2300-01-01T00:00:00Z")

time_parse_rfc3339_ns_6 := time.parse_rfc3339_ns("2023-02-30T00:00:00Z")

time_parse_rfc3339_ns_7 := time.parse_rfc3339_ns("2023-11-14T24:00:00Z")

time_weekday_1 := time.weekday(1700000000000000000)

time_weekday_2 := time.weekday([1700000000000000000, "Asia/Tokyo"])

time_weekday_3 := time.weekday(-1)
