//! Which entry has which name.

use super::{Content, Place, Slots};
use crate::sync::{Map, SMALL};
use crate::timer::TimerKey;

/// The names of an agenda. Where a program is to be small, an actor has few timers: who has a name is found by a look at
/// all, and the map stays empty.
pub(super) struct Names(Map<TimerKey, Place>);

impl Names {
    pub(super) const fn new() -> Self {
        Self(Map::new())
    }

    pub(super) fn find(&self, name: TimerKey, entries: &Slots) -> Option<Place> {
        if !SMALL {
            return self.0.get(&name).copied();
        }
        let mut slots = (0..).zip(&entries.slots);
        let (slot, found) = slots.find(|(_, slot)| match &slot.content {
            Content::Entry(entry) => entry.name == Some(name),
            Content::Free(_) => false,
        })?;
        let generation = found.generation;
        Some(Place { slot, generation })
    }

    pub(super) fn insert(&mut self, name: TimerKey, place: Place) {
        if !SMALL {
            self.0.insert(name, place);
        }
    }

    pub(super) fn remove(&mut self, name: TimerKey) {
        if !SMALL {
            self.0.remove(&name);
        }
    }
}
