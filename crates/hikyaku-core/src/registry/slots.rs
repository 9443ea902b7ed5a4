//! The registry as a table. An index names a slot and the generation of its content. A slot whose generation would
//! wrap is never used again.
//!
//! The slots are divided into shards, one for each worker and one for everybody else, so that
//! spawning scales. Slot `s` belongs to shard `s % shards`.
//!
//! # Concurrency
//!
//! Each shard is behind its lock.

use super::{MailboxIndex, Refused};
use crate::cell::{CellPtr, Header};
use crate::pool;
use crate::sync::Mutex;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// Slots are made so many at a time and never move.
const SEGMENT: usize = if cfg!(target_pointer_width = "64") {
    256
} else {
    16
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Cell(CellPtr),
    /// The next free slot of the shard, as a number within it.
    Free(u32),
    Retired,
}

/// A content in one word: the address of a cell, whose second bit says whether it is in some list, or an odd number.
#[derive(Clone, Copy)]
struct Packed(*mut Header);

// Two bits of an address are free.
const _: () = assert!(align_of::<Header>() >= 4);

// SAFETY: a plain address, as `CellPtr` is.
unsafe impl Send for Packed {}

impl Packed {
    const RETIRED: Self = Self(core::ptr::null_mut());
    /// The end of the cell is awaited in some list of the system.
    const LISTED: usize = 2;

    fn new(content: Content) -> Self {
        match content {
            Content::Cell(cell) => Self(cell.as_ptr()),
            // No slot and the highest numbers, which no memory could hold, are the same.
            Content::Free(next) => Self(core::ptr::without_provenance_mut(
                ((next as usize) << 1) | 1,
            )),
            Content::Retired => Self::RETIRED,
        }
    }

    fn content(self) -> Content {
        let number = self.0.addr();
        if number & 1 == 1 {
            let next = u32::try_from(number >> 1).unwrap_or(NO_SLOT);
            let none = (NO_SLOT as usize) << 1 >> 1;
            Content::Free(if next as usize == none { NO_SLOT } else { next })
        } else if self.0.is_null() {
            Content::Retired
        } else {
            let header = self.0.map_addr(|address| address & !Self::LISTED);
            // SAFETY: only addresses of cells are even.
            Content::Cell(unsafe { CellPtr::from_ptr(header) })
        }
    }

    /// For the content that is a cell.
    fn is_listed(self) -> bool {
        self.0.addr() & Self::LISTED != 0
    }

    /// Likewise.
    fn list(&mut self) {
        self.0 = self.0.map_addr(|address| address | Self::LISTED);
    }
}

/// Slots side by side: twelve bytes each on a 64-bit machine.
struct Segment {
    contents: [Packed; SEGMENT],
    generations: [u32; SEGMENT],
}

struct Slot<'a> {
    content: &'a mut Packed,
    generation: &'a mut u32,
}

const NO_SLOT: u32 = u32::MAX;

struct Shard {
    /// Each a segment alone, which does not move when others come.
    #[expect(clippy::vec_box, reason = "a segment does not move when others come")]
    segments: Vec<Box<Segment>>,
    /// The first free slot.
    free: u32,
    /// How many slots have ever been used.
    used: u32,
    live: usize,
    /// Set by shutdown: nobody comes in any more.
    sealed: bool,
}

/// What a cell has of the registry: nothing.
pub(crate) struct Links;

impl Links {
    pub(crate) fn new() -> Self {
        Self
    }
}

/// All living actors of a system.
pub(crate) struct MailboxRegistry {
    shards: Box<[Mutex<Shard>]>,
    /// Most actors in a shard.
    limit: u32,
}

impl Shard {
    fn new() -> Self {
        Self {
            segments: Vec::new(),
            free: NO_SLOT,
            used: 0,
            live: 0,
            sealed: false,
        }
    }

    fn slot(&mut self, number: u32) -> Option<Slot<'_>> {
        let number = number as usize;
        let segment = self.segments.get_mut(number / SEGMENT)?;
        Some(Slot {
            content: &mut segment.contents[number % SEGMENT],
            generation: &mut segment.generations[number % SEGMENT],
        })
    }

    fn next_free(&mut self, limit: u32) -> Option<u32> {
        if self.free != NO_SLOT {
            return Some(self.free);
        }
        if self.used >= limit {
            return None;
        }
        if self.used as usize == self.segments.len() * SEGMENT {
            self.grow()?;
        }
        self.used += 1;
        Some(self.used - 1)
    }

    /// `None` if there is no memory.
    fn grow(&mut self) -> Option<()> {
        self.segments.try_reserve(1).ok()?;
        self.segments.push(pool::try_box(Segment {
            contents: [Packed::new(Content::Free(NO_SLOT)); SEGMENT],
            generations: [1; SEGMENT],
        })?);
        Some(())
    }

    fn insert(&mut self, cell: CellPtr, limit: u32) -> Result<(u32, u32), Refused> {
        if self.sealed {
            return Err(Refused::Sealed);
        }
        let number = self.next_free(limit).ok_or(Refused::Full)?;
        let slot = self.slot(number).ok_or(Refused::Full)?;
        let generation = *slot.generation;
        let next = match slot.content.content() {
            Content::Free(next) => next,
            Content::Cell(_) | Content::Retired => NO_SLOT,
        };
        *slot.content = Packed::new(Content::Cell(cell));
        self.free = next;
        self.live += 1;
        Ok((number, generation))
    }

    fn remove(&mut self, number: u32, generation: u32) -> Option<bool> {
        let free = self.free;
        let slot = self.slot(number)?;
        if *slot.generation != generation || !matches!(slot.content.content(), Content::Cell(_)) {
            return None;
        }
        let listed = slot.content.is_listed();
        match slot.generation.checked_add(1) {
            Some(next) => {
                *slot.generation = next;
                *slot.content = Packed::new(Content::Free(free));
                self.free = number;
            }
            None => *slot.content = Packed::RETIRED,
        }
        self.live -= 1;
        Some(listed)
    }
}

impl MailboxRegistry {
    pub(crate) fn new(shards: usize) -> Self {
        let shards: Box<[_]> = (0..shards.max(1))
            .map(|_| Mutex::new(Shard::new()))
            .collect();
        let limit = NO_SLOT / u32::try_from(shards.len()).unwrap_or(NO_SLOT);
        Self { shards, limit }
    }

    /// A registry for so many actors at a time. It allocates now and never again; `None` if there is no memory.
    pub(crate) fn with_capacity(actors: u32) -> Option<Self> {
        let actors = actors.min(NO_SLOT - 1);
        let mut shard = Shard::new();
        let segments = (actors as usize).div_ceil(SEGMENT);
        shard.segments.try_reserve_exact(segments).ok()?;
        for _ in 0..segments {
            shard.grow()?;
        }
        // One shard, so that the limit is exact.
        Some(Self {
            shards: Box::new([Mutex::new(shard)]),
            limit: actors,
        })
    }

    /// Most actors at a time, if that is limited.
    pub(crate) fn capacity(&self) -> Option<u32> {
        (self.shards.len() == 1 && self.limit != NO_SLOT).then_some(self.limit)
    }

    fn count(&self) -> u32 {
        u32::try_from(self.shards.len()).unwrap_or(u32::MAX)
    }

    /// Registers a cell in the given shard. *Any thread.* `publish` is called with its index,
    /// before anyone can find it.
    pub(crate) fn register(
        &self,
        shard: usize,
        cell: CellPtr,
        publish: impl FnOnce(MailboxIndex),
    ) -> Result<(), Refused> {
        let count = self.count();
        let shard = shard.min(self.shards.len() - 1);
        self.shards[shard].with(|slots| {
            let (number, generation) = slots.insert(cell, self.limit)?;
            publish(MailboxIndex {
                // Below `NO_SLOT`, by the limit.
                slot: number * count + shard as u32,
                generation,
            });
            Ok(())
        })
    }

    fn place(&self, index: MailboxIndex) -> (&Mutex<Shard>, u32) {
        let count = self.count();
        (
            &self.shards[(index.slot % count) as usize],
            index.slot / count,
        )
    }

    /// Notes that a living actor is in some list, which it has to leave when it ends. *Any thread.*
    /// False if it has ended. Who lists an actor does so first, and takes it back if this is false: an
    /// end that comes later finds it in the list.
    pub(crate) fn note_listed(&self, cell: CellPtr) -> bool {
        self.list(cell.index())
    }

    pub(super) fn list(&self, index: MailboxIndex) -> bool {
        let (shard, number) = self.place(index);
        shard.with(|slots| match slots.slot(number) {
            Some(slot)
                if *slot.generation == index.generation
                    && matches!(slot.content.content(), Content::Cell(_)) =>
            {
                slot.content.list();
                true
            }
            _ => false,
        })
    }

    /// Removes a cell, and tells whether it is in some list. *Any thread.* `None` if it is not there.
    pub(crate) fn unregister(&self, cell: CellPtr) -> Option<bool> {
        self.remove(cell.index())
    }

    pub(super) fn remove(&self, index: MailboxIndex) -> Option<bool> {
        let (shard, number) = self.place(index);
        shard.with(|slots| slots.remove(number, index.generation))
    }

    /// Calls `found` with the living cell of this index, under the lock. *Any thread.*
    pub(crate) fn resolve<R>(
        &self,
        index: MailboxIndex,
        found: impl FnOnce(CellPtr) -> R,
    ) -> Option<R> {
        let (shard, number) = self.place(index);
        shard.with(|slots| {
            let slot = slots.slot(number)?;
            match slot.content.content() {
                Content::Cell(cell) if *slot.generation == index.generation => Some(found(cell)),
                _ => None,
            }
        })
    }

    /// Refuses newcomers from now on. *Any thread.*
    pub(crate) fn seal(&self) {
        for shard in &self.shards {
            shard.with(|slots| slots.sealed = true);
        }
    }

    /// How many actors are alive. Exact when nobody spawns or ends meanwhile.
    pub(crate) fn live(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.with(|slots| slots.live))
            .sum()
    }

    /// Calls `each` with every living cell. The memory of each is kept meanwhile; no lock is held.
    pub(crate) fn for_each(&self, each: &mut dyn FnMut(CellPtr)) {
        for shard in &self.shards {
            let mut number = 0;
            // One at a time: what comes in later is not of interest to any caller.
            while let Some(content) = shard.with(|slots| {
                let content = slots.slot(number)?.content.content();
                if let Content::Cell(cell) = content {
                    // A registered cell is alive, so its memory is.
                    cell.hold();
                }
                Some(content)
            }) {
                if let Content::Cell(cell) = content {
                    each(cell);
                    cell.release();
                }
                number += 1;
            }
        }
    }
}

impl fmt::Debug for MailboxRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailboxRegistry")
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
