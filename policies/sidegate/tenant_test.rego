package sidegate.tenant_test

import rego.v1

import data.sidegate.tenant

question(caller) := {
	"peer": {"method": "spiffe", "spiffe_id": caller, "trust_domain": "example.org", "issuer": null},
	"local": {"spiffe_id": "spiffe://example.org/prod/billing", "tenant": "acme"},
}

test_a_tenant_limits_its_services if {
	limit := tenant.limit with input as question("spiffe://example.org/prod/storefront")
	limit == ["orders:*", "catalog:read"]
}

test_without_a_tenant_nothing_is_left if {
	limit := tenant.limit with input as question("spiffe://example.org/prod/nobody")
	limit == []
}

test_a_token_is_limited_by_the_tenant_that_it_calls if {
	limit := tenant.limit with input as {
		"peer": {"method": "jwt", "spiffe_id": null, "issuer": "https://auth.example.org", "subject": "x"},
		"local": {"spiffe_id": "spiffe://example.org/prod/billing", "tenant": "acme"},
	}
	"orders:*" in limit
}
