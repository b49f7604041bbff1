//! Sockets, without knowing who speaks or what is said: addresses, listeners, streams, splicing.

mod addr;
mod stream;
mod listener;
mod splice;

pub use addr::{Listen, Target};
pub use listener::{Bound, Listener, Socket, bind, bind_private};
pub use splice::{Flow, SpliceEnd, splice};
pub use stream::Stream;
