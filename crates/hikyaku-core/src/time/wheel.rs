//! The timer wheel: what is due when, in ticks. A plain value; whoever shares it puts a lock around it.
//!
//! Ticks are read as numbers to the base 64. A timer lies at the level of the highest digit in which
//! its due tick differs from `now`, in the slot of that digit. So the slot follows from `now` and the
//! due tick alone, and eleven levels hold every tick there is:
//!
//! ```text
//! now = 5·64² + 2·64 + 7         slots of ...   holds what is due ...
//! level 0   . . . . . . . ● ● ●   1 tick         in the 64 ticks that `now` is in
//! level 1   . . . ● ● ● ● ● ● ●   64 ticks       after those, in the 64² ticks that `now` is in
//! level 2   . . . . . . ● ● ● ●   64² ticks      after those, and so on
//! ```
//!
//! When `now` comes to the first tick of a slot (it never jumps over a slot that holds timers), the
//! slot is spread over the levels below, for which its timers have become near. At level 0 a slot is
//! one tick, and that of `now` holds what is due.
//!
//! - A slot behind `now` is empty. The slot of `now` holds something at level 0, or at the one level
//!   that is being spread.
//! - What lies at a lower level is due earlier, and so is what lies in a lower slot of one level.
//! - Timers of one tick always lie in one slot, or wait in the one that is being spread to come to
//!   it. Every list is first in, first out, so these timers are as well.
//!
//! Spreading is done in portions, and the wheel may be used between two of them.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;
use core::cell::Cell;

/// Bits of one digit.
const DIGIT: u32 = 6;
/// Slots of a level: one for each digit.
const SLOTS: usize = 1 << DIGIT;
const LEVELS: usize = u64::BITS.div_ceil(DIGIT) as usize;
/// The highest digit of a tick has fewer bits than the others.
const LISTS: usize = (LEVELS - 1) * SLOTS + (1 << (u64::BITS % DIGIT));
/// At most so many timers are moved in one call of `advance`.
const PORTION: usize = 64;
/// No node.
const NONE: u32 = u32::MAX;

/// Names one timer of one wheel, for ever: it never comes to name another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerId {
    node: u32,
    generation: u64,
}

/// How the wheel counts: its ticks are as long as the resolution.
#[derive(Debug)]
pub(crate) struct Ticks {
    /// In nanoseconds, not zero.
    resolution: u64,
    /// The last tick whose time fits into 64 bits.
    last: u64,
}

impl Ticks {
    pub(crate) const fn new(resolution: u64) -> Self {
        Self {
            resolution,
            last: u64::MAX / resolution,
        }
    }

    /// The first tick that is not before a time.
    pub(crate) const fn not_before(&self, time: u64) -> u64 {
        time.div_ceil(self.resolution)
    }

    /// The last tick that is not after a time.
    pub(crate) const fn not_after(&self, time: u64) -> u64 {
        time / self.resolution
    }

    /// When a tick is.
    pub(crate) fn nanos(&self, tick: u64) -> u64 {
        tick.min(self.last) * self.resolution
    }
}

/// What one call of [`Wheel::advance`] came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Advance<T> {
    /// A timer is due. There may be more: call again.
    Fired(T),
    /// Many timers have come nearer, and more have to. Call again.
    Busy,
    /// The tick has come, and nothing is due any more.
    Done,
}

#[derive(Debug)]
struct Node<T> {
    /// Never before the tick at which the timer was set.
    due: u64,
    /// How often the node has been used before.
    generation: u64,
    /// The next of the list, which is a ring; or the next free node.
    next: u32,
    prev: u32,
    /// None while the node is free.
    payload: Option<T>,
}

/// Timers, each with a payload that comes back when it is due.
#[derive(Debug)]
pub(crate) struct Wheel<T> {
    now: u64,
    nodes: Vec<Node<T>>,
    /// The first free node.
    free: u32,
    /// Most nodes there may be.
    limit: u32,
    len: usize,
    /// The level of which the slot of `now` is being spread, or 0.
    spreading: usize,
    /// The earliest due tick, if it is known.
    earliest: Cell<Option<u64>>,
    /// One bit for each slot that holds timers.
    occupied: [u64; LEVELS],
    /// The first node of each slot.
    heads: [u32; LISTS],
}

/// The level at which two ticks differ; 0 also if they do not.
fn level(a: u64, b: u64) -> usize {
    ((a ^ b) | 1).ilog2() as usize / DIGIT as usize
}

/// The slot of a tick at a level.
fn list(level: usize, tick: u64) -> usize {
    level * SLOTS + (tick >> (level as u32 * DIGIT)) as usize % SLOTS
}

impl<T> Wheel<T> {
    /// A wheel at tick 0 that grows with the number of timers in it.
    pub(crate) const fn new() -> Self {
        Self {
            now: 0,
            nodes: Vec::new(),
            free: NONE,
            limit: NONE,
            len: 0,
            spreading: 0,
            earliest: Cell::new(None),
            occupied: [0; LEVELS],
            heads: [NONE; LISTS],
        }
    }

    /// From now on it takes this many timers at a time, at least as many as it has. It allocates now and never
    /// again.
    pub(crate) fn limit_to(&mut self, timers: u32) -> Result<(), TryReserveError> {
        let missing = (timers as usize).saturating_sub(self.nodes.len());
        self.nodes.try_reserve_exact(missing)?;
        self.limit = timers;
        Ok(())
    }

    /// The tick that the wheel has come to. What was due before it has fired.
    #[cfg(test)]
    pub(crate) const fn now(&self) -> u64 {
        self.now
    }

    /// How many timers there are.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Sets a timer. Constant time, but for the growth of the wheel.
    ///
    /// If it is due already it counts as due `now`, and fires at the next advance. If there is no room or no memory, the
    /// payload comes back.
    pub(crate) fn insert(&mut self, due: u64, payload: T) -> Result<TimerId, T> {
        let due = due.max(self.now);
        let (node, generation) = self.allocate(due, payload)?;
        // What comes into a slot that is being spread lines up behind those that are there.
        let level = level(due, self.now).max(self.spreading);
        self.append(level, node);
        let earliest = match self.len {
            0 => Some(due),
            _ => self.earliest.get().map(|earliest| earliest.min(due)),
        };
        self.earliest.set(earliest);
        self.len += 1;
        Ok(TimerId { node, generation })
    }

    /// The payload of a timer. None if it has fired or has been taken out.
    pub(crate) fn get(&self, id: TimerId) -> Option<&T> {
        let node = self.nodes.get(id.node as usize)?;
        (node.generation == id.generation).then_some(node.payload.as_ref())?
    }

    /// Takes a timer out. Constant time. None if it has fired or has been taken out.
    pub(crate) fn cancel(&mut self, id: TimerId) -> Option<T> {
        let node = self.nodes.get(id.node as usize)?;
        // A free node has the generation of its next timer, which nobody can name yet.
        (node.generation == id.generation).then(|| self.remove(id.node))?
    }

    /// The tick at which the next timer is due. None if there is none.
    ///
    /// Looks through the timers of one slot if the last answer has fired or was cancelled. Who asks after
    /// each advance to this tick pays for each timer at most once per level.
    pub(crate) fn next_due(&self) -> Option<u64> {
        if self.earliest.get().is_none() {
            // While a slot is spread, the earliest may be in it or below.
            let spreading = list(self.spreading, self.now);
            let first = self.first().map(|(level, start)| list(level, start));
            let due = [first, Some(spreading)]
                .into_iter()
                .flatten()
                .filter_map(|list| self.earliest_in(list))
                .min();
            self.earliest.set(due);
        }
        self.earliest.get()
    }

    /// Goes on towards a tick, as far as the next timer that is due: call it until it is done.
    /// It does not go back: done at once if the tick has passed.
    ///
    /// Timers fire in the order of their due ticks, those of one tick in the order in which they were set. None
    /// fires before its tick. One call takes constant time.
    pub(crate) fn advance(&mut self, tick: u64) -> Advance<T> {
        if tick < self.now {
            return Advance::Done;
        }
        let mut portion = PORTION;
        while self.spread(&mut portion) {
            let Some((level, start)) = self.first().filter(|(_, start)| *start <= tick) else {
                self.now = tick;
                return Advance::Done;
            };
            self.now = start;
            self.spreading = level;
            if level == 0
                && let Some(payload) = self.remove(self.heads[list(0, start)])
            {
                return Advance::Fired(payload);
            }
        }
        Advance::Busy
    }

    /// Moves timers from the slot that is being spread to the levels below. False if there are more
    /// of them than may be moved.
    fn spread(&mut self, portion: &mut usize) -> bool {
        let from = list(self.spreading, self.now);
        while self.spreading > 0 {
            let node = self.heads[from];
            if node == NONE {
                self.spreading = 0;
            } else if *portion == 0 {
                return false;
            } else {
                *portion -= 1;
                self.unlink(node, from);
                self.append(level(self.nodes[node as usize].due, self.now), node);
            }
        }
        true
    }

    /// The first slot that holds timers: its level and its first tick.
    fn first(&self) -> Option<(usize, u64)> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        let shift = level as u32 * DIGIT;
        let slot = u64::from(self.occupied[level].trailing_zeros());
        let above = (self.now >> shift) & !(SLOTS as u64 - 1);
        Some((level, (above | slot) << shift))
    }

    /// The earliest due tick in a slot.
    fn earliest_in(&self, list: usize) -> Option<u64> {
        let head = self.heads[list];
        let mut due = self.nodes.get(head as usize)?.due;
        // At level 0 all are due at once.
        if list >= SLOTS {
            let mut at = self.nodes[head as usize].next;
            while at != head {
                due = due.min(self.nodes[at as usize].due);
                at = self.nodes[at as usize].next;
            }
        }
        Some(due)
    }

    /// Takes a timer out of its slot, and its node back.
    fn remove(&mut self, node: u32) -> Option<T> {
        let due = self.nodes[node as usize].due;
        let spreading = list(self.spreading, self.now);
        // One that does not head the slot being spread is unlinked the same way wherever it is.
        let from = if self.heads[spreading] == node {
            spreading
        } else {
            list(level(due, self.now), due)
        };
        self.unlink(node, from);
        if self.earliest.get() == Some(due) {
            self.earliest.set(None);
        }
        self.len -= 1;
        self.release(node)
    }

    // === lists ===

    /// Puts a node at the end of its slot at this level.
    fn append(&mut self, level: usize, node: u32) {
        let list = list(level, self.nodes[node as usize].due);
        let head = self.heads[list];
        let (next, prev) = if head == NONE {
            self.heads[list] = node;
            self.occupied[level] |= 1 << (list % SLOTS);
            (node, node)
        } else {
            (head, self.nodes[head as usize].prev)
        };
        self.nodes[node as usize].next = next;
        self.nodes[node as usize].prev = prev;
        self.nodes[prev as usize].next = node;
        self.nodes[next as usize].prev = node;
    }

    /// Takes a node out of its ring. `list` must be the one that it heads, if it heads one.
    fn unlink(&mut self, node: u32, list: usize) {
        let Node { next, prev, .. } = self.nodes[node as usize];
        self.nodes[prev as usize].next = next;
        self.nodes[next as usize].prev = prev;
        if self.heads[list] == node {
            if next == node {
                self.heads[list] = NONE;
                self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
            } else {
                self.heads[list] = next;
            }
        }
    }

    // === nodes ===

    fn allocate(&mut self, due: u64, payload: T) -> Result<(u32, u64), T> {
        if let Some(node) = self.nodes.get_mut(self.free as usize) {
            let number = core::mem::replace(&mut self.free, node.next);
            node.due = due;
            node.payload = Some(payload);
            return Ok((number, node.generation));
        }
        // Fits: below the limit.
        let number = self.nodes.len() as u32;
        if number >= self.limit || self.nodes.try_reserve(1).is_err() {
            return Err(payload);
        }
        self.nodes.push(Node {
            due,
            generation: 0,
            next: NONE,
            prev: NONE,
            payload: Some(payload),
        });
        Ok((number, 0))
    }

    fn release(&mut self, number: u32) -> Option<T> {
        let node = &mut self.nodes[number as usize];
        // At a billion timers a second, 64 bits last for centuries.
        node.generation += 1;
        node.next = core::mem::replace(&mut self.free, number);
        node.payload.take()
    }
}

#[cfg(all(test, not(loom)))]
mod measure;
#[cfg(all(test, not(loom)))]
mod tests;
