//! The coordinator of builds without `std`: one queue for all workers, first come, first served.
//!
//! Such builds have one lock anyway, the critical section, and no thread knows that it is a worker's. So there is
//! nothing to have for each worker but its waker, and nobody to steal from. The queue is a chain through the cells
//! themselves ([`Behind`]), so it has room for each, and takes no memory.
//!
//! A cell is here at most once: the one who registers it holds its ticket.
//!
//! # Concurrency
//!
//! Who brings a cell puts it into the queue, then takes a waker out of a lane and wakes it. Who goes to sleep leaves its
//! waker, then looks at the queue. Each does so under the lock, so one of them sees what the other has done; and a worker
//! whose waker was taken is polled, and looks again before it sleeps. *Any thread*, if nothing else is said.

use crate::cell::CellPtr;
use crate::foreman::Shortage;
use crate::sync::{self, AtomicUsize, Mutex, Ordering};
use crate::tenants::Stock;
use crate::worker::{Step, Turn};
use alloc::vec::Vec;
use core::cell::Cell;
use core::task::Waker;

/// Which cells are ready, and who runs them.
pub(crate) struct ReadyQueueCoordinator {
    queue: Mutex<Queue>,
    lanes: Vec<Lane>,
}

/// First and last.
struct Queue(Option<(CellPtr, CellPtr)>);

/// What a cell has of the queue that it is in: the next one. *Under the lock.*
pub(crate) struct Behind(Cell<Option<CellPtr>>);

impl Behind {
    pub(crate) fn new() -> Self {
        Self(Cell::new(None))
    }
}

/// One worker's part.
pub(crate) struct Lane {
    worker: usize,
    /// While it sleeps.
    waker: Mutex<Option<Waker>>,
    /// Messages handled; written by the worker only.
    handled: AtomicUsize,
}

// SAFETY: the plain cell is touched by the lane's own worker only, through `&mut Worker`.
unsafe impl Sync for Lane {}

impl Lane {
    pub(crate) fn worker(&self) -> usize {
        self.worker
    }

    /// The worker does not sleep, or not any more. A waker is foreign code, so it is for outside the lock.
    fn rouse(&self) -> Option<Waker> {
        self.waker.with(Option::take)
    }

    /// Nothing is counted ahead.
    pub(crate) fn clear_stock(&self) -> usize {
        0
    }

    /// Counts an activation and its messages. *Its worker.*
    pub(crate) fn count(&self, handled: u32) {
        // Relaxed: a statistic.
        self.handled.fetch_add(handled as usize, Ordering::Relaxed);
    }

    /// An activation begins: nobody watches.
    pub(crate) fn entering(&self) {}

    /// An activation is about to give its ticket back: likewise.
    pub(crate) fn leaving(&self) {}

    /// An activation has given its ticket back: likewise.
    pub(crate) fn left(&self) {}
}

/// Where a worker is between two steps: nowhere else than others.
#[derive(Debug)]
pub(crate) struct Place;

impl Place {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn hired() -> Self {
        Self
    }

    pub(crate) fn is_parked(&self) -> bool {
        false
    }

    pub(crate) fn is_retired(&self) -> bool {
        false
    }
}

/// What a foreman sees: there is none, since the workers stay as many as they are.
#[derive(Debug)]
pub(crate) enum Outlook {}

impl Queue {
    fn push(&mut self, cell: CellPtr) {
        cell.behind().0.set(None);
        let first = match self.0 {
            Some((first, last)) => {
                last.behind().0.set(Some(cell));
                first
            }
            None => cell,
        };
        self.0 = Some((first, cell));
    }

    fn pop(&mut self) -> Option<CellPtr> {
        let (first, last) = self.0?;
        self.0 = first.behind().0.get().map(|next| (next, last));
        Some(first)
    }
}

impl ReadyQueueCoordinator {
    /// A coordinator for so many workers: the lower of the two numbers. What else is said is about the other kind.
    pub(crate) fn new((workers, _): (usize, usize), _: bool, _: u64, _: usize) -> Self {
        let lane = |worker| Lane {
            worker,
            waker: Mutex::new(None),
            handled: AtomicUsize::new(0),
        };
        Self {
            queue: Mutex::new(Queue(None)),
            lanes: (0..workers).map(lane).collect(),
        }
    }

    pub(crate) fn lane(&self, worker: usize) -> &Lane {
        &self.lanes[worker]
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.lanes.len()
    }

    /// Is there one worker, which consumes every mailbox?
    pub(crate) fn is_single(&self) -> bool {
        self.lanes.len() == 1
    }

    /// False: the caller has to [`inject`](Self::inject) the cell.
    pub(crate) fn register_ready(&self, _: CellPtr) -> bool {
        false
    }

    /// Takes a cell whose ticket the caller holds. *Any thread that keeps the system alive*: the cell may be gone
    /// before this returns.
    pub(crate) fn inject(&self, cell: CellPtr) {
        self.queue.with(|queue| queue.push(cell));
        self.wake_one();
    }

    /// Takes back a cell whose turn is over. *Its worker*, which goes on: another one is needed only if others wait.
    pub(crate) fn requeue(&self, _: &Lane, cell: CellPtr) {
        let others_wait = self.queue.with(|queue| {
            let others_wait = queue.0.is_some();
            queue.push(cell);
            others_wait
        });
        if others_wait {
            self.wake_one();
        }
    }

    /// Nothing is left to be done.
    pub(crate) fn after_activation(&self, _: &Lane) {}

    /// No cell is owned by a worker.
    pub(crate) fn ring(&self, cell: CellPtr) {
        cell.release();
    }

    /// Nobody will look any more. No bells are left.
    pub(crate) fn close(&self) {}

    /// Nothing is counted ahead.
    pub(crate) fn stock_here(&self) -> Option<&Stock> {
        None
    }

    /// Somebody should look at the queue.
    fn wake_one(&self) {
        let waker = self.lanes.iter().find_map(Lane::rouse);
        waker.into_iter().for_each(sync::wake);
    }

    /// Wakes everybody: the system has stopped.
    pub(crate) fn wake_all(&self) {
        let wakers = self.lanes.iter().filter_map(Lane::rouse);
        wakers.for_each(sync::wake);
    }

    /// The next cell. *Its worker.*
    pub(crate) fn take(&self, lane: &Lane) -> Option<CellPtr> {
        drop(lane.rouse());
        self.queue.with(Queue::pop)
    }

    /// One step of a worker. If it sleeps, `waker` will be woken. *Its worker.*
    pub(crate) fn step(
        &self,
        lane: &Lane,
        _: &mut Place,
        waker: &Waker,
        is_stopped: impl FnOnce() -> bool,
    ) -> Step {
        if let Some(cell) = self.take(lane) {
            return Step::Run(cell);
        }
        let waker = waker.clone();
        // There was none: it was taken out above, and nobody else puts one in.
        lane.waker.with(|slot| *slot = Some(waker));
        // After the waker is there, both: who brings a cell or stops the system wakes somebody afterwards.
        if is_stopped() {
            Step::Over(Turn::Stopped)
        } else if self.queue.with(|queue| queue.0.is_some()) {
            // Not to be woken in place of one that sleeps.
            drop(lane.rouse());
            Step::Look
        } else {
            Step::Over(Turn::Idle { on_watch: false })
        }
    }

    /// Leaves the others to themselves: it may have been woken for a cell. *Its worker.*
    pub(crate) fn leave(&self, lane: &Lane, _: &mut Place) {
        drop(lane.rouse());
        self.wake_one();
    }

    /// It stays.
    pub(crate) fn resign(&self, _: &Lane, _: &mut Place) {}

    /// It has never left.
    pub(crate) fn rejoin(&self, _: &Lane, _: &mut Place) {}

    /// Does the number of workers change?
    pub(crate) fn is_adaptive(&self) -> bool {
        false
    }

    pub(crate) fn outlook(&self) -> Option<Outlook> {
        None
    }

    pub(crate) fn look(&self, outlook: &mut Outlook, _: bool, _: &Waker) -> Shortage {
        match *outlook {}
    }

    pub(crate) fn hire(&self) -> Option<usize> {
        None
    }

    /// Messages handled by all workers so far.
    pub(crate) fn handled(&self) -> usize {
        self.lanes.iter().fold(0, |sum, lane| {
            // Relaxed: a statistic.
            sum.wrapping_add(lane.handled.load(Ordering::Relaxed))
        })
    }

    /// How many workers sleep.
    pub(crate) fn asleep(&self) -> usize {
        let asleep = |lane: &&Lane| lane.waker.with(|waker| waker.is_some());
        self.lanes.iter().filter(asleep).count()
    }
}

impl core::fmt::Debug for ReadyQueueCoordinator {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ReadyQueueCoordinator")
            .field("workers", &self.lanes.len())
            .finish_non_exhaustive()
    }
}
