//! The ends of other actors: each has its turn behind the messages that were queued when it came to be known.

use super::Place;
use crate::mailbox::{Mark, Spot};
use alloc::collections::VecDeque;

/// Places that have their turns among the messages. The first watch makes it, so a program without one does not link
/// what is behind it.
pub(super) trait Line {
    fn join(&mut self, place: Place);

    /// The next one whose turn has come. `queued` is what is in the mailbox.
    fn next(&mut self, queued: Mark) -> Option<Place>;

    /// The message that was there has been taken. True if nobody waits any more.
    fn passed(&mut self, spot: Spot) -> bool;

    fn is_empty(&self) -> bool;
}

struct Signal {
    place: Place,
    /// Which messages come before; to be found out.
    behind: Option<Mark>,
}

#[derive(Default)]
pub(super) struct Signals(VecDeque<Signal>);

impl Line for Signals {
    fn join(&mut self, place: Place) {
        self.0.push_back(Signal {
            place,
            behind: None,
        });
    }

    fn next(&mut self, queued: Mark) -> Option<Place> {
        for signal in &mut self.0 {
            signal.behind.get_or_insert(queued);
        }
        let first = self.0.front()?;
        if first.behind != Some(Mark::Nothing) {
            return None;
        }
        self.0.pop_front().map(|signal| signal.place)
    }

    fn passed(&mut self, spot: Spot) -> bool {
        for mark in self
            .0
            .iter_mut()
            .filter_map(|signal| signal.behind.as_mut())
        {
            mark.pass(spot);
        }
        self.0.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
