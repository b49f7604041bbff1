//! Files that others write: read within bounds, private where they must be, and followed as they
//! change, also through the symlink swap by which Kubernetes updates a mounted volume.

mod error;
mod read;
mod look;
mod watch;
mod follow;

pub use error::FileError;
pub use follow::Follow;
pub use read::{SecretFile, read};
