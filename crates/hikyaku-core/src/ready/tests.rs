//! Tests.

use crate::cell::{CellPtr, Header};

/// A cell that is a number: its address is never followed.
fn cell(number: usize) -> CellPtr {
    let header = core::ptr::without_provenance_mut::<Header>(number * align_of::<Header>());
    // SAFETY: only the address is used.
    unsafe { CellPtr::from_ptr(header) }
}

#[cfg(loom)]
mod loom;
