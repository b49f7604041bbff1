# The most that each tenant leaves to its workloads. A layer can only take away: a scope survives if
# it was granted and stands here. Where nothing is said, nothing is left.
package sidegate.tenant

import rego.v1

default limit := []

limit := data.tenants[tenant].limit

# A machine token says its tenant itself, and is refused unless that is the service's own. Anybody
# else has the one that the global layer gives, so that a service has one tenant in all layers.
tenant := input.local.tenant if {
	input.peer.method == "jwt"
} else := data.sidegate.global.grant.tenant
