# How SPIFFE IDs read in this fleet: who calls, and who is called, by environment and service.
#
#   spiffe://<trust domain>/<environment>/<service>        the convention to prefer
#   spiffe://<trust domain>/ns/<namespace>/sa/<account>    what SPIRE writes for Kubernetes by default;
#                                                          data.trust.namespaces gives the environment
#
# An ID of another shape, one of a foreign trust domain, and a token have no name here, so nothing is
# granted to them by one.
package lib.ids

import rego.v1

# {"environment": …, "service": …} of the caller.
peer := name(input.peer.spiffe_id) if input.peer.trust_domain == data.trust.domain

# The same of the service that is called.
local := name(input.local.spiffe_id)

# They come from one environment: nothing of `dev` talks to `prod`.
same_environment if peer.environment == local.environment

name(id) := {"environment": environment, "service": service} if {
	is_string(id)
	["spiffe:", "", _, environment, service] = split(id, "/")
}

name(id) := {"environment": environment, "service": account} if {
	is_string(id)
	["spiffe:", "", _, "ns", namespace, "sa", account] = split(id, "/")
	environment := data.trust.namespaces[namespace]
}
