//! What a worker does next: it is busy, searches, or sleeps (`idle.rs`). Each step does one thing, so that a test can
//! stop between any two.

use super::{Lane, ReadyQueueCoordinator};
use crate::worker::{Step, Turn};
use core::task::Waker;

/// Where a worker is between two steps. *Its worker.*
#[derive(Debug)]
pub(crate) struct Place {
    phase: Phase,
    /// Was it on watch when it last slept?
    watched: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Busy,
    /// Counted as searching.
    Searching,
    /// Counted as asleep; has to look once more.
    Parking,
    Parked,
    /// Not counted at all.
    Retired,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Busy,
            watched: false,
        }
    }

    /// Of one that was hired: it counts as searching, and what is stuck somewhere is why it is here.
    pub(crate) fn hired() -> Self {
        Self {
            phase: Phase::Searching,
            watched: true,
        }
    }

    pub(crate) fn is_parked(&self) -> bool {
        self.phase == Phase::Parked
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.phase == Phase::Retired
    }
}

impl ReadyQueueCoordinator {
    /// One step of a worker. If it sleeps, `waker` will be woken. *Its worker.*
    #[inline(always)]
    pub(crate) fn step(
        &self,
        lane: &Lane,
        place: &mut Place,
        waker: &Waker,
        is_stopped: impl FnOnce() -> bool,
    ) -> Step {
        match place.phase {
            Phase::Busy => match self.take(lane) {
                Some(cell) => return Step::Run(cell),
                None if self.start_searching() => place.phase = Phase::Searching,
                None => {
                    self.prepare_park(lane, false, waker);
                    place.phase = Phase::Parking;
                }
            },
            Phase::Searching => {
                let found = self.take(lane).or_else(|| self.steal(lane)).or_else(|| {
                    let watched = core::mem::take(&mut place.watched);
                    watched.then(|| self.steal_stranded(lane)).flatten()
                });
                if let Some(cell) = found {
                    self.stop_searching(lane);
                    place.phase = Phase::Busy;
                    return Step::Run(cell);
                }
                self.prepare_park(lane, true, waker);
                place.phase = Phase::Parking;
            }
            Phase::Parking if is_stopped() => return Step::Over(Turn::Stopped),
            Phase::Parking if self.commit_park(lane) => {
                place.phase = Phase::Parked;
                place.watched = self.is_on_watch(lane);
                return Step::Over(Turn::Idle {
                    on_watch: place.watched,
                });
            }
            Phase::Parking => place.phase = Phase::Searching,
            Phase::Parked => {
                self.unpark(lane);
                place.phase = Phase::Searching;
            }
            Phase::Retired => return Step::Over(Turn::Stopped),
        }
        Step::Look
    }

    /// Leaves the others to themselves. *Its worker.*
    pub(crate) fn leave(&self, lane: &Lane, place: &mut Place) {
        match core::mem::replace(&mut place.phase, Phase::Busy) {
            Phase::Busy | Phase::Retired => {}
            Phase::Searching => self.stop_searching(lane),
            Phase::Parking | Phase::Parked => {
                self.unpark(lane);
                self.stop_searching(lane);
            }
        }
        if !self.is_single() {
            self.abandon(lane);
        }
    }

    /// Leaves for good, if it may. *Its worker, asleep.*
    pub(crate) fn resign(&self, lane: &Lane, place: &mut Place) {
        if self.retire(lane) {
            place.phase = Phase::Retired;
        }
    }

    /// The last worker is needed once more, should it have left. Nobody else can have taken the place: no worker is
    /// left to hire for.
    pub(crate) fn rejoin(&self, lane: &Lane, place: &mut Place) {
        if place.is_retired() {
            self.idle.rejoin(lane.worker);
            place.phase = Phase::Searching;
        }
    }
}
