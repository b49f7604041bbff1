//! What a service's own documents say of its routes: OpenAPI descriptions and gRPC descriptor sets
//! (AZ-6). Pure: reads bytes, and tells operations with the scopes that each needs.

mod contract;
mod tree;
mod servers;
mod needs;
mod openapi;
mod descriptors;

pub use contract::{Asked, Call, Contract, Fault, Needs, Operation, Spot};
pub use descriptors::read as descriptors;
pub use openapi::read as openapi;

/// The largest document that is read, in bytes.
pub const LARGEST_DOCUMENT: usize = 16 * 1024 * 1024;
