//! What can keep the development agent from doing its work.

use std::io;
use std::path::PathBuf;

use spiffe::{SpiffeId, TrustDomain};
use thiserror::Error;

#[derive(Debug, Error)]
pub enum DevError {
    #[error("cannot make a key or certificate")]
    Certificate(#[from] rcgen::Error),

    #[error("cannot make a key for tokens, or sign with it")]
    Key(#[from] aws_lc_rs::error::Unspecified),

    #[error("a token's claims must be a JSON object")]
    Claims,

    #[error("a JWT-SVID needs an audience")]
    NoAudience,

    #[error("SPIFFE ID `{id}` is not of the trust domain `{trust_domain}`")]
    ForeignId { id: SpiffeId, trust_domain: TrustDomain },

    #[error("SPIFFE ID `{0}` has no path, so it names no workload")]
    NoPath(SpiffeId),

    #[error("a workload needs at least one SPIFFE ID")]
    NoIds,

    #[error("an SVID lifetime of {} s is too short, at least 2 s are needed", .0.as_secs_f32())]
    ShortLife(std::time::Duration),

    #[error("`{}` exists and is not a socket", .0.display())]
    NotASocket(PathBuf),

    #[error("another process listens on `{}`", .0.display())]
    InUse(PathBuf),

    #[error("cannot listen on `{}`", path.display())]
    Listen { path: PathBuf, source: io::Error },
}
