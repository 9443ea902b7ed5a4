//! Who searches for work, who sleeps, and whom to wake.
//!
//! A worker is busy, searching, or asleep. Work that appears wakes one sleeper, unless somebody
//! searches already: the searcher will find it, and wakes the next one when it does. So a burst
//! wakes the workers one by one.
//!
//! # Why no work is left alone
//!
//! The one who brings work makes it visible, then reads the counts. The one who goes to sleep
//! changes the counts, then looks at each queue. Between its two steps each has a full fence, so the
//! one whose fence comes second sees what the first did before. From outside, the injector's lock
//! takes the place of the fences. A worker that fills its ring looks at the counts at once, without
//! a fence, and once more with a fence when the activation is over: one fence for all it has pushed.
//! If a sleeper is overlooked meanwhile, because it fell asleep at that moment, it is on watch or
//! another one is, and looks again by itself, should the activation last long.
//!
//! The same holds for the last searcher, who
//! stops being one in the step in which it becomes a sleeper, or when it has found work: it then
//! looks at the queues in the same way, and wakes another if there is more, or if nobody is on watch.
//!
//! # Workers that come and go
//!
//! A place without a worker is *vacant*. Only a sleeper leaves, and only while it is in the list: whoever
//! brings work either takes it from the list first, so that it stays, or finds it gone. If nobody is left in the
//! list and nobody searches, the foreman is called (`staff.rs`). A worker that left has looked at the
//! queues after it had said that it sleeps, like any sleeper, so it leaves no work alone. The one on watch
//! stays while anybody is awake.
//!
//! # Concurrency
//!
//! `counts`: any thread. It changes together with the list of sleepers, under the lock, or by a searcher that
//! becomes busy or the other way round. `staff`: under the lock.

use super::staff::Call;
use crate::sync::{AtomicUsize, Mutex, Ordering};
use alloc::vec::Vec;

const SEARCHER: usize = 1;
const SLEEPER: usize = 1 << (usize::BITS / 2);

fn searchers(counts: usize) -> usize {
    counts & (SLEEPER - 1)
}

fn sleepers(counts: usize) -> usize {
    counts / SLEEPER
}

/// The accounts of a coordinator's workers.
#[derive(Debug)]
pub(super) struct Idle {
    counts: AtomicUsize,
    /// How many workers there are.
    staff: AtomicUsize,
    least: usize,
    /// How the foreman is called, if there can be more workers.
    call: Option<Call>,
    sleepers: Mutex<Sleepers>,
}

#[derive(Debug)]
struct Sleepers {
    /// The workers asleep; the last one wakes first, its caches are the warmest.
    asleep: Vec<usize>,
    /// The one of them that looks after those who are awake. It sleeps at the front, and goes on
    /// watch for one more turn when everybody sleeps: work often comes back at once.
    watcher: Option<usize>,
    /// How often somebody was woken, and what the watcher last saw of it.
    wakes: usize,
    seen: usize,
    /// The places that have no worker.
    vacant: Vec<usize>,
}

impl Sleepers {
    /// Puts `worker`, one of so many, among the sleepers.
    fn add(&mut self, worker: usize, staff: usize) {
        let everybody = self.asleep.len() + 1 == staff;
        if self.watcher == Some(worker) && everybody && self.wakes == self.seen {
            // Nothing has happened for a whole turn.
            self.watcher = None;
        } else if self.watcher.is_none() && !everybody {
            self.watcher = Some(worker);
        }
        if self.watcher == Some(worker) {
            self.seen = self.wakes;
            self.asleep.insert(0, worker);
        } else {
            self.asleep.push(worker);
        }
    }
}

impl Idle {
    /// `least` workers are there, and there can be `most`.
    pub(super) fn new(least: usize, most: usize) -> Self {
        Self {
            counts: AtomicUsize::new(0),
            staff: AtomicUsize::new(least),
            least,
            call: (least < most).then(Call::new),
            sleepers: Mutex::new(Sleepers {
                asleep: Vec::with_capacity(most),
                watcher: None,
                wakes: 0,
                seen: 0,
                vacant: (least..most).rev().collect(),
            }),
        }
    }

    /// How many workers there are. *Any thread.*
    pub(super) fn staff(&self) -> usize {
        // Relaxed: a statistic, or under the lock.
        self.staff.load(Ordering::Relaxed)
    }

    pub(super) fn call(&self) -> Option<&Call> {
        self.call.as_ref()
    }

    /// Work is there: whom to wake for it, if anybody. The one woken counts as searching. *Any
    /// thread*, after it made the work visible.
    #[inline]
    pub(super) fn worker_to_wake(&self) -> Option<usize> {
        // Ordered after the sleeper's change by the fences, as said above. Acquire: pairs with the Release
        // in `leave`: who finds nobody knows that calls are wanted.
        let counts = self.counts.load(Ordering::Acquire);
        if searchers(counts) != 0 {
            return None;
        }
        if sleepers(counts) == 0 {
            self.call_foreman();
            return None;
        }
        self.pop_sleeper()
    }

    #[inline]
    fn call_foreman(&self) {
        if let Some(call) = &self.call {
            call.ring();
        }
    }

    #[cold]
    fn pop_sleeper(&self) -> Option<usize> {
        let popped = self.sleepers.with(|sleepers| {
            // Relaxed: sleepers change under the lock only; a new searcher makes the wake
            // unnecessary, not wrong.
            if searchers(self.counts.load(Ordering::Relaxed)) != 0 {
                return None;
            }
            let worker = sleepers.asleep.pop()?;
            sleepers.wakes = sleepers.wakes.wrapping_add(1);
            if sleepers.watcher == Some(worker) {
                sleepers.watcher = None;
            }
            // Relaxed: the counts carry nothing but themselves.
            self.counts
                .fetch_add(SEARCHER.wrapping_sub(SLEEPER), Ordering::Relaxed);
            Some(worker)
        });
        if popped.is_none() {
            // It may just have left.
            self.call_foreman();
        }
        popped
    }

    /// A busy worker has nothing to do. May it search? At most half of the workers do. *Worker.*
    pub(super) fn start_searching(&self) -> bool {
        // Relaxed: a limit against crowding, not a promise.
        if 2 * searchers(self.counts.load(Ordering::Relaxed)) >= self.staff().max(2) {
            return false;
        }
        // Relaxed: the counts carry nothing but themselves.
        self.counts.fetch_add(SEARCHER, Ordering::Relaxed);
        true
    }

    /// A searcher found work. True if it was the last one: it has to wake another. *Worker.*
    pub(super) fn stop_searching(&self) -> bool {
        // Release: pairs with the Acquire in `fall_asleep`: who sleeps after this sees what the
        // searcher has moved to its own queue.
        searchers(self.counts.fetch_sub(SEARCHER, Ordering::Release)) == 1
    }

    /// Goes to sleep. The caller must look for work once more afterwards. *Worker.*
    pub(super) fn fall_asleep(&self, worker: usize, searching: bool) {
        self.sleepers.with(|sleepers| {
            sleepers.add(worker, self.staff());
            let change = SLEEPER.wrapping_sub(if searching { SEARCHER } else { 0 });
            // Acquire: pairs with the Release in `stop_searching`. What this says is ordered by the
            // fence before the look at the queues that follows.
            self.counts.fetch_add(change, Ordering::Acquire);
        });
    }

    /// Wakes up, by itself or because it was woken; counts as searching afterwards. *Worker.*
    pub(super) fn wake_up(&self, worker: usize) {
        self.sleepers.with(|sleepers| {
            let mut asleep = sleepers.asleep.iter();
            if let Some(at) = asleep.position(|&sleeper| sleeper == worker) {
                sleepers.asleep.remove(at);
                // Relaxed: the counts carry nothing but themselves.
                self.counts
                    .fetch_add(SEARCHER.wrapping_sub(SLEEPER), Ordering::Relaxed);
            }
        });
    }

    /// `worker` has found work. Is nobody on watch then, though a sleeper, or the foreman, could be?
    /// *Worker.*
    pub(super) fn needs_watcher(&self, worker: usize) -> bool {
        self.sleepers.with(|sleepers| {
            if sleepers.watcher == Some(worker) {
                sleepers.watcher = None;
            }
            let others = !sleepers.asleep.is_empty() || !sleepers.vacant.is_empty();
            sleepers.watcher.is_none() && others
        })
    }

    /// Is `worker` the one to look after the others while it sleeps? Somebody is, as long as one
    /// worker is awake and one asleep: whoever finds work while nobody is on watch wakes another,
    /// who takes it over when it falls asleep again. *Any thread.*
    pub(super) fn is_on_watch(&self, worker: usize) -> bool {
        self.sleepers
            .with(|sleepers| sleepers.watcher == Some(worker))
    }

    /// Does `worker` count as asleep? *Any thread.*
    pub(super) fn is_asleep(&self, worker: usize) -> bool {
        self.sleepers
            .with(|sleepers| sleepers.asleep.contains(&worker))
    }

    /// Is every worker in an activation, and room for more workers? *Foreman.*
    pub(super) fn can_hire(&self) -> bool {
        self.sleepers
            .with(|sleepers| self.is_short(sleepers) && !sleepers.vacant.is_empty())
    }

    /// Under the lock, so that who has just found work either is seen or sees what the foreman said
    /// before.
    fn is_short(&self, sleepers: &Sleepers) -> bool {
        // Relaxed: ordered by the lock, or by the fences as in `worker_to_wake`.
        sleepers.asleep.is_empty() && searchers(self.counts.load(Ordering::Relaxed)) == 0
    }

    /// Is there no place for another worker? Then nobody need call, until one leaves. *Foreman.*
    pub(super) fn is_full(&self) -> bool {
        self.sleepers.with(|sleepers| {
            let full = sleepers.vacant.is_empty();
            if let (true, Some(call)) = (full, &self.call) {
                call.hold();
            }
            full
        })
    }

    /// Takes a vacant place, unless somebody has come free. It counts as searching. *Foreman.*
    pub(super) fn hire(&self) -> Option<usize> {
        self.sleepers.with(|sleepers| {
            if !self.is_short(sleepers) {
                return None;
            }
            let worker = sleepers.vacant.pop()?;
            self.join();
            Some(worker)
        })
    }

    /// Takes the place that it left. It counts as searching. *The last worker, when it has left.*
    pub(super) fn rejoin(&self, worker: usize) {
        self.sleepers.with(|sleepers| {
            sleepers.vacant.retain(|vacant| *vacant != worker);
            self.join();
        });
    }

    /// Under the lock.
    fn join(&self) {
        // Relaxed, three times: the numbers carry nothing but themselves; what a worker left in its
        // place is handed on by the lock.
        let staff = self.staff.load(Ordering::Relaxed);
        self.staff.store(staff + 1, Ordering::Relaxed);
        self.counts.fetch_add(SEARCHER, Ordering::Relaxed);
    }

    /// Leaves for good. False if it has to stay: it was woken, too few would be left, or it is on watch
    /// over somebody. *Worker, asleep.*
    pub(super) fn leave(&self, worker: usize) -> bool {
        self.sleepers.with(|sleepers| {
            let staff = self.staff();
            let mut asleep = sleepers.asleep.iter();
            let Some(at) = asleep.position(|&sleeper| sleeper == worker) else {
                return false;
            };
            let on_watch = sleepers.watcher == Some(worker);
            if staff <= self.least || on_watch && sleepers.asleep.len() < staff {
                return false;
            }
            sleepers.asleep.remove(at);
            if on_watch {
                sleepers.watcher = None;
            }
            sleepers.vacant.push(worker);
            if let Some(call) = &self.call {
                call.release();
            }
            // Relaxed: as in `join`.
            self.staff.store(staff - 1, Ordering::Relaxed);
            // Release: pairs with the Acquire in `worker_to_wake`.
            self.counts.fetch_sub(SLEEPER, Ordering::Release);
            true
        })
    }

    /// How many workers sleep. *Any thread.*
    pub(super) fn asleep(&self) -> usize {
        // Relaxed: a statistic.
        sleepers(self.counts.load(Ordering::Relaxed))
    }
}
