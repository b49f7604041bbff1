# Who is refused at once, whatever they were granted, and why. Keys are what is refused, values are
# the reasons, which stand in the audit log and are never told to the caller.
#
# For a key or a token that was lost there is `revocations`, which needs no rule at all.
package lib.deny_list

import rego.v1

reasons contains {"code": "blocked", "message": message} if {
	message := data.deny_list.identities[input.peer.spiffe_id]
}

reasons contains {"code": "blocked_environment", "message": message} if {
	message := data.deny_list.environments[data.lib.ids.peer.environment]
}

# Subjects are names within one issuer, so they are listed by it.
reasons contains {"code": "blocked_subject", "message": message} if {
	input.peer.method == "jwt"
	message := data.deny_list.subjects[input.peer.issuer][input.peer.subject]
}
