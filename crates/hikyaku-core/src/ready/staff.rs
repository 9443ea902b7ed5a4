//! When there are too few workers: how the foreman is called, and how it judges.
//!
//! Whoever brings work and finds everybody busy calls. One call is enough until the foreman has looked:
//! it takes the call back, then looks, so whoever comes after its look calls again. Between the two it has
//! a full fence, as those who bring work have between theirs (`idle.rs`).
//!
//! More workers are wanted when what waits is more than what was taken in the time between two
//! looks, which means that it waits longer than that; or when a cell waits in the next slot of a worker
//! that was in the same activation both times.

use super::{Lane, Queue, ReadyQueueCoordinator};
use crate::foreman::Shortage;
use crate::sync::{self, AtomicU32, Mutex, Ordering};
use alloc::vec::Vec;
use core::fmt;
use core::task::Waker;

/// How the foreman is called.
pub(super) struct Call {
    /// 1 from a call until the foreman has looked, or for as long as it wants none.
    called: AtomicU32,
    waker: Mutex<Option<Waker>>,
}

impl Call {
    pub(super) fn new() -> Self {
        Self {
            called: AtomicU32::new(0),
            waker: Mutex::new(None),
        }
    }

    /// *Any thread.*
    #[inline]
    pub(super) fn ring(&self) {
        // Relaxed, twice: ordered by the fences, or the lock, of those who bring work.
        if self.called.load(Ordering::Relaxed) == 0 && self.called.swap(1, Ordering::Relaxed) == 0 {
            self.wake();
        }
    }

    #[cold]
    pub(super) fn wake(&self) {
        // The waker belongs to an executor, whose contract forbids it to come back here.
        self.waker.with(|waker| {
            if let Some(waker) = waker {
                sync::quietly(|| waker.wake_by_ref());
            }
        });
    }

    /// Calls are not wanted for now.
    pub(super) fn hold(&self) {
        // Relaxed: under the lock of the sleepers, as `release` when a place becomes vacant.
        self.called.store(1, Ordering::Relaxed);
    }

    /// Calls are wanted again.
    pub(super) fn release(&self) {
        // Relaxed: the foreman has a fence after it; else as in `hold`.
        self.called.store(0, Ordering::Relaxed);
    }

    /// *Foreman.*
    fn leave_waker(&self, waker: &Waker) {
        let mut fresh = Some(waker.clone());
        self.waker.with(|slot| {
            if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
                core::mem::swap(slot, &mut fresh);
            }
        });
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Call")
    }
}

/// What a foreman saw when it last looked.
#[derive(Debug, Default)]
pub(crate) struct Outlook {
    /// The next slot and the turn of each worker.
    lanes: Vec<(usize, u32)>,
    /// Were all busy then?
    busy: bool,
}

impl ReadyQueueCoordinator {
    /// Can the number of workers change?
    pub(crate) fn is_adaptive(&self) -> bool {
        self.idle.call().is_some()
    }

    /// What a foreman begins with, if there can be one.
    pub(crate) fn outlook(&self) -> Option<Outlook> {
        self.is_adaptive().then(Outlook::default)
    }

    /// The foreman looks. One who is patient does not hire for what has only just come.
    /// *Foreman.*
    pub(crate) fn look(&self, outlook: &mut Outlook, patient: bool, waker: &Waker) -> Shortage {
        let Some(call) = self.idle.call() else {
            return Shortage::Not;
        };
        call.leave_waker(waker);
        if self.idle.is_full() {
            outlook.busy = false;
            return Shortage::Not;
        }
        if !patient {
            call.release();
            sync::fence();
        }
        let before = core::mem::replace(&mut outlook.busy, self.idle.can_hire());
        if outlook.busy {
            return self.judge(outlook, patient, before);
        }
        if before {
            // Work often comes back at once.
            return Shortage::Perhaps;
        }
        call.release();
        sync::fence();
        outlook.busy = self.idle.can_hire();
        if outlook.busy {
            self.judge(outlook, patient, false)
        } else {
            Shortage::Not
        }
    }

    /// All are busy.
    fn judge(&self, outlook: &mut Outlook, patient: bool, before: bool) -> Shortage {
        // Relaxed: a statistic.
        let mut waiting = self.injector.len.load(Ordering::Relaxed);
        let mut taken = 0;
        let mut stranded = false;
        outlook.lanes.resize(self.lanes.len(), (0, 0));
        for (lane, seen) in self.lanes.iter().zip(&mut outlook.lanes) {
            let Queue::Stealing { next, ring } = &lane.queue else {
                continue;
            };
            waiting += ring.len();
            // Relaxed, twice: whoever is hired looks for itself.
            let now = (
                next.load(Ordering::Relaxed).addr(),
                lane.turn.load(Ordering::Relaxed),
            );
            let then = core::mem::replace(seen, now);
            // Each activation is two turns.
            taken += (now.1.wrapping_sub(then.1) / 2) as usize;
            stranded |= now == then && now.0 != 0 && now.1.is_multiple_of(2);
        }
        let long = before && (stranded || waiting > taken);
        if long || !patient && waiting != 0 {
            // The time between two looks begins anew.
            outlook.busy = false;
            Shortage::Yes
        } else {
            Shortage::Perhaps
        }
    }

    /// A worker for a vacant place, unless somebody has come free; it counts as searching. *Foreman.*
    pub(crate) fn hire(&self) -> Option<usize> {
        self.idle.hire()
    }

    /// Leaves for good, if it may. *Its worker, asleep.*
    pub(super) fn retire(&self, lane: &Lane) -> bool {
        let left = self.idle.leave(lane.worker);
        if left {
            debug_assert_eq!(lane.len(), 0, "who sleeps has nothing left");
            drop(lane.waker.with(Option::take));
        }
        left
    }
}
