//! The coordinator: which cells are ready, and which worker takes them.
//!
//! Without `std` it is another one (`ready/queue.rs`). Here two kinds share one structure:
//!
//! - *single-core*: one worker, with a plain queue of its own;
//! - *work-stealing*: each worker has a ring that others may steal half of (`ready/local.rs`).
//!
//! In both, what a worker has just made ready goes to its *next* slot and runs first: a message and
//! its answer stay in one cache, and trees of short-lived actors are walked depth first. After
//! [`NEXT_BOUND`] in a row the queue has its turn. What comes from outside the workers goes to the
//! injector.
//!
//! ```text
//!   register_ready, on a worker ──► next ──(taken)──► queue     each worker's own
//!   inject, from elsewhere ────────► injector
//!   a worker takes: next, queue, injector, the other workers' queues, and at last a next slot
//!   whose worker has been in one activation for a grace period
//! ```
//!
//! A cell is here at most once: the one who registers it holds its ticket. The coordinator knows
//! nothing of messages.
//!
//! # Concurrency
//!
//! `register_ready`: any thread. Everything that takes a worker's number: that worker. `next` of a
//! single-core worker and its queue are touched on the worker's thread only.

mod idle;
mod local;
mod place;
mod staff;

pub(crate) use self::place::Place;
pub(crate) use self::staff::Outlook;

use self::idle::Idle;
use self::local::Ring;
use crate::cell::{CellPtr, Header};
use crate::mailbox;
use crate::sync::{self, AtomicPtr, AtomicU32, AtomicUsize, Mutex, Ordering};
use crate::tenants::Stock;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::cell::Cell;
use core::ptr;
use core::task::Waker;

/// So many activations in a row may come from the next slot.
const NEXT_BOUND: u32 = 64;
/// So often the injector has its turn before the worker's own queue.
const INJECTOR_TURN: u32 = 61;

/// Which cells are ready, and who runs them.
pub(crate) struct ReadyQueueCoordinator {
    injector: Injector,
    idle: Idle,
    lanes: Box<[Lane]>,
}

/// What comes from outside.
struct Injector {
    /// The length of `queue`, to pass it by without the lock.
    len: AtomicUsize,
    queue: Mutex<Arrivals>,
}

struct Arrivals {
    queue: VecDeque<Arrival>,
    /// The last worker is gone: nobody looks here any more.
    closed: bool,
}

/// What comes from outside.
#[derive(Clone, Copy)]
enum Arrival {
    /// A cell with its ticket.
    Ready(CellPtr),
    /// One whose turn was over while others waited here, with its ticket.
    Again(CellPtr),
    /// The bell of an owned cell rang; holds a reference to its memory.
    Bell(CellPtr),
}

// The coordinator of builds without `std`, whose races are looked at beside those of this one.
#[cfg(loom)]
#[allow(dead_code, reason = "only for its tests")]
mod queue;
#[cfg(loom)]
pub(crate) use self::queue::Behind;

/// What a cell has of the queue that it is in: nothing.
#[cfg(not(loom))]
pub(crate) struct Behind;

#[cfg(not(loom))]
impl Behind {
    pub(crate) fn new() -> Self {
        Self
    }
}

/// One worker's part. Padded where there are caches, so that two workers' parts do not share a line.
#[cfg_attr(target_pointer_width = "64", repr(align(128)))]
pub(crate) struct Lane {
    worker: usize,
    queue: Queue,
    /// Counts takes, to give each source its turn.
    tick: Cell<u32>,
    /// Counts activations, to see from outside whether the worker is stuck in one: even inside, odd
    /// from before the ticket is given back until the next one begins.
    turn: AtomicU32,
    /// How many other workers are about to empty the next slot.
    thieves: AtomicUsize,
    /// Has the worker given a ticket back by a read-modify-write since `turn` changed?
    left: Cell<bool>,
    /// Has it made something visible in its ring since it last looked who sleeps?
    pushed: Cell<bool>,
    /// Messages handled; written by the worker only.
    handled: AtomicUsize,
    /// Cells of its dispatcher that are counted ahead.
    stock: Stock,
    waker: Mutex<Option<Waker>>,
    /// How often in a row `next` was taken.
    in_a_row: Cell<u32>,
    /// The next slot of each worker as this one last saw it while on watch, and at which tick.
    seen: Box<[Cell<(*mut Header, u32)>]>,
    random: Cell<u64>,
}

enum Queue {
    Single {
        next: Cell<*mut Header>,
        queue: sync::UnsafeCell<VecDeque<CellPtr>>,
    },
    Stealing {
        next: AtomicPtr<Header>,
        ring: Ring,
    },
}

// SAFETY: `Single` and the plain cells are touched by the lane's own worker only: on its thread, as
// `here()` says, or through `&mut Worker`.
unsafe impl Sync for Lane {}
// SAFETY: likewise; nothing in it is bound to a thread.
unsafe impl Send for Lane {}

impl Lane {
    fn new(worker: usize, workers: usize, single: bool, seed: u64, room: usize) -> Self {
        let queue = if single {
            Queue::Single {
                next: Cell::new(ptr::null_mut()),
                queue: sync::UnsafeCell::new(VecDeque::with_capacity(room)),
            }
        } else {
            Queue::Stealing {
                next: AtomicPtr::new(ptr::null_mut()),
                ring: Ring::new(),
            }
        };
        Self {
            worker,
            queue,
            tick: Cell::new(0),
            turn: AtomicU32::new(1),
            thieves: AtomicUsize::new(0),
            left: Cell::new(false),
            pushed: Cell::new(false),
            handled: AtomicUsize::new(0),
            stock: Stock::new(),
            waker: Mutex::new(None),
            in_a_row: Cell::new(0),
            seen: (0..workers)
                .map(|_| Cell::new((ptr::null_mut(), 0)))
                .collect(),
            // Xorshift wants a state other than zero.
            random: Cell::new(
                (seed ^ (worker as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)).max(1),
            ),
        }
    }

    pub(crate) fn worker(&self) -> usize {
        self.worker
    }

    /// What is left of what was counted ahead. *Its worker.*
    pub(crate) fn clear_stock(&self) -> usize {
        self.stock.clear()
    }

    fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        x
    }

    /// Counts an activation and its messages. *Its worker.*
    #[inline]
    pub(crate) fn count(&self, handled: u32) {
        // Relaxed: statistics, and written by the worker only.
        let total = self.handled.load(Ordering::Relaxed);
        self.handled
            .store(total.wrapping_add(handled as usize), Ordering::Relaxed);
    }

    #[inline]
    fn tick(&self) -> u32 {
        let tick = self.tick.get().wrapping_add(1);
        self.tick.set(tick);
        tick
    }

    /// An activation begins, or goes on after all. *Its worker.*
    #[inline]
    pub(crate) fn entering(&self) {
        // Relaxed: written by the worker only.
        let turn = (self.turn.load(Ordering::Relaxed) | 1).wrapping_add(1);
        // Release: a thief that sees this activation sees the next slot as it is now.
        self.turn.store(turn, Ordering::Release);
    }

    /// An activation is about to give its ticket back. *Its worker.*
    #[inline]
    pub(crate) fn leaving(&self) {
        // Relaxed, twice: written by the worker only; ordered by the fences in `left` and
        // `steal_stranded`.
        let turn = self.turn.load(Ordering::Relaxed) | 1;
        self.turn.store(turn, Ordering::Relaxed);
    }

    /// An activation has given its ticket back, by a read-modify-write after [`leaving`](Self::leaving).
    /// *Its worker.*
    #[inline]
    pub(crate) fn left(&self) {
        if let Queue::Stealing { .. } = self.queue {
            sync::fence_after_rmw();
            self.left.set(true);
        }
    }

    /// Puts a cell first. The one that was first goes to the queue and is returned if there is no
    /// room. *Its worker.*
    #[inline]
    fn put_next(&self, cell: CellPtr) -> PutNext {
        match &self.queue {
            Queue::Single { next, queue } => {
                let old = next.replace(cell.as_ptr());
                if !old.is_null() {
                    // SAFETY: registered cells are alive; the queue is this thread's.
                    queue.with_mut(|queue| unsafe { (*queue).push_back(CellPtr::from_ptr(old)) });
                }
                PutNext::Done
            }
            Queue::Stealing { next, ring } => {
                // Relaxed: a thief only ever empties it, so empty stays empty.
                if next.load(Ordering::Relaxed).is_null() {
                    // Release: a thief takes over what the ticket carries.
                    next.store(cell.as_ptr(), Ordering::Release);
                    return PutNext::Done;
                }
                // Release: likewise. Acquire: a thief may have emptied it in between.
                let old = next.swap(cell.as_ptr(), Ordering::AcqRel);
                if old.is_null() {
                    PutNext::Done
                } else if ring.push(old) {
                    PutNext::Queued
                } else {
                    // SAFETY: registered cells are alive.
                    PutNext::Overflow(unsafe { CellPtr::from_ptr(old) })
                }
            }
        }
    }

    /// Puts a cell at the end of the queue; returned if there is no room. *Its worker.*
    fn put_last(&self, cell: CellPtr) -> PutNext {
        match &self.queue {
            Queue::Single { queue, .. } => {
                // SAFETY: the queue is this thread's.
                queue.with_mut(|queue| unsafe { (*queue).push_back(cell) });
                PutNext::Done
            }
            Queue::Stealing { ring, .. } => {
                if ring.push(cell.as_ptr()) {
                    PutNext::Queued
                } else {
                    PutNext::Overflow(cell)
                }
            }
        }
    }

    #[inline]
    fn take_next(&self) -> *mut Header {
        match &self.queue {
            Queue::Single { next, .. } => next.replace(ptr::null_mut()),
            Queue::Stealing { next, .. } => {
                let left = self.left.replace(false);
                // Relaxed: nobody else fills it.
                if next.load(Ordering::Relaxed).is_null() {
                    return ptr::null_mut();
                }
                // Acquire: pairs with the Release of a thief that is through, whose exchange is then
                // seen. One that comes later sees by its fence that the turn has changed.
                if left && self.thieves.load(Ordering::Acquire) == 0 {
                    // Relaxed, twice: nobody else is there.
                    let cell = next.load(Ordering::Relaxed);
                    next.store(ptr::null_mut(), Ordering::Relaxed);
                    return cell;
                }
                // Acquire: pairs with the Release in `put_next`; a thief may have been here.
                next.swap(ptr::null_mut(), Ordering::Acquire)
            }
        }
    }

    #[inline]
    fn take_queued(&self) -> *mut Header {
        match &self.queue {
            // SAFETY: the queue is this thread's.
            Queue::Single { queue, .. } => queue.with_mut(|queue| unsafe {
                (*queue)
                    .pop_front()
                    .map_or(ptr::null_mut(), CellPtr::as_ptr)
            }),
            Queue::Stealing { ring, .. } => ring.pop(),
        }
    }

    /// How many cells wait here. *Any thread for a stealing lane, else its worker.*
    fn len(&self) -> usize {
        match &self.queue {
            Queue::Single { next, queue } => {
                // SAFETY: the queue is this thread's.
                let queued = queue.with_mut(|queue| unsafe { (*queue).len() });
                queued + usize::from(!next.get().is_null())
            }
            Queue::Stealing { next, ring } => {
                // Relaxed: a statistic.
                ring.len() + usize::from(!next.load(Ordering::Relaxed).is_null())
            }
        }
    }

    /// Is there something that others may take? *As `len`.*
    fn has_visible_work(&self) -> bool {
        match &self.queue {
            Queue::Single { .. } => self.len() != 0,
            Queue::Stealing { ring, .. } => ring.len() != 0,
        }
    }

    fn wake(&self) {
        // The waker belongs to an executor, whose contract forbids it to come back here.
        self.waker.with(|waker| {
            if let Some(waker) = waker {
                sync::quietly(|| waker.wake_by_ref());
            }
        });
    }
}

enum PutNext {
    /// Nobody else need know.
    Done,
    /// Others may steal it now.
    Queued,
    /// There was no room for this one.
    Overflow(CellPtr),
}

impl Injector {
    /// Any thread.
    fn push(&self, arrival: Arrival) {
        self.push_all([arrival]);
    }

    /// Any thread.
    fn push_all(&self, arrivals: impl IntoIterator<Item = Arrival>) {
        self.queue.with(|Arrivals { queue, .. }| {
            queue.extend(arrivals);
            // Release: pairs with the Acquire in `is_empty`.
            self.len.store(queue.len(), Ordering::Release);
        });
    }

    /// Like `push`; false if nobody looks any more. *Any thread.*
    fn push_bell(&self, cell: CellPtr) -> bool {
        self.queue.with(|arrivals| {
            if !arrivals.closed {
                arrivals.queue.push_back(Arrival::Bell(cell));
                // Release: as in `push_all`.
                self.len.store(arrivals.queue.len(), Ordering::Release);
            }
            !arrivals.closed
        })
    }

    /// Lets go of the bells that rang too late. *The last worker.*
    fn close(&self) {
        let late = self.queue.with(|arrivals| {
            arrivals.closed = true;
            core::mem::take(&mut arrivals.queue)
        });
        for arrival in late {
            if let Arrival::Bell(cell) = arrival {
                cell.release();
            }
        }
    }

    /// For one who has just said that it sleeps: the lock is the word in which both sides meet.
    fn is_empty_for_sleep(&self) -> bool {
        self.queue.with(|arrivals| arrivals.queue.is_empty())
    }

    fn is_empty(&self) -> bool {
        // Acquire: pairs with the Release in `push`.
        self.len.load(Ordering::Acquire) == 0
    }

    /// Takes one cell, and moves a fair share of the others to the worker's own queue. *Worker.*
    fn pop(&self, lane: &Lane, workers: usize) -> Option<CellPtr> {
        while !self.is_empty() {
            let first = self.pop_first(|queue| {
                let Queue::Stealing { ring, .. } = &lane.queue else {
                    return;
                };
                let share = (queue.len() / workers).min(local::CAPACITY / 2 - ring.len() / 2);
                for _ in 0..share {
                    let Some(Arrival::Ready(cell) | Arrival::Again(cell)) = queue.front() else {
                        break;
                    };
                    if !ring.push(cell.as_ptr()) {
                        break;
                    }
                    queue.pop_front();
                }
            });
            match first {
                Some(Arrival::Ready(cell) | Arrival::Again(cell)) => return Some(cell),
                Some(Arrival::Bell(cell)) if answer(cell) => return Some(cell),
                Some(Arrival::Bell(_)) | None => {}
            }
        }
        None
    }

    /// Takes one that comes before the worker's own queue. One whose turn was over does not: those in the queue have
    /// waited longer, so it goes behind them. *Worker.*
    fn pop_newcomer(&self, lane: &Lane) -> Option<CellPtr> {
        while !self.is_empty() {
            match self.pop_first(|_| {}) {
                Some(Arrival::Ready(cell)) => return Some(cell),
                Some(Arrival::Bell(cell)) if answer(cell) => return Some(cell),
                Some(Arrival::Bell(_)) | None => {}
                Some(Arrival::Again(cell)) => match lane.put_last(cell) {
                    PutNext::Done => {}
                    PutNext::Queued => lane.pushed.set(true),
                    PutNext::Overflow(cell) => return Some(cell),
                },
            }
        }
        None
    }

    /// Takes the first, then does something with the others. *Worker.*
    fn pop_first(&self, then: impl FnOnce(&mut VecDeque<Arrival>)) -> Option<Arrival> {
        self.queue.with(|Arrivals { queue, .. }| {
            let first = queue.pop_front();
            then(queue);
            // Release: as in `push_all`.
            self.len.store(queue.len(), Ordering::Release);
            first
        })
    }
}

/// Answers a bell: has its cell to run? *The worker that owns it.*
fn answer(cell: CellPtr) -> bool {
    // A cell that has to run is alive without the bell's reference.
    let pending = mailbox::answer(cell);
    cell.release();
    pending
}

impl ReadyQueueCoordinator {
    /// A coordinator for `least` workers, and `most` when there is much to do. Where there can be one only, it is
    /// single-core, unless `stealing` asks for the other kind. `seed` decides from whom is stolen
    /// first. The queues have room for so many cells from the start.
    pub(crate) fn new(
        (least, most): (usize, usize),
        stealing: bool,
        seed: u64,
        room: usize,
    ) -> Self {
        let single = most == 1 && !stealing;
        Self {
            injector: Injector {
                len: AtomicUsize::new(0),
                queue: Mutex::new(Arrivals {
                    queue: VecDeque::with_capacity(room),
                    closed: false,
                }),
            },
            idle: Idle::new(least, most),
            lanes: (0..most)
                .map(|worker| Lane::new(worker, most, single, seed, room))
                .collect(),
        }
    }

    pub(crate) fn lane(&self, worker: usize) -> &Lane {
        &self.lanes[worker]
    }

    /// How many workers there are now.
    pub(crate) fn workers(&self) -> usize {
        self.idle.staff()
    }

    /// Is there one worker, which consumes every mailbox?
    pub(crate) fn is_single(&self) -> bool {
        matches!(self.lanes[0].queue, Queue::Single { .. })
    }

    /// Takes a cell whose ticket the caller holds. O(1). False on a thread that is no worker's: the
    /// caller has to [`inject`](Self::inject) it. *Any thread.*
    #[inline]
    pub(crate) fn register_ready(&self, cell: CellPtr) -> bool {
        let Some(lane) = self.lane_here() else {
            return false;
        };
        let put = lane.put_next(cell);
        self.after_put(lane, put);
        true
    }

    /// Takes back a cell whose turn is over, to the end of the queue. *Its worker.*
    pub(crate) fn requeue(&self, lane: &Lane, cell: CellPtr) {
        if !self.injector.is_empty() {
            // Behind those too, or it would come before them again.
            self.injector.push(Arrival::Again(cell));
            return self.wake_one();
        }
        let put = lane.put_last(cell);
        self.after_put(lane, put);
    }

    /// An activation is over. Whoever fell asleep while it made cells ready is woken for them. *Its
    /// worker.*
    #[inline]
    pub(crate) fn after_activation(&self, lane: &Lane) {
        if lane.pushed.replace(false) {
            // After the stores to the ring, before the look at the counts: see `idle.rs`.
            sync::fence();
            if lane.has_visible_work() {
                self.wake_one();
            }
        }
    }

    /// The lane of the worker that this thread polls, if it is one of ours.
    #[inline]
    pub(crate) fn lane_here(&self) -> Option<&Lane> {
        let here = sync::here();
        let lane = here.lane.cast::<Lane>();
        let range = self.lanes.as_ptr_range();
        if range.contains(&lane) {
            // SAFETY: one of our lanes.
            Some(unsafe { &*lane })
        } else {
            None
        }
    }

    /// The cells that are counted ahead on this thread.
    #[inline]
    pub(crate) fn stock_here(&self) -> Option<&Stock> {
        self.lane_here().map(|lane| &lane.stock)
    }

    #[inline]
    fn after_put(&self, lane: &Lane, put: PutNext) {
        match put {
            PutNext::Done => {}
            PutNext::Queued => {
                // Whoever is about to fall asleep may be overlooked here; not when the activation
                // is over.
                lane.pushed.set(true);
                self.wake_one();
            }
            PutNext::Overflow(cell) => self.overflow(cell),
        }
    }

    /// The ring is full: half of it goes to the injector, under one lock. *Its worker.*
    #[cold]
    fn overflow(&self, cell: CellPtr) {
        if let Some(Lane {
            queue: Queue::Stealing { ring, .. },
            ..
        }) = self.lane_here()
        {
            // A thief that was faster has made room.
            let half = ring.pop_half().into_iter().flatten();
            // SAFETY: registered cells are alive.
            let half = half.map(|cell| unsafe { CellPtr::from_ptr(cell) });
            self.injector
                .push_all(half.chain([cell]).map(Arrival::Ready));
            self.wake_one();
        } else {
            self.inject(cell);
        }
    }

    /// Takes a cell whose ticket the caller holds, from outside. *Any thread that keeps the system
    /// alive*: the cell may be gone before this returns.
    #[cold]
    pub(crate) fn inject(&self, cell: CellPtr) {
        self.injector.push(Arrival::Ready(cell));
        self.wake_one();
    }

    /// The bell of an owned cell. The caller gives a reference to its memory away. *Any thread.*
    #[cold]
    pub(crate) fn ring(&self, cell: CellPtr) {
        if self.injector.push_bell(cell) {
            self.wake_one();
        } else {
            // The actor has ended. Not the last reference: the caller has one of its own.
            cell.release();
        }
    }

    /// Nobody will look at the injector any more. *The last worker.*
    pub(crate) fn close(&self) {
        self.injector.close();
    }

    /// Work was made visible: somebody should look for it.
    #[inline]
    fn wake_one(&self) {
        if let Some(worker) = self.idle.worker_to_wake() {
            self.lanes[worker].wake();
        }
    }

    /// Wakes everybody: the system has stopped.
    pub(crate) fn wake_all(&self) {
        for lane in &self.lanes {
            lane.wake();
        }
        if let Some(call) = self.idle.call() {
            call.wake();
        }
    }

    /// The next cell from the worker's own queues, or from outside. *Its worker.*
    #[inline]
    pub(crate) fn take(&self, lane: &Lane) -> Option<CellPtr> {
        let tick = lane.tick();
        if tick.is_multiple_of(INJECTOR_TURN)
            && let Some(cell) = self.injector.pop_newcomer(lane)
        {
            return Some(cell);
        }
        let row = lane.in_a_row.get();
        if row < NEXT_BOUND {
            let next = lane.take_next();
            if !next.is_null() {
                lane.in_a_row.set(row + 1);
                // SAFETY: a registered cell is alive.
                return Some(unsafe { CellPtr::from_ptr(next) });
            }
        }
        lane.in_a_row.set(0);
        let queued = lane.take_queued();
        if !queued.is_null() {
            // SAFETY: a registered cell is alive.
            return Some(unsafe { CellPtr::from_ptr(queued) });
        }
        if let Some(cell) = self.injector.pop(lane, self.lanes.len()) {
            return Some(cell);
        }
        let next = lane.take_next();
        // SAFETY: a registered cell is alive.
        (!next.is_null()).then(|| unsafe { CellPtr::from_ptr(next) })
    }

    /// May this worker, which was busy, look for work elsewhere? *Its worker.*
    fn start_searching(&self) -> bool {
        self.lanes.len() > 1 && self.idle.start_searching()
    }

    /// A searcher found work. *Its worker.*
    fn stop_searching(&self, lane: &Lane) {
        let last = self.idle.stop_searching();
        if self.lanes.len() == 1 {
            return;
        }
        let unwatched = self.idle.needs_watcher(lane.worker);
        if last && (unwatched || self.has_visible_work()) {
            self.wake_one();
        }
    }

    /// Looks through the other workers' queues once. *Its worker, while it searches.*
    fn steal(&self, lane: &Lane) -> Option<CellPtr> {
        let Queue::Stealing { ring: mine, .. } = &lane.queue else {
            return None;
        };
        let count = self.lanes.len();
        // In a word: the division of a larger number is a kilobyte of code on small machines.
        let start = lane.random() as usize % count;
        for offset in 0..count {
            let other = &self.lanes[(start + offset) % count];
            if other.worker == lane.worker {
                continue;
            }
            let Queue::Stealing { ring, .. } = &other.queue else {
                continue;
            };
            let cell = ring.steal_into(mine);
            if !cell.is_null() {
                // SAFETY: a registered cell is alive.
                return Some(unsafe { CellPtr::from_ptr(cell) });
            }
        }
        self.injector.pop(lane, self.lanes.len())
    }

    /// Takes the next slot of a worker that was in the same activation the last time this worker
    /// looked. *Its worker, while it searches* after a time on watch: looks are that time apart.
    fn steal_stranded(&self, lane: &Lane) -> Option<CellPtr> {
        for (other, seen) in self.lanes.iter().zip(&lane.seen) {
            let Queue::Stealing { next, .. } = &other.queue else {
                continue;
            };
            if other.worker == lane.worker {
                continue;
            }
            // Relaxed, twice: looked at again below.
            let now = (
                next.load(Ordering::Relaxed),
                other.turn.load(Ordering::Relaxed),
            );
            if seen.replace(now) != now || now.0.is_null() || now.1 % 2 == 1 {
                continue;
            }
            // Acquire: what an earlier thief did.
            other.thieves.fetch_add(1, Ordering::Acquire);
            // Either its worker, when it has left the activation, sees the thief; or this sees
            // that it has left.
            sync::fence();
            // Acquire: pairs with the Release in `entering`.
            let taken = other.turn.load(Ordering::Acquire) == now.1
                && next
                    // Acquire: pairs with the Release in `put_next`. Relaxed: somebody else has it.
                    .compare_exchange(now.0, ptr::null_mut(), Ordering::Acquire, Ordering::Relaxed)
                    .is_ok();
            // Release: who finds no thief any more sees the slot empty.
            other.thieves.fetch_sub(1, Ordering::Release);
            if taken {
                // SAFETY: a registered cell is alive.
                return Some(unsafe { CellPtr::from_ptr(now.0) });
            }
        }
        None
    }

    /// Gives what is left in a worker's queues to the others: it is dropped before the system has
    /// stopped. *Its worker.*
    fn abandon(&self, lane: &Lane) {
        loop {
            let next = lane.take_next();
            let cell = if next.is_null() {
                lane.take_queued()
            } else {
                next
            };
            if cell.is_null() {
                return;
            }
            // SAFETY: a registered cell is alive.
            self.inject(unsafe { CellPtr::from_ptr(cell) });
        }
    }

    /// First half of going to sleep: leaves the waker and is counted as asleep. *Its worker.*
    fn prepare_park(&self, lane: &Lane, searching: bool, waker: &Waker) {
        let mut fresh = Some(waker.clone());
        lane.waker.with(|slot| {
            if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
                core::mem::swap(slot, &mut fresh);
            }
        });
        self.idle.fall_asleep(lane.worker, searching);
    }

    /// Is there work that a worker could find? Whoever brings some after this look knows what this
    /// worker has said of itself before. *Worker.*
    fn has_visible_work(&self) -> bool {
        // After the change of the counts, before the look at the rings: see `idle.rs`.
        sync::fence();
        !self.injector.is_empty_for_sleep() || self.lanes.iter().any(Lane::has_visible_work)
    }

    /// Second half: true if the worker may sleep. If not, there is work, and it counts as
    /// searching. *Its worker.*
    fn commit_park(&self, lane: &Lane) -> bool {
        let work = self.has_visible_work();
        if work {
            self.idle.wake_up(lane.worker);
        }
        // It may have been woken since the first half, and its executor may know only of wakes that
        // come after this. It counts as searching then, so it has to search.
        !work && self.idle.is_asleep(lane.worker)
    }

    /// The worker is polled again after it slept; it counts as searching. *Its worker.*
    fn unpark(&self, lane: &Lane) {
        self.idle.wake_up(lane.worker);
    }

    /// Should this sleeping worker look again after a grace period?
    fn is_on_watch(&self, lane: &Lane) -> bool {
        self.lanes.len() > 1 && self.idle.is_on_watch(lane.worker)
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
        self.idle.asleep()
    }
}

impl core::fmt::Debug for ReadyQueueCoordinator {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ReadyQueueCoordinator")
            .field("workers", &self.lanes.len())
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
