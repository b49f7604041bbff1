package sidegate.request_test

import rego.v1

import data.sidegate.request

asked(method) := {
	"peer": {"spiffe_id": "spiffe://example.org/prod/orders", "trust_domain": "example.org"},
	"local": {"spiffe_id": "spiffe://example.org/prod/billing"},
	"request": {"method": method},
	"time": {"weekday": "Sunday", "unix_minute": 0},
}

test_what_is_frozen_is_refused if {
	reasons := request.deny with input as asked("DELETE")
	reasons == {{"code": "frozen", "message": "no changes on a Sunday"}}
}

test_everything_else_passes if {
	reasons := request.deny with input as asked("GET")
	count(reasons) == 0
}
