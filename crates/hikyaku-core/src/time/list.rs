//! Timers in a list, for small programs: what the wheel does, in a fifth of the code and without its memory.
//!
//! Each step looks at all timers. There are a handful on a microcontroller, and a look at one takes a few
//! instructions. `time.rs` says where which is used.

use super::wheel::{Advance, Refused};
use alloc::collections::TryReserveError;
use alloc::vec::Vec;

/// Names one timer of one list, for ever. At a billion timers a second, 64 bits last for centuries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerId(u64);

#[derive(Debug)]
struct Node<T> {
    due: u64,
    id: TimerId,
    payload: T,
}

/// Timers, each with a payload that comes back when it is due. Named after the methods of the wheel.
#[derive(Debug)]
pub(crate) struct List<T> {
    now: u64,
    /// In no order.
    nodes: Vec<Node<T>>,
    /// Most nodes there may be.
    limit: usize,
    /// How many timers have been set.
    count: u64,
}

impl<T> List<T> {
    pub(crate) const fn new() -> Self {
        Self {
            now: 0,
            nodes: Vec::new(),
            limit: usize::MAX,
            count: 0,
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

    pub(crate) fn insert(&mut self, due: u64, payload: T) -> Result<TimerId, Refused<T>> {
        if self.nodes.len() >= self.limit {
            return Err(Refused::Full(payload));
        }
        if self.nodes.try_reserve(1).is_err() {
            return Err(Refused::OutOfMemory(payload));
        }
        let id = TimerId(self.count);
        self.count += 1;
        let due = due.max(self.now);
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
        let at = self.find(id)?;
        self.remove(at).map(|node| node.payload)
    }

    /// The last one takes the place, in a way that needs nothing that moves memory that may overlap.
    fn remove(&mut self, at: usize) -> Option<Node<T>> {
        let mut node = self.nodes.pop()?;
        if let Some(place) = self.nodes.get_mut(at) {
            core::mem::swap(place, &mut node);
        }
        Some(node)
    }

    /// Where the next timer is, if there is one. Of those that are due at once, the one that was set first.
    fn first(&self) -> usize {
        let mut first = (0, u64::MAX, u64::MAX);
        for (at, node) in self.nodes.iter().enumerate() {
            if (node.due, node.id.0) < (first.1, first.2) {
                first = (at, node.due, node.id.0);
            }
        }
        first.0
    }

    pub(crate) fn next_due(&self) -> Option<u64> {
        self.nodes.get(self.first()).map(|node| node.due)
    }

    pub(crate) fn advance(&mut self, tick: u64) -> Advance<T> {
        let at = self.first();
        let is_due = self.nodes.get(at).is_some_and(|node| node.due <= tick);
        match is_due.then(|| self.remove(at)).flatten() {
            Some(node) => {
                self.now = node.due;
                Advance::Fired(node.payload)
            }
            None => {
                self.now = self.now.max(tick);
                Advance::Done
            }
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
