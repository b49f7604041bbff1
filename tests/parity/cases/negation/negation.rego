# What may stand behind `not`, asked for identities that are known and unknown.
package parity.negation

import data.lib
import input.peer as who

service := data.services[input.peer.service]

sometimes := {"a": 1} if input.peer.service == "orders"

default always := 1

always := 2 if input.peer.service == "orders"

constant := {"orders", "b"}

reasons contains "a" if input.peer.service == "orders"

none[x] := 1 if some x in data.missing

flag(x) if x == "orders"

default rank(_) := 1

rank(x) := 2 if x == "orders"

same if not input.peer.spiffe_id == "spiffe://example.org/prod/orders"

prefix if not startswith(input.peer.path, "/prod")

literal_set if not input.peer.service in {"a", "b"}

constant_set if not input.peer.service in constant

partial_set if not "a" in reasons

imported if not who.service in constant

data_index if not data.blocked[input.peer.spiffe_id]

data_index_deeper if not data.blocked[lower(input.peer.service)].until

data_missing if not data.anything.at.all

data_missing_equal if not data.anything == input.peer.service

data_missing_unify if not data.anything = input.peer.service

rule if not sometimes

rule_part if not sometimes.a == 1

imported_flag if not lib.flag

imported_nothing if not lib.nothing

function if not flag(input.peer.service)

function_default if not rank(input.peer.service) > 1

default_rule if not always > 1

counted if not count(reasons) == 0

comprehension if not count([x | some x in data.missing]) == 0

whole_comprehension if not [x | x := data.missing]

literal_index if not {"orders": 1}[input.peer.service]

empty_object if not none[input.peer.service] == 1

local if {
	s := input.peer.service
	not s in constant
}

local_part if {
	s := data.services[input.peer.service]
	not s.disabled
}

local_undefined if {
	s := data.services[input.peer.service]
	owner := s.owner
	not owner == "nobody"
}

inside_every if {
	every x in ["a", "orders"] {
		not x == input.peer.service
	}
}

inside_comprehension := [x | some x in ["a", "orders"]; not x == input.peer.service]

hour if not input.time.hour >= 9

arithmetic if not input.time.hour + 1 == 10

with_null if not input.peer.issuer == "x"

null_itself if not input.peer.issuer

argument(x) if not x.disabled

arguments if argument(service)
