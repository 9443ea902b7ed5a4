//! Those who wait for room.
//!
//! The gate is a word: what is free in its low half, and a bit `WAITING`. While the bit is set nobody takes
//! anything: room goes to the waiting senders, in order, by the runner's hand. The bit is set by one who holds
//! the lock of the list, and only while nothing is free, in one exchange; so a runner that gives room back
//! either does it before, and the sender takes it, or sees the bit and looks at the list.
//!
//! What is free is either a list of slots (`mailbox/bounded.rs`) or a number (`mailbox/permits.rs`); both
//! say that nothing is by `NONE`. The runner also sets the bit when it owes room, after the bound was lowered; so where
//! bounds can be lowered the bit may outlast those who waited, which costs the runner one look at the list.
//!
//! # Concurrency
//!
//! - `free`: any thread.
//! - `waiting`: any thread, under its lock. A waiter's node lives in its sender's future; it is
//!   linked and unlinked under the lock only.

use super::kind::Kind;
use crate::cell::CellPtr;
use crate::flow::FLOW;
use crate::sync::{self, AtomicUsize, Mutex, Ordering};
use core::mem::MaybeUninit;
use core::ptr;
use core::task::Waker;

pub(super) const HALF: u32 = usize::BITS / 2;
pub(super) const WAITING: usize = 1 << (HALF - 1);
pub(super) const NONE: usize = WAITING - 1;
/// What is free.
pub(super) const FREE: usize = NONE;

/// What is free, and who waits for it.
pub(crate) struct Gate {
    pub(super) free: AtomicUsize,
    waiting: Mutex<Waiters>,
}

/// A sender that waits for room, with its message. Lives in the sender's future.
///
/// While it is in the list, its fields are reached by raw pointers only: a reference would deny the
/// other side's.
#[repr(C)]
pub(crate) struct Waiter<M> {
    place: Place,
    pub(super) message: MaybeUninit<M>,
}

/// The place of a sender among those that wait, whatever its message is.
struct Place {
    state: Waiting,
    serve: Serve,
    /// Is the message there?
    has_message: bool,
    waker: Option<Waker>,
    previous: *mut Place,
    next: *mut Place,
}

/// What gives room to those who wait: what no actor has where nobody ever waits.
pub(super) type Serve = unsafe fn(CellPtr);

/// How far a waiting sender is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waiting {
    /// Not in the list, its message not in the mailbox.
    Outside,
    /// In the list.
    Queued,
    /// The mailbox has the message.
    Admitted,
    /// The actor ended; the message is in the waiter.
    Refused,
}

/// A ring: before the first comes the last.
struct Waiters {
    first: *mut Place,
}

// SAFETY: the pointers lead to waiters that are touched under the lock only, and a message moves
// to another thread only if it is `Send` (every public way in asks for it).
unsafe impl Send for Waiters {}

impl<M> Waiter<M> {
    pub(crate) fn new(message: M) -> Self {
        Self {
            place: Place {
                state: Waiting::Outside,
                serve: super::serve,
                has_message: true,
                waker: None,
                previous: ptr::null_mut(),
                next: ptr::null_mut(),
            },
            message: MaybeUninit::new(message),
        }
    }

    /// The message, if the mailbox has not taken it. Once.
    pub(crate) fn take(&mut self) -> Option<M> {
        core::mem::take(&mut self.place.has_message)
            // SAFETY: it was there, and is not any more.
            .then(|| unsafe { self.message.assume_init_read() })
    }
}

impl<M> Drop for Waiter<M> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Puts `new` in a waiter's field and returns what was there, without a reference to it.
///
/// # Safety
/// `place` is a field of a live waiter, and the caller holds the lock.
unsafe fn exchange<T>(place: *mut T, new: T) -> T {
    // SAFETY: as the caller promises.
    unsafe {
        let old = place.read();
        place.write(new);
        old
    }
}

impl Waiters {
    /// # Safety
    /// `waiter` is live, not in the list, and stays where it is until it is unlinked.
    unsafe fn push(&mut self, waiter: *mut Place) {
        // SAFETY: the list's waiters are live, and touched under the lock only.
        unsafe {
            if self.first.is_null() {
                (*waiter).previous = waiter;
                (*waiter).next = waiter;
                self.first = waiter;
                return;
            }
            let last = (*self.first).previous;
            (*waiter).previous = last;
            (*waiter).next = self.first;
            (*last).next = waiter;
            (*self.first).previous = waiter;
        }
    }

    /// # Safety
    /// `waiter` is in the list.
    unsafe fn unlink(&mut self, waiter: *mut Place) {
        // SAFETY: the list's waiters are live, and touched under the lock only.
        unsafe {
            let (previous, next) = ((*waiter).previous, (*waiter).next);
            (*previous).next = next;
            (*next).previous = previous;
            if self.first == waiter {
                self.first = if next == waiter {
                    ptr::null_mut()
                } else {
                    next
                };
            }
        }
    }
}

impl Gate {
    pub(super) fn new(free: usize) -> Self {
        Self {
            free: AtomicUsize::new(free),
            waiting: Mutex::new(Waiters {
                first: ptr::null_mut(),
            }),
        }
    }

    /// Would a sender find room? *Any thread.*
    pub(crate) fn has_room(&self) -> bool {
        // Relaxed: it may be gone when the caller comes.
        let free = self.free.load(Ordering::Relaxed);
        free & WAITING == 0 && free & FREE != NONE
    }

    /// What serves those who wait, if anybody does. *Consumer.*
    #[inline(never)]
    pub(super) fn waits(&self) -> Option<Serve> {
        self.waiting.with(|waiters| {
            let first = waiters.first;
            // SAFETY: a waiter in the list is live, and touched under the lock only.
            (!first.is_null()).then(|| unsafe { (*first).serve })
        })
    }

    /// Takes a waiter out of the list. Where room is never owed, the bit goes with the last. Under the lock, so that no
    /// sender begins to wait in between.
    ///
    /// # Safety
    /// `waiter` is in the list.
    unsafe fn unlink(&self, waiters: &mut Waiters, waiter: *mut Place) {
        // SAFETY: as the caller promises.
        unsafe { waiters.unlink(waiter) };
        if !FLOW && waiters.first.is_null() {
            self.clear_waiting();
        }
    }

    /// Takes the one who waits longest out of the list, and moves its message to `to`: the mailbox has it. If nobody
    /// waits, the bit goes. *Consumer.*
    ///
    /// # Safety
    /// Those who wait have messages of this kind, and `to` has room for one.
    pub(super) unsafe fn admit(&self, kind: &Kind, to: *mut ()) -> Option<Option<Waker>> {
        self.waiting.with(|waiters| {
            let waiter = waiters.first;
            if waiter.is_null() {
                // Under the lock, so that no sender begins to wait in between.
                self.clear_waiting();
                return None;
            }
            // SAFETY: a waiter in the list is live, and touched under the lock only.
            unsafe {
                self.unlink(waiters, waiter);
                (*waiter).state = Waiting::Admitted;
                (*waiter).has_message = false;
                (kind.carry)(waiter.byte_add(kind.in_waiter).cast(), to);
                Some(exchange(&raw mut (*waiter).waker, None))
            }
        })
    }

    /// Sets the bit although nobody waits: room is owed. False if something is free. *Consumer.*
    pub(super) fn shut(&self) -> bool {
        self.waiting.with(|_| self.begin_waiting())
    }

    fn clear_waiting(&self) {
        // Relaxed: only a first guess for the exchange.
        let mut free = self.free.load(Ordering::Relaxed);
        while let Err(seen) = self
            .free
            // Release: continues the release sequence of the last put. Relaxed on failure:
            // only the next guess.
            .compare_exchange_weak(free, free & !WAITING, Ordering::AcqRel, Ordering::Relaxed)
        {
            free = seen;
        }
    }

    /// Begins or goes on waiting. *Any thread.* The state afterwards; `Outside` means that there is
    /// room again: try once more.
    ///
    /// # Safety
    /// `waiter` does not move until it is neither `Queued` nor reachable through this gate.
    pub(crate) unsafe fn wait<M>(&self, waiter: *mut Waiter<M>, waker: &Waker) -> Waiting {
        // SAFETY: as the caller promises. A waiter begins with its place.
        unsafe { self.wait_at(waiter.cast(), waker) }
    }

    /// # Safety
    /// As [`wait`](Self::wait).
    unsafe fn wait_at(&self, waiter: *mut Place, waker: &Waker) -> Waiting {
        // A waker is the caller's code: cloned and dropped outside the lock.
        let mut waker = Some(waker.clone());
        let state = self.waiting.with(|waiters| {
            // SAFETY: the waiter is the caller's, and touched under the lock only.
            unsafe {
                match (*waiter).state {
                    Waiting::Outside if self.begin_waiting() => {
                        (*waiter).state = Waiting::Queued;
                        waiters.push(waiter);
                        waker = exchange(&raw mut (*waiter).waker, waker.take());
                    }
                    Waiting::Queued => waker = exchange(&raw mut (*waiter).waker, waker.take()),
                    _ => {}
                }
                (*waiter).state
            }
        });
        drop(waker);
        state
    }

    /// Sets `WAITING`, unless something is free. Under the lock of the list.
    fn begin_waiting(&self) -> bool {
        // Relaxed: only a first guess for the exchange.
        let mut free = self.free.load(Ordering::Relaxed);
        loop {
            if free & WAITING != 0 {
                return true;
            }
            if free & FREE != NONE {
                return false;
            }
            // Acquire and Release: continues the release sequence; the list is under the lock.
            match self.free.compare_exchange_weak(
                free,
                free | WAITING,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(seen) => free = seen,
            }
        }
    }

    /// Leaves the list. *Any thread.* Afterwards the waiter is the caller's alone.
    ///
    /// # Safety
    /// `waiter` was passed to [`Gate::wait`] of this gate.
    pub(crate) unsafe fn stop_waiting<M>(&self, waiter: *mut Waiter<M>) {
        // SAFETY: as the caller promises. A waiter begins with its place.
        unsafe { self.stop_at(waiter.cast()) }
    }

    /// # Safety
    /// As [`stop_waiting`](Self::stop_waiting).
    unsafe fn stop_at(&self, waiter: *mut Place) {
        self.waiting.with(|waiters| {
            // SAFETY: a queued waiter is in the list, and touched under the lock only.
            unsafe {
                if (*waiter).state == Waiting::Queued {
                    self.unlink(waiters, waiter);
                    (*waiter).state = Waiting::Outside;
                }
            }
        });
    }

    /// Tells every waiting sender that the actor has ended. *Runner.*
    pub(crate) fn refuse_waiting(&self) {
        loop {
            let waker = self.waiting.with(|waiters| {
                let waiter = waiters.first;
                if waiter.is_null() {
                    return None;
                }
                // SAFETY: a waiter in the list is live, and touched under the lock only.
                unsafe {
                    self.unlink(waiters, waiter);
                    (*waiter).state = Waiting::Refused;
                    Some(exchange(&raw mut (*waiter).waker, None))
                }
            });
            match waker {
                None => return,
                Some(waker) => waker.into_iter().for_each(sync::wake),
            }
        }
    }
}
