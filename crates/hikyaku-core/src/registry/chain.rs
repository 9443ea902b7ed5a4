//! The registry of builds without `std` and without `flow`: a chain through the cells themselves, the newest first. So it takes no memory
//! and has room for each.
//!
//! Actors are numbered as they come, and an index is such a number, in two halves. Whoever has but an index goes along
//! the chain: there are dozens of actors on a microcontroller, and a step takes a few instructions. Whoever has the
//! cell does not, so it takes no longer to spawn and to end if there are many.
//!
//! # Concurrency
//!
//! All of it is behind one lock. *Any thread.*

use super::{MailboxIndex, Refused};
use crate::cell::CellPtr;
use crate::sync::Mutex;
use core::cell::Cell;
use core::fmt;

/// All living actors of a system.
pub(crate) struct MailboxRegistry(Mutex<Chain>);

struct Chain {
    newest: Option<CellPtr>,
    /// The index of the newest that has ever been.
    last: MailboxIndex,
    live: u32,
    /// Most actors at a time.
    limit: u32,
    /// Set by shutdown: nobody comes in any more.
    sealed: bool,
}

/// What a cell has of the registry: who was registered before and after it. *Under the lock.*
pub(crate) struct Links {
    older: Cell<Option<CellPtr>>,
    newer: Cell<Option<CellPtr>>,
}

impl Links {
    pub(crate) fn new() -> Self {
        Self {
            older: Cell::new(None),
            newer: Cell::new(None),
        }
    }
}

/// Before all others.
const FIRST: MailboxIndex = MailboxIndex {
    slot: 0,
    generation: 1,
};

/// The generation says how often the slots have been used up, plus one.
fn after(MailboxIndex { slot, generation }: MailboxIndex) -> MailboxIndex {
    let (slot, again) = slot.overflowing_add(1);
    MailboxIndex {
        slot,
        generation: generation + u32::from(again),
    }
}

fn is_before(a: MailboxIndex, b: MailboxIndex) -> bool {
    let number = |index: MailboxIndex| u64::from(index.generation) << 32 | u64::from(index.slot);
    number(a) < number(b)
}

impl Chain {
    /// From the newest to the oldest.
    fn cells(&self) -> impl Iterator<Item = CellPtr> {
        core::iter::successors(self.newest, |cell| cell.links().older.get())
    }

    fn find(&self, index: MailboxIndex) -> Option<CellPtr> {
        self.cells().find(|cell| cell.index() == index)
    }

    fn has(&self, cell: CellPtr) -> bool {
        self.newest == Some(cell) || cell.links().newer.get().is_some()
    }

    /// The oldest of those that came later.
    fn next_after(&self, last: MailboxIndex) -> Option<CellPtr> {
        let mut next = None;
        for cell in self.cells() {
            if !is_before(last, cell.index()) {
                break;
            }
            next = Some(cell);
        }
        next
    }

    fn insert(&mut self, cell: CellPtr) -> Result<MailboxIndex, Refused> {
        if self.sealed {
            return Err(Refused::Sealed);
        }
        if self.live == self.limit {
            return Err(Refused::Full);
        }
        self.last = after(self.last);
        self.live += 1;
        let older = self.newest.replace(cell);
        if let Some(older) = older {
            older.links().newer.set(Some(cell));
        }
        cell.links().older.set(older);
        Ok(self.last)
    }

    /// False if it is not there.
    fn remove(&mut self, cell: CellPtr) -> bool {
        if !self.has(cell) {
            return false;
        }
        let (older, newer) = (cell.links().older.take(), cell.links().newer.take());
        match newer {
            Some(newer) => newer.links().older.set(older),
            None => self.newest = older,
        }
        if let Some(older) = older {
            older.links().newer.set(newer);
        }
        self.live -= 1;
        true
    }
}

impl MailboxRegistry {
    pub(crate) fn new(_shards: usize) -> Self {
        Self::limited_to(u32::MAX)
    }

    /// A registry for so many actors at a time.
    #[allow(clippy::unnecessary_wraps, reason = "as that of other builds")]
    pub(crate) fn with_capacity(actors: u32) -> Option<Self> {
        Some(Self::limited_to(actors))
    }

    fn limited_to(limit: u32) -> Self {
        Self(Mutex::new(Chain {
            newest: None,
            last: FIRST,
            live: 0,
            limit,
            sealed: false,
        }))
    }

    /// What takes room for each actor has to know of no limit here.
    #[allow(clippy::unused_self, reason = "as that of other builds")]
    pub(crate) fn capacity(&self) -> Option<u32> {
        None
    }

    /// Registers a cell. `publish` is called with its index, before anyone can find it.
    pub(crate) fn register(
        &self,
        _shard: usize,
        cell: CellPtr,
        publish: impl FnOnce(MailboxIndex),
    ) -> Result<(), Refused> {
        self.0.with(|chain| chain.insert(cell).map(publish))
    }

    /// Is the actor alive? Its end looks into all lists, so nothing is noted.
    pub(crate) fn note_listed(&self, cell: CellPtr) -> bool {
        self.0.with(|chain| chain.has(cell))
    }

    /// Removes a cell, which may be in some list. `None` if it is not there.
    pub(crate) fn unregister(&self, cell: CellPtr) -> Option<bool> {
        self.0.with(|chain| chain.remove(cell)).then_some(true)
    }

    /// Calls `found` with the living cell of this index, under the lock.
    pub(crate) fn resolve<R>(
        &self,
        index: MailboxIndex,
        found: impl FnOnce(CellPtr) -> R,
    ) -> Option<R> {
        self.0.with(|chain| chain.find(index).map(found))
    }

    /// Refuses newcomers from now on.
    pub(crate) fn seal(&self) {
        self.0.with(|chain| chain.sealed = true);
    }

    /// How many actors are alive.
    pub(crate) fn live(&self) -> usize {
        self.0.with(|chain| chain.live as usize)
    }

    /// Calls `each` with every living cell, the oldest first. The memory of each is kept meanwhile; no lock is held.
    pub(crate) fn for_each(&self, each: &mut dyn FnMut(CellPtr)) {
        let mut last: Option<CellPtr> = None;
        // One at a time: others end meanwhile, also the one that was last.
        loop {
            let next = self.0.with(|chain| {
                let next = match last {
                    Some(last) if chain.has(last) => last.links().newer.get(),
                    _ => chain.next_after(last.map_or(FIRST, |last| last.index())),
                }?;
                // A registered cell is alive, so its memory is.
                next.hold();
                Some(next)
            });
            if let Some(last) = core::mem::replace(&mut last, next) {
                last.release();
            }
            let Some(cell) = next else { return };
            each(cell);
        }
    }
}

impl fmt::Debug for MailboxRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailboxRegistry")
            .field("live", &self.live())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_index_comes_after_all_before_it() {
        let mut last = FIRST;
        for slot in [0, 7, u32::MAX - 1, u32::MAX, 0] {
            last.slot = slot;
            let next = after(last);
            assert!(is_before(last, next) && !is_before(next, last));
            assert!(!is_before(next, next));
            last = next;
        }
        assert_eq!((last.slot, last.generation), (1, 2));
    }
}
