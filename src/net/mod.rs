//! Sockets, without knowing who speaks or what is said: addresses, listeners, streams, splicing.

mod addr;
mod pages;
mod stream;
mod listener;
mod splice;

pub use addr::{Listen, Target};
pub use listener::{Bound, Listener, Socket, bind, bind_private};
pub use pages::{PAGE_LOST, is_slow_to_seal, middle_of_page};
pub use splice::{Flow, SpliceEnd, splice};
pub use stream::Stream;
