# Who a workload is to us: its tenant, its roles and its scopes.
#
# This file only looks identities up in data (services/data.json, operators/data.json). Sidegate
# itself expands the roles, applies the narrower layers (tenant.rego), and compares the result with
# what a route requires.
package sidegate.global

import rego.v1

import data.lib.deny_list
import data.lib.ids

# Nobody is anybody until the data says so. Without a tenant no request is let in.
default grant := {"roles": [], "scopes": [], "tenant": null}

# A service of ours, calling within its own environment.
grant := {
	"roles": service.roles,
	"scopes": service.scopes,
	"tenant": service.tenant,
	"teams": service.teams,
} if {
	service := data.services[ids.peer.service]
	ids.same_environment
} else := {
	# Platform operators may look into every tenant. Such a right has to be short-lived
	# (`ttl_seconds`, 900 at most), and each use of it is in the audit log.
	"roles": [],
	"scopes": operator.scopes,
	"tenant": operator.tenant,
	"cross_tenant": true,
	"ttl_seconds": 900,
} if {
	operator := data.operators[ids.peer.service]
	ids.peer.environment == "ops"
}

# Refused at once, whatever was granted.
deny contains reason if some reason in deny_list.reasons

# The most that anybody may have, whoever they are and whatever they bring. A limit can only take
# away. A workload has what is granted above.
default limit := []

limit := ["*:*"] if input.peer.method in {"spiffe", "jwt-svid"}

# A machine token brings scopes of its own: here is said which of them its issuer may give out, for
# some subjects by themselves. Whose issuer is not listed has nothing.
limit := cap if {
	input.peer.method == "jwt"
	issuer := data.issuers[input.peer.issuer]
	cap := object.get(issuer.subjects, input.peer.subject, issuer.limit)
}
