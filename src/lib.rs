//! A sidecar that gives a service a verified identity, and lets in only whom policy allows.
//!
//! One request, in order:
//!
//! ```text
//! bytes ─net─▶ stream ─tls─▶ Peer ─────────┬─grant─▶ Claims ─authz─▶ Permit ─proxy─▶ upstream
//!                      └token─▶ Verified ──┘ ▲                 ▲
//!                                            └─ policy::Rules ─┴─ the routes
//! ```
//!
//! The rules are the policy in force, the shadow policy and what is revoked. A candidate comes from
//! files, or from a bundle ([`opa`]), and is examined in another process before it is swapped in.
//! What tools tell of decisions is [`review`]: it asks the same guard, and permits nothing.
//!
//! [`tls::Peer`], [`token::Verified`], [`authz::Claims`] and [`authz::Permit`] are proofs: each has
//! private fields and is made in one room, and the next step cannot be called without the one
//! before. A forgotten check has nothing to call.
//!
//! Rooms are listed from the ground up. A room imports only from floors below its own
//! (`tests/it/architecture.rs` checks this); what changes at run time travels up through
//! [`live::Live`].

#![forbid(unsafe_code)]

// Ground: knows nothing of the product.
pub mod live;
pub mod secret;
pub mod workload_api;
pub mod files;
pub mod net;
pub mod http2;
pub mod telemetry;
// One outside thing each.
pub mod identity;
pub mod policy;
pub mod dev;
pub mod api;
// Handshakes: mints `Peer`.
pub mod tls;
// HTTPS to servers known by name.
pub mod web;
// Machine tokens: mints `Verified`.
pub mod token;
// May they? Mints `Claims` and `Permit`.
pub mod authz;
// OPA's management protocols.
pub mod opa;
// The data path, the side door, and the reviewer's table.
pub mod proxy;
pub mod admin;
pub mod review;
// From the operator's file to each room's settings.
pub mod config;
// The one assembler.
pub mod app;
// Commands: the only room that prints.
pub mod cli;
