# Builtin functions with ordinary and with odd arguments.
package parity.networks

net_cidr_contains_1 := net.cidr_contains("10.0.0.0/8", "10.1.2.3")

net_cidr_contains_2 := net.cidr_contains("10.0.0.0/8", "11.0.0.0")

net_cidr_contains_3 := net.cidr_contains("10.0.0.0/8", "10.1.0.0/16")

net_cidr_contains_4 := net.cidr_contains("10.0.0.0/16", "10.0.0.0/8")

net_cidr_contains_5 := net.cidr_contains("2001:db8::/32", "2001:db8::1")

net_cidr_contains_6 := net.cidr_contains("10.0.0.0/33", "10.0.0.1")

net_cidr_contains_7 := net.cidr_contains("10.0.0.0/8", "x")

net_cidr_contains_8 := net.cidr_contains("10.1.2.3/8", "10.9.9.9")

net_cidr_contains_9 := net.cidr_contains("::/0", "10.0.0.1")

net_cidr_contains_10 := net.cidr_contains("0.0.0.0/0", "::1")

net_cidr_contains_11 := net.cidr_contains("10.0.0.0/8", "010.0.0.1")

net_cidr_contains_12 := net.cidr_contains("10.0.0.0", "10.0.0.0")

net_cidr_contains_13 := net.cidr_contains("10.0.0.0/08", "10.0.0.1")

net_cidr_is_valid_1 := net.cidr_is_valid("10.0.0.0/8")

net_cidr_is_valid_2 := net.cidr_is_valid("10.0.0.0")

net_cidr_is_valid_3 := net.cidr_is_valid("10.0.0.0/33")

net_cidr_is_valid_4 := net.cidr_is_valid("::/0")

net_cidr_is_valid_5 := net.cidr_is_valid("")

net_cidr_is_valid_6 := net.cidr_is_valid("10.1.2.3/8")

net_cidr_is_valid_7 := net.cidr_is_valid("010.0.0.0/8")
