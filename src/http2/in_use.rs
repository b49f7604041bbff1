//! How many streams a connection carries at the moment.

use std::cell::Cell;
use std::rc::Rc;

/// One stream, counted until dropped.
#[derive(Debug)]
pub struct InUse(Rc<Cell<usize>>);

impl InUse {
    pub fn new(streams: &Rc<Cell<usize>>) -> Self {
        streams.set(streams.get() + 1);
        Self(Rc::clone(streams))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}
