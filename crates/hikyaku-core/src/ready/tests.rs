//! Tests.

use crate::cell::{CellPtr, Header};

/// A cell that is a number: its address is never followed.
fn cell(number: usize) -> CellPtr {
    let header = core::ptr::without_provenance_mut::<Header>(number * align_of::<Header>());
    CellPtr::new_if(header).expect("not zero")
}

#[cfg(loom)]
mod loom;
