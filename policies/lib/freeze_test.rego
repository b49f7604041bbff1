package lib.freeze_test

import rego.v1

import data.lib.freeze

asked(method, weekday, at) := {
	"peer": {"spiffe_id": "spiffe://example.org/prod/orders", "trust_domain": "example.org"},
	"local": {"spiffe_id": "spiffe://example.org/prod/billing"},
	"request": {"method": method},
	"time": {"weekday": weekday, "unix_minute": floor(time.parse_rfc3339_ns(at) / 60000000000)},
}

saturday := asked("DELETE", "Saturday", "2026-11-21T12:00:00Z")

tuesday := asked("DELETE", "Tuesday", "2026-11-24T12:00:00Z")

closing := asked("DELETE", "Thursday", "2026-12-31T12:00:00Z")

frozen(asked) if {
	found := freeze.reasons with input as asked
	count(found) == 1
}

free(asked) if {
	found := freeze.reasons with input as asked
	count(found) == 0
}

test_nothing_is_deleted_on_a_weekend if frozen(saturday)

test_deletions_are_fine_on_a_working_day if free(tuesday)

test_a_window_freezes_any_day if frozen(closing)

test_a_window_begins_and_ends_at_its_minute if {
	frozen(asked("DELETE", "Wednesday", "2026-12-30T18:00:00Z"))
	free(asked("DELETE", "Wednesday", "2026-12-30T17:59:59Z"))
	free(asked("DELETE", "Friday", "2027-01-02T06:00:00Z"))
}

test_reading_goes_on if free(asked("GET", "Saturday", "2026-11-21T12:00:00Z"))

test_other_environments_are_free if {
	free(object.union(saturday, {"local": {"spiffe_id": "spiffe://example.org/dev/billing"}}))
}

test_who_is_exempt_may_go_on if {
	free(object.union(saturday, {"peer": {"spiffe_id": "spiffe://example.org/ops/break-glass"}}))
}
