//! Actors whose fates are tied to each other.
//!
//! Each lists the other. Whoever ends tells all in its list, and those fail with it whom its end concerns. A link that
//! was taken back meanwhile means nothing.

use super::fate::{fail_with, write_to};
use crate::cell::{CellPtr, Link};
use crate::failure::{Failure, StopCause};
use crate::mailbox::{Farewell, Letter};
use crate::pipe::broken_link;

/// Links two actors: each lists the other.
///
/// # Safety
/// The ticket of `cell` is held; the caller keeps the memory of `other`.
pub(crate) unsafe fn link(cell: CellPtr, other: CellPtr) {
    // SAFETY: as the caller promises.
    unsafe {
        let links = &mut cell.cold().links;
        if links.iter().any(|linked| linked.cell() == other) {
            return;
        }
        links.push(Link::new(other, end_links));
        if !write_to(other, Linked(Link::new(cell, end_links))) {
            // It has ended already: as if it had told so just now.
            let failure = broken_link(other.index(), &other.cause());
            write_to(cell, LinkEnded(other, failure));
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
        if linked.is_some() {
            write_to(other, Unlinked(cell));
        }
        linked.is_some()
    }
}

/// Takes a link out of the list.
///
/// # Safety
/// The ticket is held.
unsafe fn take_link(cell: CellPtr, other: CellPtr) -> Option<Link> {
    cell.cold_if_any()?;
    // SAFETY: the ticket is held.
    let links = unsafe { &mut cell.cold().links };
    let place = links.iter().position(|linked| linked.cell() == other)?;
    Some(links.swap_remove(place))
}

/// Those whom the actor is linked to are told; some of them fail with it.
fn end_links(cell: CellPtr, links: &[Link], cause: &StopCause) {
    let failure = broken_link(cell.index(), cause);
    for linked in links {
        // SAFETY: the link keeps the cell.
        unsafe { write_to(linked.cell(), LinkEnded(cell, failure.clone())) };
    }
}

/// The other actor has linked itself to this one.
struct Linked(Link);

impl Letter for Linked {
    unsafe fn read(self, cell: CellPtr) {
        // SAFETY: the ticket is held.
        let links = &mut unsafe { cell.cold() }.links;
        if links.iter().all(|linked| linked.cell() != self.0.cell()) {
            links.push(self.0);
        }
    }

    fn read_late(self, _: CellPtr, farewell: &mut Farewell) {
        farewell.links.push(self.0);
    }
}

/// It has taken that back.
struct Unlinked(CellPtr);

impl Letter for Unlinked {
    unsafe fn read(self, cell: CellPtr) {
        // SAFETY: the ticket is held.
        drop(unsafe { take_link(cell, self.0) });
    }

    fn read_late(self, _: CellPtr, farewell: &mut Farewell) {
        farewell.links.retain(|linked| linked.cell() != self.0);
    }
}

/// It has ended; with this failure, if that breaks the link.
struct LinkEnded(CellPtr, Option<Failure>);

impl Letter for LinkEnded {
    unsafe fn read(self, cell: CellPtr) {
        // SAFETY: the ticket is held.
        unsafe {
            // Not, if the link was taken back meanwhile.
            let linked = take_link(cell, self.0).is_some();
            if let Some(failure) = self.1.filter(|_| linked) {
                fail_with(cell, failure);
            }
        }
    }
}
