//! Bounded requests over HTTPS to servers that are known by name: issuers, token
//! endpoints, bundle servers.
//!
//! No redirects, no proxies, no plaintext. Every answer is bounded in size and time.

mod url;
mod error;
mod form;
mod wants;
mod answer;
mod client;

pub use answer::Answer;
pub use client::Client;
pub use error::WebError;
pub use form::Basic;
pub use url::{HttpsUrl, UrlError};
pub use wants::{Post, Wants};

#[cfg(test)]
mod tests;
