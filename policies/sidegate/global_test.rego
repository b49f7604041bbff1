# Kept out of enforcement by its name.
package sidegate.global_test

import rego.v1

import data.sidegate.global
import data.sidegate.request
import data.sidegate.tenant

peer(environment, service) := {
	"method": "spiffe",
	"spiffe_id": concat("", ["spiffe://example.org/", environment, "/", service]),
	"trust_domain": "example.org",
	"environment": environment,
	"service": service,
}

question(environment, service) := {
	"peer": peer(environment, service),
	"local": {"environment": "prod", "service": "billing", "tenant": "acme"},
	"time": {"weekday": "Monday", "hour": 9, "minute": 0},
}

test_a_service_has_what_the_data_says if {
	grant := global.grant with input as question("prod", "orders")
	grant.tenant == "acme"
	grant.roles == ["order-keeper"]
}

test_an_unknown_service_has_nothing if {
	grant := global.grant with input as question("prod", "nobody")
	grant == {"roles": [], "scopes": [], "tenant": null}
}

test_another_environment_has_nothing if {
	grant := global.grant with input as question("dev", "orders")
	grant.tenant == null
}

test_another_trust_domain_has_nothing if {
	stranger := object.union(question("prod", "orders"), {"peer": {"trust_domain": "evil.example"}})
	grant := global.grant with input as stranger
	grant.tenant == null
}

test_an_operator_crosses_tenants_for_a_short_time if {
	grant := global.grant with input as question("ops", "break-glass")
	grant.cross_tenant
	grant.ttl_seconds <= 900
}

test_a_blocked_workload_is_refused if {
	reasons := global.deny with input as question("prod", "orders")
		with data.blocked as {"spiffe://example.org/prod/orders": "key was lost"}
	reasons == {{"code": "blocked", "message": "key was lost"}}
}

test_nobody_is_refused_without_a_reason if {
	reasons := global.deny with input as question("prod", "orders")
	count(reasons) == 0
}

test_a_tenant_limits_its_services if {
	limit := tenant.limit with input as question("prod", "storefront")
	limit == ["orders:*", "catalog:read"]
}

test_without_a_tenant_nothing_is_left if {
	limit := tenant.limit with input as question("prod", "nobody")
	limit == []
}

token(issuer, subject) := {
	"peer": {
		"method": "jwt",
		"spiffe_id": null,
		"trust_domain": null,
		"environment": null,
		"service": null,
		"issuer": issuer,
		"subject": subject,
	},
	"local": {"environment": "prod", "service": "billing", "tenant": "acme"},
}

test_a_workload_is_limited_by_its_tenant_alone if {
	limit := global.limit with input as question("prod", "orders")
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

test_a_token_is_limited_by_the_tenant_that_it_calls if {
	limit := tenant.limit with input as token("https://auth.example.org", "anybody")
	"orders:*" in limit
}

deletion(weekday) := object.union(question("prod", "orders"), {
	"request": {"method": "DELETE"},
	"time": {"weekday": weekday},
})

test_nothing_is_deleted_on_a_weekend if {
	reasons := request.deny with input as deletion("Sunday")
	count(reasons) == 1
}

test_deletions_are_fine_on_a_working_day if {
	reasons := request.deny with input as deletion("Tuesday")
	count(reasons) == 0
}
