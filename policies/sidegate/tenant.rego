# The most that each tenant leaves to its workloads. A layer can only take away: a scope survives if
# it was granted and stands here. Where nothing is said, nothing is left.
package sidegate.tenant

import rego.v1

default limit := []

limit := data.tenants[tenant].limit

# The one that the global layer gives, so that a service has one tenant in all layers.
tenant := data.sidegate.global.grant.tenant
