//! Tests.

use crate::cell::{CellPtr, Header};

/// A cell that is a number: its address is never followed.
fn cell(number: usize) -> CellPtr {
    let header = core::ptr::without_provenance_mut::<Header>(number * align_of::<Header>());
    // SAFETY: only the address is used.
    unsafe { CellPtr::from_ptr(header) }
}

/// The number of such a cell; `None` for null.
fn number(header: *mut Header) -> Option<usize> {
    let number = header.addr() / align_of::<Header>();
    (number != 0).then_some(number)
}

#[cfg(loom)]
mod loom;
#[cfg(loom)]
mod queue;
#[cfg(not(loom))]
mod usual;
