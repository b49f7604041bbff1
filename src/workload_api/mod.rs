//! The messages of the SPIFFE Workload API with client and server, as generated; no behavior.
//!
//! Both sides of the socket live here: `identity` calls, and the development agent answers.

#[rustfmt::skip]
pub mod pb;
