# The input as policies meet it, and what they do with it.
package parity.contract

import rego.v1

version := input.version

peer := input.peer

local_side := input.local

moment := input.time

request := input.request

grant := input.grant

default level := "none"

level := "high" if {
	input.peer.environment == "ops"
	input.peer.trust_domain == "example.org"
} else := "normal" if {
	input.peer.environment == input.local.environment
}

destructured := service if ["prod", service] = input.peer.segments

last := input.peer.segments[count(input.peer.segments) - 1]

beyond := input.peer.segments[7]

nothing := input.peer.issuer

header := input.request.headers["content-type"][0]

no_header := input.request.headers["x-none"][0]

grpc := input.request.grpc.service

wanted contains scope if some scope in input.request.scopes_required

resources contains resource if {
	some scope in input.grant.scopes
	[resource, _] = split(scope, ":")
}

in_hours if {
	input.time.hour >= 8
	input.time.hour < 18
}

working_day if input.time.weekday in {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday"}

frozen if {
	input.time.unix_minute * 60000000000 < time.parse_rfc3339_ns("2030-01-01T00:00:00Z")
	input.request.method == "DELETE"
}

message := sprintf("%s may not %v", [input.peer.subject, input.request.method])

under_path if glob.match("/v1/*", ["/"], input.request.path)

shaped if regex.match(`^[a-z-]+$`, input.peer.service)

near if net.cidr_contains("10.0.0.0/8", input.peer.address)

deny contains {"code": "late", "message": message} if not in_hours

deny contains "stranger" if not input.peer.service in {"orders", "billing"}
