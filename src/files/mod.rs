//! Files that others write, and some of our own: read within bounds, private where they must be, and followed as they
//! change, also through the symlink swap by which Kubernetes updates a mounted volume.

mod error;
mod read;
mod replace;
mod look;
mod watch;
mod follow;

pub use error::FileError;
pub use follow::Follow;
pub use read::{SecretFile, read};
pub use replace::replace;
