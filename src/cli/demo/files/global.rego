# Who a workload is to us. Its name in the SPIFFE ID leads to its tenant and its rights.
package sidegate.global

import rego.v1

default grant := {"roles": [], "scopes": [], "tenant": null}

grant := {"roles": service.roles, "scopes": service.scopes, "tenant": service.tenant} if {
	input.peer.trust_domain == "example.org"
	input.peer.environment == input.local.environment
	service := data.services[input.peer.service]
}

deny contains "blocked" if data.blocked[input.peer.spiffe_id]
