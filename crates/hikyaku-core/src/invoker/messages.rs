//! Where the next message comes from, and the loop that handles one after the other.
//!
//! ```text
//!   held ────────────────┐
//!   due: timers, pipes ──┤
//!   control messages ────┼──► deadline ──► middleware ──► handler
//!   unstashed ───────────┤
//!   the ends of others ──┤
//!   the mailbox ─────────┘
//! ```
//!
//! An actor that has nothing but a mailbox takes the short way: one flag says so. Where all actors share one loop, what
//! looks further is brought by who gives an actor more than a mailbox: its agenda, or a deadline ([`Beyond`]).

use super::reach::{Any, Message, Reach};
use super::{Activation, Flow, Outcome, after_handler, again, attend_agenda, drained, pause};
use crate::agenda::Diary;
use crate::cell::CellPtr;
use crate::flow::FLOW;
use crate::mailbox::{self, BY_TABLE, Drain, Known, rare};
use crate::middleware::{self, Admission, MessageOutcome};
use crate::stash::Stash;
use core::task::{self, Poll};
use core::time::Duration;

/// Handles messages until the budget is spent, the mailbox is empty or something else is to do.
///
/// # Safety
/// As [`run`]; the actor is there and no future is live.
#[inline(always)]
pub(super) unsafe fn messages<R: Reach>(
    cell: CellPtr,
    activation: &mut Activation<'_>,
    cx: &mut task::Context<'_>,
) -> Flow {
    let state = cell.mailbox();
    // SAFETY: the ticket is held, and the drain is dropped or empty before it is given away.
    let mut drain = unsafe { Drain::<R::Known>::new(cell) };
    let mut first = drain.first();
    loop {
        let msg = if state.rare.get() & rare::BEYOND == 0 {
            let message = match first.take() {
                Some(message) => message,
                None if !drain.has_next() => {
                    // SAFETY: the ticket is held.
                    return unsafe { drained::<R::Known>(cell, activation) };
                }
                // After the look at the queue: whoever gave an order and sent a message then finds it heeded.
                None if state.task.attention() && activation.is_ordered(cell) => {
                    return ordered(activation);
                }
                None => match drain.next() {
                    Some(message) => message,
                    None => continue,
                },
            };
            // SAFETY: the ticket is held.
            unsafe { in_time::<R>(cell, message) }
        } else {
            // SAFETY: the ticket is held.
            let next = unsafe {
                // Where it is compiled for the type, the compiler is to know that it is cold.
                if BY_TABLE {
                    R::search(cell, &mut first, &mut drain, activation)
                } else {
                    next_of_all::<R, true>(cell, &mut first, &mut drain, activation)
                }
            };
            match next {
                Next::Message(message) => Some(message),
                Next::Gone => None,
                Next::Ordered => return ordered(activation),
                // SAFETY: the ticket is held.
                Next::Nothing => return unsafe { drained::<R::Known>(cell, activation) },
            }
        };
        if let Some(msg) = msg {
            activation.handled += 1;
            // SAFETY: the actor is there, no future is live, and the first message was moved out.
            match unsafe { R::handle(cell, msg, cx) } {
                Poll::Ready(Ok(())) => {}
                poll => {
                    drop(drain);
                    // SAFETY: the ticket is held.
                    return unsafe { after_handler(cell, poll, activation) };
                }
            }
        } else {
            activation.charge(1);
        }
        if activation.is_spent() {
            drop(drain);
            // SAFETY: the ticket is held.
            unsafe { pause(cell) };
            return Flow::Over(Outcome::Yielded);
        }
    }
}

/// An order comes before the messages. Orders without end leave others their turn.
#[cold]
fn ordered(activation: &mut Activation<'_>) -> Flow {
    activation.charge(1);
    again(activation)
}

/// What is done for an actor that has more than a mailbox. Only who gives it more links it.
pub(crate) struct Beyond {
    /// Finds the next message, where there is one loop for all actors.
    pub(super) next: Option<Search<Any>>,
    /// Does what is on the agenda.
    pub(super) attend: unsafe fn(CellPtr, &mut Activation<'_>),
}

/// Finds the next message of an actor that has more than a mailbox.
pub(super) type Search<R> = unsafe fn(
    CellPtr,
    &mut Option<Message<R>>,
    &mut Drain<<R as Reach>::Known>,
    &Activation<'_>,
) -> Next<Message<R>>;

impl Beyond {
    const fn of<const SIGNALS: bool>() -> &'static Self {
        const {
            &Self {
                next: if BY_TABLE {
                    Some(next_of_all::<Any, SIGNALS>)
                } else {
                    None
                },
                attend: attend_agenda,
            }
        }
    }
}

/// The actor has more than a mailbox: see [`rare`].
///
/// # Safety
/// The ticket is held.
pub(crate) unsafe fn look_beyond(cell: CellPtr, note: u8) {
    // SAFETY: the ticket is held.
    let beyond = unsafe { &mut cell.cold().beyond };
    beyond.get_or_insert(Beyond::of::<false>());
    cell.mailbox().note(note);
}

/// There may be signals, too.
///
/// # Safety
/// The ticket is held.
pub(crate) unsafe fn look_for_signals(cell: CellPtr) {
    // SAFETY: the ticket is held.
    unsafe { cell.cold() }.beyond = Some(Beyond::of::<true>());
}

/// What a step of the message loop finds.
pub(super) enum Next<M> {
    Message(M),
    /// There was one, and it is not handled now.
    Gone,
    /// An order comes before it.
    Ordered,
    Nothing,
}

/// A message, unless its time is over.
///
/// # Safety
/// As [`messages`].
#[inline(always)]
unsafe fn in_time<R: Reach>(cell: CellPtr, message: Message<R>) -> Option<Message<R>> {
    // SAFETY: the ticket is held.
    let late = unsafe { R::is_late(cell, &message) };
    (!late).then_some(message)
}

/// The next message of an actor that has more than a mailbox. `SIGNALS`: it may have watched others.
///
/// # Safety
/// As [`messages`].
#[cold]
pub(super) unsafe fn next_of_all<R: Reach, const SIGNALS: bool>(
    cell: CellPtr,
    first: &mut Option<Message<R>>,
    drain: &mut Drain<R::Known>,
    activation: &Activation<'_>,
) -> Next<Message<R>> {
    let state = cell.mailbox();
    // By the table there is no first message apart from the others.
    let first = if BY_TABLE { &mut None } else { first };
    let has_extra = FLOW && state.rare.get() & rare::EXTRA != 0;
    // SAFETY: the ticket is held.
    unsafe {
        if has_extra {
            middleware::after(cell, MessageOutcome::Ok);
        }
        if state.task.attention() && activation.is_ordered(cell) {
            // Before a tick is taken: it must not outlive its timer.
            if let Some(first) = first.take() {
                drain.put_back(first);
            }
            return Next::Ordered;
        }
        let next = match from_all::<_, SIGNALS>(cell, first, drain) {
            Next::Message(message) => in_time::<R>(cell, message),
            next => return next,
        };
        match next {
            None => Next::Gone,
            Some(message) if has_extra => match middleware::before(cell, message) {
                Admission::Pass(message) => Next::Message(message),
                Admission::Dealt => Next::Gone,
            },
            Some(message) => Next::Message(message),
        }
    }
}

/// The next message of all there are, wherever it comes from.
///
/// # Safety
/// As [`messages`].
unsafe fn from_all<K: Known, const SIGNALS: bool>(
    cell: CellPtr,
    first: &mut Option<K::Message>,
    drain: &mut Drain<K>,
) -> Next<K::Message> {
    let state = cell.mailbox();
    let notes = state.rare.get();
    if notes & rare::DEADLINE != 0 {
        // SAFETY: the ticket is held.
        unsafe { cell.cold() }.deadline = None;
        state.rare.set(notes & !rare::DEADLINE);
    }
    // SAFETY: the ticket is held.
    if let Some(diary) = unsafe { cell.diary() } {
        diary.handled();
    }
    // SAFETY: the ticket is held.
    let annex = unsafe { mailbox::annex_of::<K::Message>(cell) };
    if notes & (rare::DUE | rare::SIGNALS | rare::EXTRA) != 0
        && let Some(first) = first.take()
    {
        // The handler's future may need the place that it came from.
        drain.put_back(first);
    }
    if FLOW
        && notes & rare::EXTRA != 0
        // SAFETY: the ticket is held.
        && let Some(message) = unsafe { Stash::held(cell) }
    {
        // SAFETY: a message of the actor.
        unsafe { meet::<K>(cell, &message) };
        return Next::Message(message);
    }
    if notes & rare::DUE != 0 {
        // SAFETY: the ticket is held, and the first message was put back.
        let due = unsafe { from_diary::<K>(cell, |diary, place| diary.next(None, place)) };
        if let Some(message) = due {
            return Next::Message(message);
        }
        state.rare.set(state.rare.get() & !rare::DUE);
    }
    let control = annex.and_then(|annex| annex.next_control(cell));
    if FLOW
        && notes & rare::EXTRA != 0
        && control.is_none()
        // SAFETY: the ticket is held.
        && let Some(message) = unsafe { Stash::next(cell) }
    {
        // SAFETY: a message of the actor.
        unsafe { meet::<K>(cell, &message) };
        return Next::Message(message);
    }
    if SIGNALS && notes & rare::SIGNALS != 0 && control.is_none() {
        let mark = match annex {
            None => drain.mark(),
            // SAFETY: the ticket is held.
            Some(annex) => unsafe { annex.mark(cell) },
        };
        // SAFETY: likewise.
        let signal = unsafe { from_diary::<K>(cell, |diary, place| diary.next(Some(mark), place)) };
        if let Some(message) = signal {
            return Next::Message(message);
        }
    }
    let message = match control.or_else(|| first.take()) {
        Some(message) => message,
        // SAFETY: as the caller promises.
        None => match unsafe { from_queue::<_, SIGNALS>(cell, drain) } {
            Next::Message(message) => message,
            other => return other,
        },
    };
    // SAFETY: the ticket is held, and it is a message of the actor.
    unsafe {
        if annex.is_some() && state.task.is_urgent() {
            // Not back to the queue: signals know the places there.
            Stash::hold(cell, message);
            return Next::Ordered;
        }
        meet::<K>(cell, &message);
    }
    Next::Message(message)
}

/// What the agenda hands over.
///
/// # Safety
/// As [`messages`]; no message of the cell is out.
unsafe fn from_diary<K: Known>(
    cell: CellPtr,
    next: impl FnOnce(&mut dyn Diary, *mut ()) -> bool,
) -> Option<K::Message> {
    // SAFETY: the ticket is held, and the agenda was made for the actor's messages.
    unsafe {
        K::receive(cell, |place| {
            cell.diary().is_some_and(|diary| next(diary, place))
        })
    }
}

/// The next message of those that have their turn one after the other.
///
/// # Safety
/// As [`messages`].
unsafe fn from_queue<K: Known, const SIGNALS: bool>(
    cell: CellPtr,
    drain: &mut Drain<K>,
) -> Next<K::Message> {
    let state = cell.mailbox();
    // SAFETY: the ticket is held.
    let next = match unsafe { mailbox::annex_of::<K::Message>(cell) } {
        // Not for the agenda's sake: it has just had its turn.
        None if drain.has_next() && state.task.is_urgent() => return Next::Ordered,
        None => drain.next_with_spot(),
        // SAFETY: the ticket is held.
        Some(annex) => unsafe { annex.next_user(cell) },
    };
    let Some((message, spot)) = next else {
        return Next::Nothing;
    };
    if SIGNALS
        && state.rare.get() & rare::SIGNALS != 0
        // SAFETY: the ticket is held.
        && unsafe { cell.diary() }.is_some_and(|diary| diary.passed(spot))
    {
        state.rare.set(state.rare.get() & !rare::SIGNALS);
    }
    Next::Message(message)
}

/// The agenda hears of a message that is about to be handled.
///
/// # Safety
/// The ticket is held, and it is a message of the cell's, known so.
unsafe fn meet<K: Known>(cell: CellPtr, message: &K::Message) {
    // SAFETY: as the caller promises.
    unsafe {
        if let Some(diary) = cell.diary() {
            diary.meet(K::place(message));
        }
    }
}

/// Is it too late for a message? If not, its deadline is the actor's while it is in hand.
///
/// # Safety
/// As [`messages`].
pub(super) unsafe fn is_late(cell: CellPtr, deadline: Duration) -> bool {
    let shared = &cell.home().shared;
    let Some(time) = &shared.time else {
        return false;
    };
    if time.now() >= deadline {
        shared.one_expired();
        return true;
    }
    // SAFETY: the ticket is held.
    unsafe {
        cell.cold().deadline = Some(deadline);
        look_beyond(cell, rare::DEADLINE);
    }
    false
}
