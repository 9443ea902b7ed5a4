//! Tests.

use super::{HELD, Word, bits};
use crate::sync::Ordering;

impl Word {
    /// Is the ticket out?
    pub(crate) fn is_held(&self) -> bool {
        // Relaxed: asked when nobody else is left.
        bits(self.0.load(Ordering::Relaxed)) & HELD != 0
    }
}

#[cfg(loom)]
mod loom;
#[cfg(not(loom))]
mod usual;
