//! How an activation reaches what is the actor's own: its code, its messages.
//!
//! By its type, and then the loop over its messages is compiled for it; or by the table in its cell, and then there is
//! one loop for all actors, as small machines want it.

use super::messages::{Next, is_late, next_of_all};
use super::{Activation, Outcome, run};
use crate::actor::{Actor, Deadline};
use crate::cell::CellPtr;
use crate::failure::Failure;
use crate::mailbox::{self, BY_TABLE, Drain, InSlot, Known, Life, Typed};
use crate::supervision::SUPERVISION;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::ptr;
use core::task::{self, Poll};

type Handled = Poll<Result<(), Failure>>;

/// What is needed of an actor while it handles messages.
pub(super) trait Reach: Sized {
    type Known: Known;

    /// Is the time of a message over?
    ///
    /// # Safety
    /// The caller is the runner of `cell`, which is reached so.
    unsafe fn is_late(cell: CellPtr, message: &Message<Self>) -> bool;

    /// Finds the next message of an actor that has more than a mailbox.
    ///
    /// # Safety
    /// The caller is the runner of `cell`, which is reached so, and there is a note of [`rare::BEYOND`].
    unsafe fn search(
        cell: CellPtr,
        first: &mut Option<Message<Self>>,
        drain: &mut Drain<Self::Known>,
        activation: &Activation<'_>,
    ) -> Next<Message<Self>> {
        // SAFETY: as the caller promises.
        unsafe { next_of_all::<Self, true>(cell, first, drain, activation) }
    }

    /// Begins to handle a message.
    ///
    /// # Safety
    /// The caller is the runner of `cell`, which is reached so; the actor is there and no future is live.
    unsafe fn handle(cell: CellPtr, message: Message<Self>, cx: &mut task::Context<'_>) -> Handled;

    /// Polls the handler that is pending.
    ///
    /// # Safety
    /// The caller is the runner of `cell`, which is reached so; the future of a handler is live.
    unsafe fn go_on(cell: CellPtr, cx: &mut task::Context<'_>) -> Handled;
}

pub(super) type Message<R> = <<R as Reach>::Known as Known>::Message;

/// A cell of `A`.
struct Direct<A>(PhantomData<A>);

impl<A: Actor> Reach for Direct<A> {
    type Known = Typed<A::Msg>;

    #[inline(always)]
    unsafe fn is_late(cell: CellPtr, message: &A::Msg) -> bool {
        // SAFETY: as the caller promises.
        A::deadline(message).is_some_and(|Deadline(deadline)| unsafe { is_late(cell, deadline) })
    }

    #[inline(always)]
    unsafe fn handle(cell: CellPtr, message: A::Msg, cx: &mut task::Context<'_>) -> Handled {
        // SAFETY: the actor is there, and no future borrows it or the context.
        let (actor, context) = unsafe { (&mut *cell.actor::<A>(), &mut *cell.context::<A>()) };
        let handle = A::handle(actor, message, context);
        // SAFETY: the slot is empty: no future is live, and the message was moved out.
        unsafe { begin(cell, handle, cx) }
    }

    #[inline(always)]
    unsafe fn go_on(cell: CellPtr, cx: &mut task::Context<'_>) -> Handled {
        let (go_on, _) = of_handle::<A, _>(A::handle);
        // SAFETY: as the caller promises.
        unsafe { go_on(cell, cx) }
    }
}

/// A cell of any actor.
pub(super) enum Any {}

impl Reach for Any {
    type Known = mailbox::ByTable;

    unsafe fn is_late(cell: CellPtr, _: &InSlot) -> bool {
        // SAFETY: as the caller promises; the message lies in the slot.
        unsafe { (cell.vtable().is_late)(cell) }
    }

    unsafe fn search(
        cell: CellPtr,
        first: &mut Option<InSlot>,
        drain: &mut Drain<mailbox::ByTable>,
        activation: &Activation<'_>,
    ) -> Next<InSlot> {
        let beyond = || cell.cold_if_any()?.beyond?.next;
        match beyond() {
            // SAFETY: as the caller promises.
            Some(search) => unsafe { search(cell, first, drain, activation) },
            // The note says that it was brought.
            None => Next::Nothing,
        }
    }

    unsafe fn handle(cell: CellPtr, message: InSlot, _: &mut task::Context<'_>) -> Handled {
        message.leave();
        // SAFETY: as the caller promises; without a future the slot has the message.
        unsafe { (cell.vtable().poll)(cell) }
    }

    unsafe fn go_on(cell: CellPtr, _: &mut task::Context<'_>) -> Handled {
        // SAFETY: as the caller promises.
        unsafe { (cell.vtable().poll)(cell) }
    }
}

/// The function that runs an activation of `A`'s.
pub(crate) const fn run_of<A: Actor>() -> unsafe fn(CellPtr, &mut Activation<'_>) -> Outcome {
    if BY_TABLE {
        run::<Any>
    } else {
        run::<Direct<A>>
    }
}

/// Goes on with the future in the slot. If none is live, it begins what the life asks for: a hook, or the handler of the
/// message in the slot.
///
/// # Safety
/// The caller is the runner of `cell`, which is a cell of `A`, and the actor is there.
pub(crate) unsafe fn poll<A: Actor>(cell: CellPtr) -> Handled {
    // Made here: nothing is left of it in actors that await nothing.
    let waker = cell.borrowed_waker();
    let cx = &mut task::Context::from_waker(&waker);
    // SAFETY: as the caller promises. The life says which future it is.
    unsafe {
        match cell.mailbox().life.get() {
            Life::Starting => poll_hook::<A, _>(cell, A::started, cx),
            Life::Restarting if SUPERVISION => poll_hook::<A, _>(cell, A::restarting, cx).map(Ok),
            Life::Hook => poll_hook::<A, _>(cell, A::stopped, cx).map(Ok),
            _ if cell.mailbox().busy.get() => Direct::<A>::go_on(cell, cx),
            _ => Direct::<A>::handle(cell, cell.slot().cast::<A::Msg>().read(), cx),
        }
    }
}

/// # Safety
/// As [`poll`]; if a future is live, it is an `F`.
#[inline(always)]
unsafe fn poll_hook<A: Actor, F: Future>(
    cell: CellPtr,
    hook: fn(&'static mut A, &'static mut crate::Context<'static, A>) -> F,
    cx: &mut task::Context<'_>,
) -> Poll<F::Output> {
    // SAFETY: as the caller promises; if no future is live, none borrows the actor or the context, and the slot is empty.
    unsafe {
        if cell.mailbox().busy.get() {
            go_on::<F>(cell, cx)
        } else {
            let hook = hook(&mut *cell.actor::<A>(), &mut *cell.context::<A>());
            begin(cell, hook, cx)
        }
    }
}

/// Is the time of the message in the slot over?
///
/// # Safety
/// The caller is the runner of `cell`, which is a cell of `A`; a message is in its slot.
pub(crate) unsafe fn has_late<A: Actor>(cell: CellPtr) -> bool {
    // SAFETY: as the caller promises.
    unsafe { Direct::<A>::is_late(cell, &*cell.slot().cast::<A::Msg>()) }
}

/// Puts a future into the slot and polls it.
///
/// # Safety
/// The ticket is held and the slot is empty.
#[inline(always)]
unsafe fn begin<F: Future>(
    cell: CellPtr,
    future: F,
    cx: &mut task::Context<'_>,
) -> Poll<F::Output> {
    let slot = cell.slot().cast::<F>();
    // SAFETY: the slot is large enough for every future of the actor, and empty.
    unsafe { slot.write(future) };
    // After the write: a panic in making the future leaves the slot empty.
    cell.mailbox().busy.set(true);
    // SAFETY: just written.
    unsafe { go_on::<F>(cell, cx) }
}

/// Polls the future in the slot, and drops it when it is done.
///
/// # Safety
/// The ticket is held and the slot holds an `F`.
#[inline(always)]
unsafe fn go_on<F: Future>(cell: CellPtr, cx: &mut task::Context<'_>) -> Poll<F::Output> {
    let slot = cell.slot().cast::<F>();
    // SAFETY: the future stays in the slot until it is dropped, so it is pinned.
    let poll = unsafe { Pin::new_unchecked(&mut *slot).poll(cx) };
    if poll.is_ready() {
        // Before the drop: a panic in it must not drop twice.
        cell.mailbox().busy.set(false);
        // SAFETY: live until here.
        unsafe { ptr::drop_in_place(slot) };
    }
    poll
}

type Go<O> = unsafe fn(CellPtr, &mut task::Context<'_>) -> Poll<O>;

/// The functions that poll and drop `handle`'s future, whose type has no name.
fn of_handle<A: Actor, F: Future>(
    _: fn(&'static mut A, A::Msg, &'static mut crate::Context<'static, A>) -> F,
) -> (Go<F::Output>, unsafe fn(*mut u8)) {
    (go_on::<F>, drop_slot::<F>)
}

/// The one that drops a hook's.
fn of_hook<A: Actor, F: Future>(
    _: fn(&'static mut A, &'static mut crate::Context<'static, A>) -> F,
) -> unsafe fn(*mut u8) {
    drop_slot::<F>
}

/// # Safety
/// `slot` holds an `F`.
unsafe fn drop_slot<F>(slot: *mut u8) {
    // SAFETY: as the caller promises.
    unsafe { ptr::drop_in_place(slot.cast::<F>()) }
}

/// Drops the live future, whichever it is.
///
/// # Safety
/// The caller is the runner of `cell`, which is a cell of `A`; the slot holds a live future.
pub(crate) unsafe fn drop_future<A: Actor>(cell: CellPtr) {
    let (_, handle) = of_handle::<A, _>(A::handle);
    let drop = match cell.mailbox().life.get() {
        Life::Starting => of_hook::<A, _>(A::started),
        Life::Restarting if SUPERVISION => of_hook::<A, _>(A::restarting),
        Life::Hook => of_hook::<A, _>(A::stopped),
        _ => handle,
    };
    // SAFETY: the life says which future it is.
    unsafe { drop(cell.slot()) };
}
