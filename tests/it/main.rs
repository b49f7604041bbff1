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

mod inbound_http;
mod inbound_grpc;
mod inbound_websocket;
mod inbound_tcp;
mod unix_sockets;
mod outbound;
mod attacks;
mod authorization;
mod rotation;
mod policy_reload;
mod bounds;
mod drain;
mod health_metrics;
mod cli;
