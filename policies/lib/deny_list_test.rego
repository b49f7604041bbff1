package lib.deny_list_test

import rego.v1

import data.lib.deny_list

workload := {"peer": {"method": "spiffe", "spiffe_id": "spiffe://example.org/prod/orders", "trust_domain": "example.org", "issuer": null}}

token := {"peer": {
	"method": "jwt",
	"spiffe_id": null,
	"issuer": "https://auth.example.org",
	"subject": "left-us",
}}

test_nobody_is_refused_without_an_entry if {
	count(deny_list.reasons) == 0 with input as workload
	count(deny_list.reasons) == 0 with input as token
}

test_an_identity_is_refused_with_its_reason if {
	found := deny_list.reasons with input as workload
		with data.deny_list.identities as {"spiffe://example.org/prod/orders": "key was lost"}
	found == {{"code": "blocked", "message": "key was lost"}}
}

test_a_whole_environment_is_refused if {
	found := deny_list.reasons with input as workload
		with data.deny_list.environments as {"prod": "restore from backup under way"}
	found == {{"code": "blocked_environment", "message": "restore from backup under way"}}
}

test_a_subject_is_refused_under_its_own_issuer_only if {
	theirs := {"https://auth.example.org": {"left-us": "left on Friday"}}
	others := {"https://other.example.org": {"left-us": "somebody else"}}
	hit := deny_list.reasons with input as token with data.deny_list.subjects as theirs
	miss := deny_list.reasons with input as token with data.deny_list.subjects as others
	count(hit) == 1
	count(miss) == 0
}
