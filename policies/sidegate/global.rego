# Who a workload is to us: its tenant, its roles and its scopes.
#
# Identities read spiffe://<trust domain>/<environment>/<service>. This file only looks them up in
# data.json; Sidegate itself expands the roles, applies the narrower layers (tenant.rego), and
# compares the result with what a route requires.
package sidegate.global

import rego.v1

# Nobody is anybody until the data says so. Without a tenant no request is let in.
default grant := {"roles": [], "scopes": [], "tenant": null}

# A service of ours, calling within its own environment: nothing of `dev` talks to `prod`.
grant := {
	"roles": service.roles,
	"scopes": service.scopes,
	"tenant": service.tenant,
	"teams": service.teams,
} if {
	service := data.services[input.peer.service]
	ours
	input.peer.environment == input.local.environment
} else := {
	# Platform operators may look into every tenant. Such a right has to be short-lived
	# (`ttl_seconds`, 900 at most), and each use of it is in the audit log.
	"roles": [],
	"scopes": operator.scopes,
	"tenant": operator.tenant,
	"cross_tenant": true,
	"ttl_seconds": 900,
} if {
	operator := data.operators[input.peer.service]
	ours
	input.peer.environment == "ops"
}

ours if input.peer.trust_domain == data.trust_domain

# Refuses a workload at once, whatever it was granted: put its SPIFFE ID into `blocked`, with the
# reason as the value.
deny contains {"code": "blocked", "message": reason} if {
	reason := data.blocked[input.peer.spiffe_id]
}

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
