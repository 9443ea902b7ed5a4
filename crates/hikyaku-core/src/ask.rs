//! Question and answer: a slot for one value, shared by the asker and the one who answers.
//!
//! The slot comes from recycled memory, and lives apart from both actors.
//!
//! ```text
//!   EMPTY ──poll──► WAITING ──send──► DONE ──► freed by the asker
//!     │  ▲             │
//!     │  └──retract────┘  (the asker was polled with another waker, or leaves)
//!     └──send──► DONE
//!   any of these + LEAVING, then GONE (the asker left) ──► freed by the answerer
//! ```
//!
//! Once the answerer has said `DONE` the asker may take the value and free the slot, so the
//! answerer reads the waker *before*, and owns it if its exchange from `WAITING` to `DONE` succeeds.
//! A retraction counts a turn in the same word: an exchange that was prepared with an older waker
//! fails.
//!
//! # Concurrency
//!
//! `value`: the answerer until `DONE`, then the asker. `waker`: written by the asker in `EMPTY`;
//! its two words are atomics, because the answerer may read them while they change. `state`: both.

use crate::actor::Deadline;
use crate::actor_ref::SendError;
use crate::cell::CellPtr;
use crate::dead_letter::DeadLetterReason;
use crate::dispatcher::Home;
use crate::mailbox::Marks;
use crate::pool;
use crate::registry::MailboxIndex;
use crate::supervision::RestartPolicy;
use crate::sync::{self, Arc, AtomicPtr, AtomicU32, Ordering, UnsafeCell};
use crate::time::{Alarm, NotSet};
use alloc::boxed::Box;
use core::alloc::Layout;
use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::pin::Pin;
use core::ptr::{self, NonNull};
use core::task::{self, Poll, RawWakerVTable, Waker};
use core::time::Duration;

const EMPTY: u32 = 0;
/// The waker is there.
const WAITING: u32 = 1;
/// The answerer has left; with `VALUE`, the value is there.
const DONE: u32 = 2;
const VALUE: u32 = 4;
/// The asker has left.
const GONE: u32 = 8;
/// The asker is about to leave; the slot stays until it has.
const LEAVING: u32 = 16;
/// There is a deadline.
const LIMITED: u32 = 32;
/// The answerer has failed, and there is no value.
const FAILED: u32 = 64;
/// One retraction.
const TURN: u32 = 128;

struct Slot<T> {
    state: AtomicU32,
    /// Nanoseconds on the system's clock, in two halves.
    deadline: [AtomicU32; 2],
    waker: AtomicWaker,
    /// Who waits for the asker to leave: a box, or null.
    watcher: AtomicPtr<Waker>,
    value: UnsafeCell<MaybeUninit<T>>,
}

/// A waker in two words. Who may use it is said by the slot's state.
struct AtomicWaker {
    data: AtomicPtr<()>,
    vtable: AtomicPtr<RawWakerVTable>,
}

impl AtomicWaker {
    fn new() -> Self {
        Self {
            data: AtomicPtr::new(ptr::null_mut()),
            vtable: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Moves a waker in. *Asker*, while the state is not `WAITING`.
    fn put(&self, waker: Waker) {
        let waker = ManuallyDrop::new(waker);
        // Relaxed, twice: published by the exchange to `WAITING`.
        self.data.store(waker.data().cast_mut(), Ordering::Relaxed);
        self.vtable
            .store(ptr::from_ref(waker.vtable()).cast_mut(), Ordering::Relaxed);
    }

    /// The two words, for what they are worth.
    fn read(&self) -> (*const (), *const RawWakerVTable) {
        // Relaxed, twice: worth something only if an exchange from `WAITING` succeeds afterwards.
        (
            self.data.load(Ordering::Relaxed),
            self.vtable.load(Ordering::Relaxed),
        )
    }
}

/// # Safety
/// The words came from one `put`, whose waker is the caller's, or is only looked at.
unsafe fn waker_of((data, vtable): (*const (), *const RawWakerVTable)) -> ManuallyDrop<Waker> {
    // SAFETY: as the caller promises; a waker's vtable is static.
    ManuallyDrop::new(unsafe { Waker::new(data, &*vtable) })
}

impl<T> Slot<T> {
    fn make() -> NonNull<Self> {
        let slot = pool::take(Layout::new::<Self>()).cast::<Self>();
        // SAFETY: fresh memory of this layout.
        unsafe {
            slot.write(Self {
                state: AtomicU32::new(EMPTY),
                deadline: [AtomicU32::new(0), AtomicU32::new(0)],
                watcher: AtomicPtr::new(ptr::null_mut()),
                waker: AtomicWaker::new(),
                value: UnsafeCell::new(MaybeUninit::uninit()),
            });
        }
        slot
    }

    /// # Safety
    /// Both sides have left; waker and value are out.
    unsafe fn free(slot: NonNull<Self>) {
        // SAFETY: as the caller promises; the drop ends loom's cells and is nothing otherwise.
        unsafe {
            let watcher = slot.as_ref().take_watcher();
            ptr::drop_in_place(slot.as_ptr());
            drop(watcher);
            pool::give(slot.cast(), Layout::new::<Self>());
        }
    }

    fn set_deadline(&self, deadline: Duration) {
        let nanos = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX);
        // Relaxed, twice: published by the bit.
        self.deadline[0].store(nanos as u32, Ordering::Relaxed);
        self.deadline[1].store((nanos >> 32) as u32, Ordering::Relaxed);
        // Release: pairs with the Acquire in `Reply::deadline`.
        self.state.fetch_or(LIMITED, Ordering::Release);
    }

    fn take_watcher(&self) -> Option<Box<Waker>> {
        // Relaxed: only to save the exchange for the many that nobody watches.
        if self.watcher.load(Ordering::Relaxed).is_null() {
            return None;
        }
        // Acquire: pairs with the Release in `Cancelled::poll`.
        let watcher = self.watcher.swap(ptr::null_mut(), Ordering::Acquire);
        // SAFETY: a box was put there, and is taken once.
        (!watcher.is_null()).then(|| unsafe { Box::from_raw(watcher) })
    }

    fn tell_watcher(&self) {
        if let Some(watcher) = self.take_watcher() {
            sync::wake(*watcher);
        }
    }

    fn put(&self, value: T) {
        // SAFETY: the answerer owns the value until `DONE`.
        self.value
            .with_mut(|place| unsafe { (*place).write(value) });
    }

    /// # Safety
    /// The caller owns the value, and it is there. Once.
    unsafe fn take(&self) -> T {
        // SAFETY: as the caller promises.
        self.value
            .with_mut(|place| unsafe { (*place).assume_init_read() })
    }
}

/// The right to answer one question.
///
/// Dropped without an answer, it answers at once with [`AskError::Dropped`].
pub struct Reply<T> {
    slot: NonNull<Slot<T>>,
}

// SAFETY: the slot is shared as the module says; a value moves through it.
unsafe impl<T: Send> Send for Reply<T> {}
// SAFETY: `&Reply` only reads the state.
unsafe impl<T: Send> Sync for Reply<T> {}

impl<T> Reply<T> {
    /// Both ends of a new slot.
    pub(crate) fn pair() -> (Self, Answer<T>) {
        let slot = Slot::make();
        (Self { slot }, Answer { slot: Some(slot) })
    }

    /// Answers. Never waits.
    ///
    /// # Errors
    /// Hands the value back if nobody waits for it any more.
    pub fn send(self, value: T) -> Result<(), T> {
        let slot = self.slot;
        core::mem::forget(self);
        // SAFETY: the slot lives until both sides have left.
        unsafe { slot.as_ref() }.put(value);
        // SAFETY: this side leaves here, once.
        unsafe { finish(slot, VALUE) }
    }

    /// Has the asker given up?
    pub fn is_cancelled(&self) -> bool {
        // SAFETY: the slot lives until both sides have left.
        // Relaxed: advice only.
        let state = unsafe { self.slot.as_ref() }.state.load(Ordering::Relaxed);
        state & LEAVING != 0
    }

    /// Until when the asker waits, if it said so by [`within`](Ask::within).
    pub fn deadline(&self) -> Option<Deadline> {
        // SAFETY: the slot lives until both sides have left.
        let slot = unsafe { self.slot.as_ref() };
        // Acquire: pairs with the Release in `set_deadline`.
        if slot.state.load(Ordering::Acquire) & LIMITED == 0 {
            return None;
        }
        // Relaxed, twice: written once, before the bit.
        let low = u64::from(slot.deadline[0].load(Ordering::Relaxed));
        let high = u64::from(slot.deadline[1].load(Ordering::Relaxed));
        Some(Deadline(Duration::from_nanos(high << 32 | low)))
    }

    /// Resolves when the asker has given up. To be raced against work that is only done for it.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn cancelled(&mut self) -> Cancelled<'_, T> {
        Cancelled { reply: self }
    }
}

/// The future of [`Reply::cancelled`].
#[must_use = "futures do nothing unless awaited"]
pub struct Cancelled<'a, T> {
    reply: &'a mut Reply<T>,
}

impl<T> Future for Cancelled<'_, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        // SAFETY: the slot lives until both sides have left.
        let slot = unsafe { self.reply.slot.as_ref() };
        let watcher = Box::into_raw(Box::new(cx.waker().clone()));
        // Release: the waker itself. Acquire: the old one, to be dropped.
        let old = slot.watcher.swap(watcher, Ordering::AcqRel);
        if !old.is_null() {
            // SAFETY: a box was put there, and is taken once.
            drop(unsafe { Box::from_raw(old) });
        }
        // A read-modify-write, to meet the asker's in one word: either it finds the waker, or this
        // finds it leaving. Release: the waker. Acquire: what the asker did before.
        if slot.state.fetch_or(0, Ordering::AcqRel) & LEAVING != 0 {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl<T> fmt::Debug for Cancelled<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancelled").field(&self.reply).finish()
    }
}

/// The answerer leaves. Hands the value back if the asker has left, or is about to.
///
/// # Safety
/// Called once, by the answerer; with `VALUE` if the value is there.
unsafe fn finish<T>(slot: NonNull<Slot<T>>, value: u32) -> Result<(), T> {
    // SAFETY: the slot lives until both sides have left.
    let this = unsafe { slot.as_ref() };
    // Acquire: pairs with the Release of the exchange that published the waker.
    let mut state = this.state.load(Ordering::Acquire);
    let mut value = value;
    let mut returned = None;
    let words = loop {
        if state & LEAVING != 0 && value != 0 {
            // Nobody will look at it: back to the one who answers.
            // SAFETY: the value is there, and this side's until `DONE`.
            returned = Some(unsafe { this.take() });
            value = 0;
        }
        let words = this.waker.read();
        let next = DONE | value | state & (GONE | LEAVING);
        match this
            .state
            // Release: publishes the value. Acquire: the waker, and what the asker did before it
            // left.
            .compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => break words,
            Err(seen) => state = seen,
        }
    };
    // From here on the asker may free the slot, unless it has left before.
    if state & GONE != 0 {
        // SAFETY: both sides have left, and the value is out.
        unsafe { Slot::free(slot) };
    } else if state & WAITING != 0 {
        // SAFETY: the state did not change between the read and the exchange, so the words are one
        // waker's, and the exchange made it ours.
        ManuallyDrop::into_inner(unsafe { waker_of(words) }).wake();
    }
    returned.map_or(Ok(()), Err)
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        // SAFETY: this side leaves here, once: `send` forgets itself.
        let _nothing = unsafe { finish(self.slot, if is_failing() { FAILED } else { 0 }) };
    }
}

/// Is what happens on this thread part of the failure, or of the restart, of an actor that goes on?
fn is_failing() -> bool {
    let Some(cell) = CellPtr::running() else {
        return false;
    };
    let failing = cell.mailbox().marks.has(Marks::FAILING) || sync::is_panicking();
    failing && cell.policy() != RestartPolicy::Temporary
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("cancelled", &self.is_cancelled())
            .finish()
    }
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskError {
    /// The mailbox had no room for the question.
    Full,
    /// The actor takes no more messages.
    Closed,
    /// The question was dropped without an answer: by the handler, or because the actor ended.
    Dropped,
    /// The actor panicked, or was restarted by its supervisor, with the question in hand.
    Restarted,
    /// There was no answer in time.
    Timeout {
        /// Who was asked.
        target: MailboxIndex,
        /// The type of the question.
        message: &'static str,
        /// How long was waited: as long as was said, or until the deadline of the question in hand.
        after: Duration,
    },
    /// The time to wait is zero. The question was sent all the same.
    ZeroTimeout,
    /// A time limit was set, and the system was built without a clock and a tick driver, has no room for
    /// another timer, or has stopped. The question was sent all the same.
    NoTime,
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the mailbox is full",
            Self::Closed => "the actor takes no more messages",
            Self::Dropped => "the question was dropped without an answer",
            Self::Restarted => "the actor failed with the question in hand",
            Self::Timeout {
                target,
                message,
                after,
            } => {
                return write!(
                    f,
                    "actor {target} did not answer a {message} within {after:?}"
                );
            }
            Self::ZeroTimeout => "the time to wait for an answer is zero",
            Self::NoTime => "the system has no timer for the time limit",
        })
    }
}

impl core::error::Error for AskError {}

/// The asker's end of a slot: a future of the answer.
pub(crate) struct Answer<T> {
    /// `None` once it is done.
    slot: Option<NonNull<Slot<T>>>,
}

// SAFETY: the slot is shared as the module says; a value moves through it.
unsafe impl<T: Send> Send for Answer<T> {}
// SAFETY: `&Answer` gives access to nothing.
unsafe impl<T: Send> Sync for Answer<T> {}

impl<T> Answer<T> {
    /// Says until when it is waited for. *Before the question is handled, or it may be overlooked.*
    fn set_deadline(&self, deadline: Duration) {
        if let Some(slot) = self.slot {
            // SAFETY: the slot lives until both sides have left.
            unsafe { slot.as_ref() }.set_deadline(deadline);
        }
    }

    /// The asker leaves.
    fn leave(&mut self) {
        let Some(slot) = self.slot.take() else {
            return;
        };
        // SAFETY: the slot lives until both sides have left.
        let this = unsafe { slot.as_ref() };
        // Out before this side says `GONE`, because the answerer may then free the slot.
        let waker = this.retract();
        // Release: who sees it leaves the slot to this side. Acquire: the waker to be taken.
        let before = this.state.fetch_or(LEAVING, Ordering::AcqRel);
        if before & DONE == 0 {
            // Whoever waits for this moment is told, while the slot is there.
            this.tell_watcher();
        }
        // Release: the answerer may free the slot. Acquire: or this side has to, with the value.
        let state = this.state.fetch_or(GONE, Ordering::AcqRel);
        if state & DONE != 0 {
            // SAFETY: with `DONE` the slot is ours alone.
            let value = unsafe { this.value_if(state) };
            // SAFETY: likewise.
            unsafe { Slot::free(slot) };
            drop(value);
        }
        drop(waker);
    }
}

impl<T> Future for Answer<T> {
    type Output = Result<T, AskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let slot = self.slot.expect("an ask was polled after it was done");
        // SAFETY: the slot lives until both sides have left.
        let this = unsafe { slot.as_ref() };
        // Acquire: pairs with the Release in `finish`.
        let mut state = this.state.load(Ordering::Acquire);
        while state & DONE == 0 {
            if state & WAITING == 0 {
                if this.wait(state, cx.waker().clone()) {
                    return Poll::Pending;
                }
            } else {
                // SAFETY: only looked at. If it is not ours any more, the vtable and the address
                // are still there to be compared.
                if unsafe { waker_of(this.waker.read()) }.will_wake(cx.waker()) {
                    return Poll::Pending;
                }
                drop(this.retract());
            }
            // Acquire: as above.
            state = this.state.load(Ordering::Acquire);
        }
        self.slot = None;
        // SAFETY: with `DONE` the slot is ours alone.
        let value = unsafe { this.value_if(state) };
        // SAFETY: likewise.
        unsafe { Slot::free(slot) };
        Poll::Ready(value.ok_or(if state & FAILED == 0 {
            AskError::Dropped
        } else {
            AskError::Restarted
        }))
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The future of [`ActorRef::ask`](crate::ActorRef::ask).
#[must_use = "the question is sent; without an await the answer is lost"]
pub struct Ask<'a, T> {
    answer: Result<Answer<T>, AskError>,
    /// Who was asked. Kept by the reference.
    cell: CellPtr,
    _actor: PhantomData<&'a ()>,
}

impl<'a, T> Ask<'a, T> {
    /// Makes the question and sends it.
    #[inline]
    pub(crate) fn send<M: 'static>(
        cell: CellPtr,
        make: impl FnOnce(Reply<T>) -> M,
        send: impl FnOnce(M) -> Result<(), SendError<M>>,
    ) -> Self {
        // In place before user code runs, so that a panic in `make` frees the slot.
        let (reply, answer) = Reply::pair();
        let answer = match send(make(reply)) {
            Ok(()) => Ok(answer),
            Err(refused) => Err(refuse(cell, refused)),
        };
        Self {
            answer,
            cell,
            _actor: PhantomData,
        }
    }

    /// The answer of a question that was sent otherwise, to the actor of this cell, which the caller keeps.
    pub(crate) fn of(answer: Answer<T>, cell: CellPtr) -> Self {
        Self {
            answer: Ok(answer),
            cell,
            _actor: PhantomData,
        }
    }

    /// Waits no longer than this, counted from now. In a handler whose own message has a deadline
    /// ([`Actor::deadline`](crate::Actor::deadline)), no longer than that either.
    ///
    /// ```
    /// # use hikyaku_core::{ActorRef, AskError, Reply};
    /// # use std::time::Duration;
    /// # enum StoreMsg { Get(Reply<u64>) }
    /// # async fn demo(store: ActorRef<StoreMsg>) {
    /// match store.ask(StoreMsg::Get).within(Duration::from_millis(50)).await {
    ///     Ok(value) => println!("{value}"),
    ///     Err(AskError::Timeout { .. }) => println!("too slow"),
    ///     Err(other) => println!("{other}"),
    /// }
    /// # }
    /// ```
    pub fn within(self, limit: Duration) -> Within<'a, T> {
        let cell = self.cell;
        let home = cell.home();
        let mut within = Within {
            limit,
            due: Duration::MAX,
            alarm: Alarm::default(),
            ask: self,
        };
        let refused = match &home.shared.time {
            _ if limit.is_zero() => Some(AskError::ZeroTimeout),
            None => Some(AskError::NoTime),
            Some(time) => {
                let now = time.now();
                let due = now.saturating_add(limit);
                if let Some(sooner) = inherited(home).filter(|inherited| *inherited < due) {
                    within.due = sooner;
                    within.limit = sooner.saturating_sub(now);
                } else {
                    within.due = due;
                }
                None
            }
        };
        match (&within.ask.answer, refused) {
            (Ok(_), Some(refused)) => within.ask.answer = Err(refused),
            (Ok(answer), None) => answer.set_deadline(within.due),
            (Err(_), _) => {}
        }
        within
    }
}

/// The deadline of the message that this thread is handling, if its actor is of the same system.
fn inherited(home: &Home) -> Option<Duration> {
    let cell = CellPtr::running()?;
    if Arc::ptr_eq(&cell.home().shared, &home.shared) {
        cell.deadline()
    } else {
        None
    }
}

impl<T> Future for Ask<'_, T> {
    type Output = Result<T, AskError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        match &mut self.answer {
            Ok(answer) => Pin::new(answer).poll(cx),
            Err(error) => Poll::Ready(Err(*error)),
        }
    }
}

impl<T> fmt::Debug for Ask<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ask({})", self.cell.index())
    }
}

/// A question was not accepted. With its message, its reply is dropped.
#[cold]
pub(crate) fn refuse<M: 'static>(cell: CellPtr, refused: SendError<M>) -> AskError {
    let (error, message) = match refused {
        SendError::Full(message) => (AskError::Full, message),
        SendError::Closed(message) => (AskError::Closed, message),
    };
    let letters = &cell.home().shared.dead_letters;
    letters.receive_from_here(cell, message, DeadLetterReason::Bounced);
    error
}

/// The future of [`Ask::within`].
///
/// # Cancel safety
/// As [`ActorRef::ask`](crate::ActorRef::ask).
#[must_use = "the question is sent; without an await the answer is lost"]
pub struct Within<'a, T> {
    ask: Ask<'a, T>,
    limit: Duration,
    due: Duration,
    alarm: Alarm,
}

impl<T> Future for Within<'_, T> {
    type Output = Result<T, AskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Poll::Ready(answer) = Pin::new(&mut this.ask).poll(cx) {
            this.cancel();
            return Poll::Ready(answer);
        }
        let cell = this.ask.cell;
        let Some(time) = cell.home().shared.time.as_deref() else {
            return Poll::Pending;
        };
        let error = if time.now() >= this.due {
            AskError::Timeout {
                target: cell.index(),
                message: cell.message_name(),
                after: this.limit,
            }
        } else {
            match this.alarm.set(time.works(), this.due, cx.waker()) {
                Ok(()) => return Poll::Pending,
                // The actors' end has dropped the questions that they had. This one is elsewhere.
                Err(NotSet::Stopped | NotSet::Capacity) => AskError::NoTime,
            }
        };
        this.cancel();
        // The asker leaves: an answer that comes now is for nobody.
        this.ask.answer = Err(error);
        Poll::Ready(Err(error))
    }
}

impl<T> Within<'_, T> {
    fn cancel(&mut self) {
        if let Some(time) = self.ask.cell.home().shared.time.as_deref() {
            self.alarm.cancel(time.works());
        }
    }
}

impl<T> Drop for Within<'_, T> {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl<T> fmt::Debug for Within<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Within")
            .field("ask", &self.ask)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl<T> Slot<T> {
    /// Takes the waker back, unless the answerer was faster. *Asker.*
    fn retract(&self) -> Option<Waker> {
        // Relaxed: the waker is the asker's own writing.
        let state = self.state.load(Ordering::Relaxed);
        if state & WAITING == 0 {
            return None;
        }
        let next = (state & !WAITING).wrapping_add(TURN);
        self.state
            // Relaxed, twice: the asker takes back its own, and nothing is read if the answerer was
            // faster.
            .compare_exchange(state, next, Ordering::Relaxed, Ordering::Relaxed)
            .ok()?;
        // SAFETY: the exchange made the waker ours again.
        Some(ManuallyDrop::into_inner(unsafe {
            waker_of(self.waker.read())
        }))
    }

    /// Leaves the waker. False if the answerer is done. *Asker*, in `EMPTY`, which is `state`.
    #[inline]
    fn wait(&self, state: u32, waker: Waker) -> bool {
        self.waker.put(waker);
        // Release: pairs with the Acquire in `finish`. Relaxed: `poll` looks again.
        let left = self
            .state
            .compare_exchange(state, state | WAITING, Ordering::Release, Ordering::Relaxed)
            .is_ok();
        if !left {
            // SAFETY: not published, so still ours.
            drop(ManuallyDrop::into_inner(unsafe {
                waker_of(self.waker.read())
            }));
        }
        left
    }

    /// # Safety
    /// The caller owns the value, if `state` says that it is there. Once.
    unsafe fn value_if(&self, state: u32) -> Option<T> {
        // SAFETY: as the caller promises.
        (state & VALUE != 0).then(|| unsafe { self.take() })
    }
}

#[cfg(test)]
mod tests;
