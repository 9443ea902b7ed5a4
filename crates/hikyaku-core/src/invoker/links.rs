//! Actors whose fates are tied to each other.
//!
//! Each lists the other. Whoever ends tells all in its list, and those fail with it whom its end concerns. A link that
//! was taken back meanwhile means nothing.

use super::fate::{fail_with, write_to};
use crate::cell::{CellPtr, WeakCell};
use crate::failure::Failure;
use crate::mailbox::{Farewell, Letter};
use crate::pipe::broken_link;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// Those whom an actor is linked to. The first of them brings what tells them.
pub(crate) trait Links {
    /// False if it is there already.
    fn add(&mut self, other: CellPtr) -> bool;

    /// False if it is not there.
    fn remove(&mut self, other: CellPtr) -> bool;

    /// The actor has ended: some of them fail with it.
    fn ended(self: Box<Self>, cell: CellPtr, farewell: &Farewell<'_>);
}

impl Links for Vec<WeakCell> {
    fn add(&mut self, other: CellPtr) -> bool {
        let is_new = self.iter().all(|linked| linked.cell() != other);
        if is_new {
            self.push(WeakCell::new(other));
        }
        is_new
    }

    fn remove(&mut self, other: CellPtr) -> bool {
        let place = self.iter().position(|linked| linked.cell() == other);
        place.map(|place| self.swap_remove(place)).is_some()
    }

    fn ended(self: Box<Self>, cell: CellPtr, farewell: &Farewell<'_>) {
        let failure = broken_link(cell.index(), &farewell.cause());
        for linked in *self {
            // SAFETY: the link keeps the cell.
            unsafe {
                write_to(
                    linked.cell(),
                    LinkEnded(WeakCell::own(cell), failure.clone()),
                )
            };
        }
    }
}

fn add(links: &mut Option<Box<dyn Links>>, other: CellPtr) -> bool {
    links.get_or_insert_with(|| Box::new(Vec::new())).add(other)
}

/// Links two actors: each lists the other.
///
/// # Safety
/// The ticket of `cell` is held; the caller keeps the memory of `other`.
pub(crate) unsafe fn link(cell: CellPtr, other: CellPtr) {
    // SAFETY: as the caller promises.
    unsafe {
        if !add(&mut cell.cold().links, other) {
            return;
        }
        if !write_to(other, Linked(WeakCell::new(cell))) {
            // It has ended already: as if it had told so just now.
            let failure = broken_link(other.index(), &other.cause());
            write_to(cell, LinkEnded(WeakCell::own(other), failure));
        }
    }
}

/// Takes a link back. False if there is none.
///
/// # Safety
/// As [`link`].
pub(crate) unsafe fn unlink(cell: CellPtr, other: CellPtr) -> bool {
    // SAFETY: as the caller promises.
    unsafe {
        let linked = take_link(cell, other);
        if linked {
            write_to(other, Unlinked(cell));
        }
        linked
    }
}

/// Takes a link out of the list. False if there is none.
///
/// # Safety
/// The ticket is held.
unsafe fn take_link(cell: CellPtr, other: CellPtr) -> bool {
    if cell.cold_if_any().is_none() {
        return false;
    }
    // SAFETY: the ticket is held.
    let links = unsafe { &mut cell.cold().links };
    links.as_mut().is_some_and(|links| links.remove(other))
}

/// The other actor has linked itself to this one.
struct Linked(WeakCell);

impl Letter for Linked {
    unsafe fn read(self, cell: CellPtr) {
        // SAFETY: the ticket is held.
        add(unsafe { &mut cell.cold().links }, self.0.cell());
    }

    fn read_late(self, cell: CellPtr, farewell: &Farewell<'_>) {
        Links::ended(Box::new(vec![self.0]), cell, farewell);
    }
}

/// It has taken that back.
struct Unlinked(CellPtr);

impl Letter for Unlinked {
    unsafe fn read(self, cell: CellPtr) {
        // SAFETY: the ticket is held.
        unsafe { take_link(cell, self.0) };
    }
}

/// It has ended; with this failure, if that breaks the link. Kept until then, so that no other actor is taken for it.
struct LinkEnded(WeakCell, Option<Failure>);

impl Letter for LinkEnded {
    unsafe fn read(self, cell: CellPtr) {
        // SAFETY: the ticket is held.
        unsafe {
            // Not, if the link was taken back meanwhile.
            let linked = take_link(cell, self.0.cell());
            if let Some(failure) = self.1.filter(|_| linked) {
                fail_with(cell, failure);
            }
        }
    }
}
