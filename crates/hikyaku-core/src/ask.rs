//! Question and answer: a slot for one value, shared by the asker and the one who answers.
//!
//! The slot comes from recycled memory, and lives apart from both actors.
//!
//! ```text
//!   EMPTY ──poll──► WAITING ──send──► DONE ──► freed by the asker
//!     │  ▲             │
//!     │  └──retract────┘  (the asker was polled with another waker, or leaves)
//!     └──send──► DONE
//!   any of these + GONE (the asker left) ──► freed by the answerer
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

use crate::actor_ref::SendError;
use crate::pool;
use crate::sync::{AtomicPtr, AtomicU32, Ordering, UnsafeCell};
use core::alloc::Layout;
use core::fmt;
use core::future::Future;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::pin::Pin;
use core::ptr::{self, NonNull};
use core::task::{self, Poll, RawWakerVTable, Waker};

const EMPTY: u32 = 0;
/// The waker is there.
const WAITING: u32 = 1;
/// The answerer has left; with `VALUE`, the value is there.
const DONE: u32 = 2;
const VALUE: u32 = 4;
/// The asker has left.
const GONE: u32 = 8;
/// One retraction.
const TURN: u32 = 16;

struct Slot<T> {
    state: AtomicU32,
    waker: AtomicWaker,
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
            ptr::drop_in_place(slot.as_ptr());
            pool::give(slot.cast(), Layout::new::<Self>());
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
        state & GONE != 0
    }
}

/// The answerer leaves. Hands the value back if the asker has left too.
///
/// # Safety
/// Called once, by the answerer; with `VALUE` if the value is there.
unsafe fn finish<T>(slot: NonNull<Slot<T>>, value: u32) -> Result<(), T> {
    // SAFETY: the slot lives until both sides have left.
    let this = unsafe { slot.as_ref() };
    // Acquire: pairs with the Release of the exchange that published the waker.
    let mut state = this.state.load(Ordering::Acquire);
    let words = loop {
        let words = this.waker.read();
        let next = DONE | value | state & GONE;
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
        // SAFETY: both sides have left, and the value is ours again.
        let value = unsafe { this.value_if(value) };
        // SAFETY: likewise.
        unsafe { Slot::free(slot) };
        return value.map_or(Ok(()), Err);
    }
    if state & WAITING != 0 {
        // SAFETY: the state did not change between the read and the exchange, so the words are one
        // waker's, and the exchange made it ours.
        ManuallyDrop::into_inner(unsafe { waker_of(words) }).wake();
    }
    Ok(())
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        // SAFETY: this side leaves here, once: `send` forgets itself.
        let _nothing = unsafe { finish(self.slot, 0) };
    }
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
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the mailbox is full",
            Self::Closed => "the actor takes no more messages",
            Self::Dropped => "the question was dropped without an answer",
        })
    }
}

impl core::error::Error for AskError {}

/// The future of [`ActorRef::ask`](crate::ActorRef::ask).
#[must_use = "the question is sent; without an await the answer is lost"]
pub struct Ask<T> {
    state: AskState<T>,
}

enum AskState<T> {
    Pending(NonNull<Slot<T>>),
    Refused(AskError),
    Done,
}

// SAFETY: the slot is shared as the module says; a value moves through it.
unsafe impl<T: Send> Send for Ask<T> {}
// SAFETY: `&Ask` gives access to nothing.
unsafe impl<T: Send> Sync for Ask<T> {}

impl<T> Ask<T> {
    /// Makes the question and sends it.
    #[inline]
    pub(crate) fn send<M>(
        make: impl FnOnce(Reply<T>) -> M,
        send: impl FnOnce(M) -> Result<(), SendError<M>>,
    ) -> Self {
        let slot = Slot::make();
        // In place before user code runs, so that a panic in `make` frees the slot.
        let mut ask = Self {
            state: AskState::Pending(slot),
        };
        let message = make(Reply { slot });
        let refused = match send(message) {
            Ok(()) => return ask,
            Err(SendError::Full(_)) => AskError::Full,
            Err(SendError::Closed(_)) => AskError::Closed,
        };
        // The refused message was dropped above, and its reply with it.
        ask.leave();
        ask.state = AskState::Refused(refused);
        ask
    }

    /// The asker leaves.
    fn leave(&mut self) {
        let AskState::Pending(slot) = core::mem::replace(&mut self.state, AskState::Done) else {
            return;
        };
        // SAFETY: the slot lives until both sides have left.
        let this = unsafe { slot.as_ref() };
        // Out before this side says `GONE`, because the answerer may then free the slot.
        let waker = this.retract();
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

impl<T> Future for Ask<T> {
    type Output = Result<T, AskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let slot = match &self.state {
            AskState::Pending(slot) => *slot,
            AskState::Refused(error) => {
                let error = *error;
                self.state = AskState::Done;
                return Poll::Ready(Err(error));
            }
            AskState::Done => panic!("an ask was polled after it was done"),
        };
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
        self.state = AskState::Done;
        // SAFETY: with `DONE` the slot is ours alone.
        let value = unsafe { this.value_if(state) };
        // SAFETY: likewise.
        unsafe { Slot::free(slot) };
        Poll::Ready(value.ok_or(AskError::Dropped))
    }
}

impl<T> Drop for Ask<T> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<T> fmt::Debug for Ask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask(..)")
    }
}

#[cfg(test)]
mod tests;
