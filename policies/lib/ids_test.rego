package lib.ids_test

import rego.v1

import data.lib.ids

test_environment_and_service_are_the_two_segments if {
	ids.name("spiffe://example.org/prod/orders") == {"environment": "prod", "service": "orders"}
}

test_a_kubernetes_account_is_the_service_of_its_namespaces_environment if {
	id := "spiffe://example.org/ns/payments-staging/sa/ledger"
	ids.name(id) == {"environment": "staging", "service": "ledger"} with data.trust.namespaces as {"payments-staging": "staging"}
}

test_a_namespace_that_is_not_listed_has_no_name if {
	not named("spiffe://example.org/ns/elsewhere/sa/ledger")
}

test_our_own_have_a_name if {
	caller := ids.peer with input.peer as {
		"spiffe_id": "spiffe://example.org/prod/orders",
		"trust_domain": "example.org",
	}
	caller == {"environment": "prod", "service": "orders"}
}

test_a_foreign_trust_domain_has_no_name if {
	not ids.peer with input.peer as {
		"spiffe_id": concat("", ["spiffe://", "evil.example/prod/orders"]),
		"trust_domain": "evil.example",
	}
}

test_other_shapes_have_no_name if {
	every id in [
		"spiffe://example.org",
		"spiffe://example.org/orders",
		"spiffe://example.org/prod/orders/extra",
		"https://example.org/prod/orders",
		null,
	] {
		not named(id)
	}
}

named(id) if {
	found := ids.name(id)
	is_object(found)
}

test_one_environment_is_compared_across_both_conventions if {
	ids.same_environment with input as {
		"peer": {
			"spiffe_id": "spiffe://example.org/ns/payments/sa/billing",
			"trust_domain": "example.org",
		},
		"local": {"spiffe_id": "spiffe://example.org/prod/orders"},
	}
		with data.trust.namespaces as {"payments": "prod"}
}

test_two_environments_are_not_one if {
	not ids.same_environment with input as {
		"peer": {"spiffe_id": "spiffe://example.org/dev/billing", "trust_domain": "example.org"},
		"local": {"spiffe_id": "spiffe://example.org/prod/orders"},
	}
}
