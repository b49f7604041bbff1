# Kept out of enforcement by its name.
package sidegate.global_test

import rego.v1

import data.sidegate.global

question(caller) := question_from("example.org", caller)

question_from(domain, caller) := {
	"peer": {
		"method": "spiffe",
		"spiffe_id": concat("/", ["spiffe:/", domain, caller]),
		"trust_domain": domain,
		"issuer": null,
	},
	"local": {"spiffe_id": "spiffe://example.org/prod/billing", "tenant": "acme"},
}

test_a_service_has_what_the_data_says if {
	grant := global.grant with input as question("prod/orders")
	grant.tenant == "acme"
	grant.roles == ["order-keeper"]
}

test_an_unknown_service_has_nothing if {
	grant := global.grant with input as question("prod/nobody")
	grant == {"roles": [], "scopes": [], "tenant": null}
}

test_another_environment_has_nothing if {
	grant := global.grant with input as question("dev/orders")
	grant.tenant == null
}

test_another_trust_domain_has_nothing if {
	grant := global.grant with input as question_from("evil.example", "prod/orders")
	grant.tenant == null
}

test_an_operator_crosses_tenants_for_a_short_time if {
	grant := global.grant with input as question("ops/break-glass")
	grant.cross_tenant
	grant.ttl_seconds <= 900
}

test_an_operators_name_in_another_environment_is_nobody if {
	grant := global.grant with input as question("prod/break-glass")
	grant.tenant == null
}

test_a_blocked_workload_is_refused if {
	reasons := global.deny with input as question("prod/orders")
		with data.deny_list.identities as {"spiffe://example.org/prod/orders": "key was lost"}
	reasons == {{"code": "blocked", "message": "key was lost"}}
}

test_nobody_is_refused_without_a_reason if {
	reasons := global.deny with input as question("prod/orders")
	count(reasons) == 0
}

token(issuer, subject) := {
	"peer": {"method": "jwt", "spiffe_id": null, "issuer": issuer, "subject": subject},
	"local": {"spiffe_id": "spiffe://example.org/prod/billing", "tenant": "acme"},
}

test_a_workload_keeps_what_it_is_granted if {
	limit := global.limit with input as question("prod/orders")
	limit == ["*:*"]
}

test_an_issuer_gives_out_no_more_than_it_may if {
	limit := global.limit with input as token("https://auth.example.org", "anybody")
	limit == ["*:read"]
}

test_a_subject_may_have_a_limit_of_its_own if {
	limit := global.limit with input as token("https://auth.example.org", "deployer")
	limit == ["orders:*"]
}

test_another_issuer_gives_out_nothing if {
	limit := global.limit with input as token("https://evil.example", "deployer")
	limit == []
}
