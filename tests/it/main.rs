//! What the product promises, tried on real sockets with a real Workload API. The list of modules
//! is the list of promises.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test that meets the unexpected has to fail"
)]

mod world;

mod architecture;
mod config;
mod examples;
mod generated;
mod pages;

mod inbound_http;
mod inbound_grpc;
mod inbound_websocket;
mod inbound_tcp;
mod multiplex;
mod multiplex_bounds;
mod inbound_tokens;
mod token_refusals;
mod token_rights;
mod token_doors;
mod jwt_svids;
mod issuer_keys;
mod token_streams;
mod token_attacks;
mod fallback;
mod fallback_alone;
mod fallback_load;
mod fallback_server;
mod token_sources;
mod token_endpoint;
mod outside_spiffe;
mod unix_sockets;
mod outbound;
mod attacks;
mod authorization;
mod api_routes;
mod wycheproof;
mod rotation;
mod policy_reload;
mod safe_change;
mod shadow;
mod bundles;
mod rejudge;
mod slow_policy;
mod admin;
mod policy_bundle_cli;
mod policy_diff;
mod policy_test_cli;
mod parity;
mod bounds;
mod decision_log;
mod drain;
mod health_metrics;
mod cli;
mod policy_tools;
