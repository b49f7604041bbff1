//! The audit log: one JSON line per decision, and no decision without its line.
//!
//! Workers append to buffers of their own; one thread of its own collects and writes them. What
//! does not fit is refused to the caller, who must then refuse the request: a line is never
//! dropped silently while the process lives.

mod record;
mod line;
mod buffers;
mod output;
mod tap;
mod sink;

pub use buffers::WriteError;
pub use output::Destination;
pub use record::{Decision, Protocol, Record, Shadow, Source};
pub use sink::{CloseError, Counters, Handle, OpenError, Sink};
pub use tap::{Batch, Tapped};
