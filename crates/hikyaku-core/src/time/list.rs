//! Timers in a list, for small programs: what the wheel does, in a fifth of the code and without its memory.
//!
//! Each step looks at all timers. There are a handful on a microcontroller, and a look at one takes a few
//! instructions. `time.rs` says where which is used.

use super::divide;
use super::wheel::Advance;
use alloc::collections::TryReserveError;
use alloc::vec::Vec;
use core::num::NonZeroU64;

/// Names one timer of one list, for ever. At a billion timers a second, 64 bits last for centuries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerId(NonZeroU64);

/// How the list counts: in nanoseconds. What is due is so at a multiple of the resolution.
#[derive(Debug)]
pub(crate) struct Ticks {
    /// In nanoseconds, not zero.
    resolution: u64,
}

impl Ticks {
    pub(crate) const fn new(resolution: u64) -> Self {
        Self { resolution }
    }

    /// The first tick that is not before a time.
    pub(crate) fn not_before(&self, time: u64) -> u64 {
        match divide(time, self.resolution) {
            (_, 0) => time,
            (_, beyond) => time.saturating_add(self.resolution - beyond),
        }
    }

    /// The last tick that is not after a time.
    pub(crate) const fn not_after(&self, time: u64) -> u64 {
        time
    }

    /// When a tick is.
    pub(crate) const fn nanos(&self, tick: u64) -> u64 {
        tick
    }
}

#[derive(Debug)]
struct Node<T> {
    due: u64,
    id: TimerId,
    payload: T,
}

/// Timers, each with a payload that comes back when it is due. Named after the methods of the wheel.
#[derive(Debug)]
pub(crate) struct List<T> {
    /// In no order.
    nodes: Vec<Node<T>>,
    /// Most nodes there may be.
    limit: usize,
    /// The next one's.
    id: TimerId,
}

impl<T> List<T> {
    pub(crate) const fn new() -> Self {
        Self {
            nodes: Vec::new(),
            limit: usize::MAX,
            id: TimerId(NonZeroU64::MIN),
        }
    }

    pub(crate) fn limit_to(&mut self, timers: u32) -> Result<(), TryReserveError> {
        let limit = timers as usize;
        self.nodes
            .try_reserve_exact(limit.saturating_sub(self.nodes.len()))?;
        self.limit = limit;
        Ok(())
    }

    pub(crate) const fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn insert(&mut self, due: u64, payload: T) -> Result<TimerId, T> {
        if self.nodes.len() >= self.limit || self.nodes.try_reserve(1).is_err() {
            return Err(payload);
        }
        let id = self.id;
        self.id = TimerId(id.0.saturating_add(1));
        self.nodes.push(Node { due, id, payload });
        Ok(id)
    }

    fn find(&self, id: TimerId) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }

    pub(crate) fn get(&self, id: TimerId) -> Option<&T> {
        self.find(id).map(|at| &self.nodes[at].payload)
    }

    pub(crate) fn cancel(&mut self, id: TimerId) -> Option<T> {
        self.find(id).and_then(|at| self.remove(at))
    }

    /// The last one takes the place, in a way that needs nothing that moves memory that may overlap.
    fn remove(&mut self, at: usize) -> Option<T> {
        let mut node = self.nodes.pop()?;
        if let Some(place) = self.nodes.get_mut(at) {
            core::mem::swap(place, &mut node);
        }
        Some(node.payload)
    }

    /// Where the next timer is. Of those that are due at once, it is the one that was set first.
    #[inline(never)]
    fn first(&self) -> Option<usize> {
        let mut first: Option<usize> = None;
        for (at, node) in self.nodes.iter().enumerate() {
            let earliest = first.map(|first| &self.nodes[first]);
            if earliest.is_none_or(|it| (node.due, node.id.0) < (it.due, it.id.0)) {
                first = Some(at);
            }
        }
        first
    }

    pub(crate) fn next_due(&self) -> Option<u64> {
        self.first().map(|at| self.nodes[at].due)
    }

    pub(crate) fn advance(&mut self, tick: u64) -> Advance<T> {
        let due = self.first().filter(|at| self.nodes[*at].due <= tick);
        match due.and_then(|at| self.remove(at)) {
            Some(payload) => Advance::Fired(payload),
            None => Advance::Done,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::wheel::Wheel;
    use super::*;
    use proptest::prelude::*;

    /// To the same end, whatever the wheel needs for it.
    fn advance(wheel: &mut Wheel<usize>, tick: u64) -> Advance<usize> {
        loop {
            match wheel.advance(tick) {
                Advance::Busy => {}
                other => return other,
            }
        }
    }

    proptest! {
        #[test]
        fn it_does_what_the_wheel_does(steps in prop::collection::vec((0..6_u8, 0..40_u64), 0..300)) {
            let (mut list, mut wheel) = (List::new(), Wheel::new());
            list.limit_to(20).unwrap();
            wheel.limit_to(20).unwrap();
            let mut set = Vec::new();
            let mut now = 0;
            for (number, (step, value)) in steps.into_iter().enumerate() {
                match step {
                    0..=2 => match (list.insert(now + value, number), wheel.insert(now + value, number)) {
                        (Ok(one), Ok(other)) => set.push((one, other)),
                        (one, other) => prop_assert_eq!(one.err(), other.err()),
                    },
                    3 if !set.is_empty() => {
                        let (one, other) = set[value as usize % set.len()];
                        prop_assert_eq!(list.get(one), wheel.get(other));
                        prop_assert_eq!(list.cancel(one), wheel.cancel(other));
                    }
                    4 => now += value,
                    // Not always to the end, and sometimes to what has passed.
                    _ => {
                        let tick = now.saturating_sub(value % 3);
                        prop_assert_eq!(list.advance(tick), advance(&mut wheel, tick));
                    }
                }
                prop_assert_eq!((list.len(), list.next_due()), (wheel.len(), wheel.next_due()));
            }
        }
    }
}
