//! What becomes of an actor that has failed, and of its kin.
//!
//! ```text
//!                   ┌──────────── resume ──────────┐
//!                   ▼                              │
//!   Starting ──► Ready ── failure ───────────► Faulted ── told to end ──► Stopping
//!      ▲            │    (also of Starting)        │
//!      │            └── for a sibling's sake ──┐   │ restart
//!      │                                       ▼   ▼
//!    Fresh ◄── children gone ── Clearing ◄── Restarting
//!              actor dropped
//! ```
//!
//! The supervisor writes a letter for a restart. Each carries a number; a failure is sent with the number of
//! the last restart that the child has been through, so the supervisor knows one that it has dealt with
//! already. What comes late, a timer or an order, finds nothing to do, because times and marks are
//! those of one incarnation.

use super::Ending;
use super::end::drop_live_future;
use super::kin::{dismiss, family_of, line_up, told};
use crate::cell::{Awaited, CellPtr, Turn};
use crate::failure::Failure;
use crate::mailbox::{Letter, Life, Marks, rare};
use crate::middleware::{self, MessageOutcome};
use crate::state::Orders;
use crate::supervision::{Backoff, RestartPolicy, SUPERVISION, SupervisionStrategy, Verdict};
use crate::sync;
use core::time::Duration;

/// Forgets the failure of the actor that was there before.
///
/// # Safety
/// The ticket is held.
pub(super) unsafe fn forgive(cell: CellPtr) {
    // Without a supervisor none comes after it.
    if SUPERVISION
        && cell
            .cold_if_any()
            .is_some_and(|cold| cold.failure.is_some())
    {
        // SAFETY: the ticket is held.
        unsafe { cell.cold() }.failure = None;
    }
}

/// A handler, a hook or the factory failed: the supervisor is asked, or the actor ends.
///
/// # Safety
/// The ticket is held.
#[cold]
pub(super) unsafe fn fail(cell: CellPtr, error: Failure) {
    let state = cell.mailbox();
    let life = state.life.get();
    let error = match life {
        Life::Fresh | Life::Starting => error.at_start(),
        _ => error,
    };
    // SAFETY: the ticket is held.
    unsafe {
        middleware::after(cell, MessageOutcome::of(&error));
        drop_failed_future(cell);
        let cold = cell.cold();
        if !is_ill(cell) && (cold.failure.is_none() || life < Life::Stopping) {
            cold.failure = Some(error.clone());
        }
    }
    if !error.is_exit() {
        cell.home().shared.report_failure(cell, &error);
    }
    let told_to_end = state.ending.get() >= Ending::Stop;
    let is_told = match life {
        Life::Hook | Life::Dead => {
            state.life.set(Life::Dead);
            error.is_fatal()
        }
        Life::Stopping => error.is_fatal(),
        // The hook before a restart has failed: it is restarted all the same.
        Life::Faulted | Life::Restarting | Life::Clearing => told_to_end && error.is_fatal(),
        Life::Fresh | Life::Starting | Life::Ready if told_to_end => {
            state.life.set(Life::Stopping);
            error.is_fatal()
        }
        Life::Fresh | Life::Starting | Life::Ready => {
            // Without a supervisor, whoever has failed ends.
            state.life.set(if SUPERVISION {
                Life::Faulted
            } else {
                Life::Stopping
            });
            // SAFETY: the ticket is held.
            unsafe { hold_children(cell, true) };
            true
        }
    };
    if is_told {
        // SAFETY: the ticket is held.
        unsafe { tell_supervisor(cell, &error) };
    }
}

/// # Safety
/// The ticket is held.
unsafe fn tell_supervisor(cell: CellPtr, failure: &Failure) {
    if !SUPERVISION {
        stop_here(cell);
        if failure.is_fatal() {
            let home = cell.home();
            home.shared.escalate(home, failure);
        }
        return;
    }
    // SAFETY: the ticket is held.
    unsafe {
        match cell.kin() {
            None => supervise_self(cell, failure),
            Some(kin) => (kin.family.failed)(cell, failure),
        }
    }
}

/// A child has failed, and waits.
///
/// # Safety
/// The ticket is held.
pub(super) unsafe fn tell_parent(cell: CellPtr, failure: &Failure) {
    let Some(parent) = cell.parent().filter(|_| SUPERVISION) else {
        return;
    };
    // SAFETY: the ticket is held; a parent ends after its children.
    unsafe {
        let failed = ChildFailed {
            child: cell,
            failure: failure.clone(),
            number: cell.cold().restarted,
        };
        let queued = write_to(parent, failed);
        debug_assert!(queued, "a parent ends after its children");
    }
}

/// It is to fail with this, with its next step.
///
/// # Safety
/// The ticket is held.
pub(crate) unsafe fn fail_with(cell: CellPtr, failure: Failure) {
    // SAFETY: the ticket is held.
    let fault = unsafe { &mut cell.cold().fault };
    // One that nobody may deal with is not forgotten over another.
    if !fault.as_ref().is_some_and(Failure::is_fatal) {
        *fault = Some(failure);
    }
    cell.mailbox().marks.set(Marks::FAULT);
}

/// What the actor is to fail with although no handler of its own did.
///
/// # Safety
/// The ticket is held.
pub(super) unsafe fn fault(cell: CellPtr) -> Option<Failure> {
    let state = cell.mailbox();
    let life = state.life.get();
    if state.marks.has(Marks::FAULT) && matches!(life, Life::Starting | Life::Ready) {
        state.marks.clear(Marks::FAULT);
        // SAFETY: the ticket is held.
        return unsafe { cell.cold() }.fault.take();
    }
    if SUPERVISION && state.marks.has(Marks::EXIT) && life == Life::Ready && !state.busy.get() {
        state.marks.clear(Marks::EXIT);
        return Some(Failure::exit());
    }
    None
}

/// The parent says whether it holds its children; whoever is held holds its own.
///
/// # Safety
/// The ticket is held.
pub(super) unsafe fn look_at_parent(cell: CellPtr) {
    let state = cell.mailbox();
    let held = cell
        .parent()
        .is_some_and(|parent| parent.mailbox().task.is_holding());
    let notes = state.rare.get() & !rare::HELD;
    state
        .rare
        .set(if held { notes | rare::HELD } else { notes });
    // SAFETY: the ticket is held.
    unsafe { hold_children(cell, held || is_ill(cell)) };
}

/// Has the actor failed, and is not yet what it was?
pub(super) fn is_ill(cell: CellPtr) -> bool {
    let life = cell.mailbox().life.get();
    SUPERVISION && matches!(life, Life::Faulted | Life::Restarting | Life::Clearing)
}

/// Holds the children, if there may be any, or lets them go. True if it was otherwise.
///
/// # Safety
/// The ticket is held.
unsafe fn hold_children(cell: CellPtr, hold: bool) -> bool {
    // SAFETY: the ticket is held.
    SUPERVISION && family_of(cell).is_some_and(|family| unsafe { (family.hold)(cell, hold) })
}

/// The children are told to end; some have to handle what they have first. Those whose failures were
/// taken over end now: others may be waiting for their answers.
///
/// # Safety
/// The ticket is held.
pub(super) unsafe fn let_go(cell: CellPtr) {
    // SAFETY: the ticket is held.
    unsafe {
        if hold_children(cell, false) {
            settle(cell, Orders::STOP);
        }
    }
}

/// A failure is over.
///
/// # Safety
/// The ticket is held.
unsafe fn well_again(cell: CellPtr) {
    // SAFETY: the ticket is held.
    unsafe {
        cell.cold().failure = None;
        hold_children(cell, cell.mailbox().rare.get() & rare::HELD != 0);
        // What is good enough for the parent is for the children whose failures it took over.
        settle(cell, Orders::RESUME);
    }
}

/// Gives an order to the children whose failures the actor has taken over.
///
/// # Safety
/// The ticket is held.
unsafe fn settle(cell: CellPtr, orders: Orders) {
    if let Some(family) = family_of(cell) {
        // SAFETY: the ticket is held.
        unsafe { (family.settle)(cell, orders) };
    }
}

/// The supervisor says that the actor goes on.
///
/// # Safety
/// The ticket is held, and the actor has failed.
pub(super) unsafe fn resume_after_failure(cell: CellPtr) {
    let state = cell.mailbox();
    if state.marks.has(Marks::SOUND) {
        // SAFETY: the ticket is held.
        unsafe { well_again(cell) };
        state.life.set(Life::Ready);
    } else {
        // It has never started, so there is nothing that could go on.
        stop_here(cell);
    }
}

/// Ends admission, and the actor with its next step. *Runner.*
fn stop_here(cell: CellPtr) {
    let state = cell.mailbox();
    state.ending.set(state.ending.get().max(Ending::Stop));
    // The ticket is held, so there is nothing to schedule.
    let _noted = state.word.signal(true);
}

/// A child has failed, and waits for its supervisor.
pub(super) struct ChildFailed {
    child: CellPtr,
    failure: Failure,
    /// The number of the last restart that it has been through.
    number: u32,
}

impl Letter for ChildFailed {
    unsafe fn read(self, cell: CellPtr) {
        // SAFETY: the ticket is held, and a child that has written is not yet buried.
        unsafe { supervise(cell, &self) };
    }
}

/// To begin anew. The supervisor has decided so.
#[derive(Clone, Copy)]
pub(crate) struct Restart {
    /// Counts what the supervisor has told the child.
    pub(super) number: u32,
    pub(super) after: Duration,
    /// How long the handler in flight has by then.
    pub(super) patience: Duration,
    /// Others are restarted with it: it starts when it is told that it may.
    pub(super) in_turn: bool,
}

impl Letter for Restart {
    unsafe fn read(self, cell: CellPtr) {
        // SAFETY: the ticket is held.
        unsafe { restart_later(cell, self) };
    }
}

/// A restart was decided on. One that is awaited already is meant as well, and the later moment counts.
///
/// # Safety
/// The ticket is held.
unsafe fn restart_later(cell: CellPtr, restart: Restart) {
    if cell.mailbox().life.get() >= Life::Stopping {
        return;
    }
    // SAFETY: the ticket is held.
    unsafe { cell.cold() }.turn = restart.in_turn.then_some(Turn {
        number: restart.number,
        has_come: false,
    });
    if cell.mailbox().life.get() == Life::Fresh {
        // It begins with the next step, or when its turn has come.
        // SAFETY: the ticket is held.
        unsafe { cell.cold() }.restarted = restart.number;
        return;
    }
    let shared = &cell.home().shared;
    let at = shared.now().saturating_add(restart.after);
    // SAFETY: the ticket is held.
    let cold = unsafe { cell.cold() };
    cold.look = Some(look);
    let awaited = &mut cold.restart;
    *awaited = Some(Awaited {
        number: restart.number,
        at: awaited.map_or(at, |awaited| awaited.at.max(at)),
        patience: restart.patience,
    });
    if restart.after.is_zero() || !shared.order_at(at, cell, Orders::RESTART) {
        if !restart.after.is_zero() {
            // There is no timer: at once.
            awaited
                .iter_mut()
                .for_each(|awaited| awaited.at = Duration::ZERO);
        }
        // SAFETY: the ticket is held.
        unsafe { look_at_restart(cell) };
    }
}

/// The time may have come that the actor waits for.
///
/// # Safety
/// The ticket is held.
unsafe fn look(cell: CellPtr, orders: Orders) {
    // SAFETY: the ticket is held.
    unsafe {
        if orders.has(Orders::RESTART) {
            look_at_restart(cell);
        }
        if orders.has(Orders::HURRY) {
            look_at_handler(cell);
        }
    }
}

/// Has the time of a restart come?
///
/// # Safety
/// The ticket is held.
unsafe fn look_at_restart(cell: CellPtr) {
    let state = cell.mailbox();
    // SAFETY: the ticket is held.
    let Some(awaited) = (unsafe { cell.cold() }).restart else {
        return;
    };
    let here = matches!(
        state.life.get(),
        Life::Starting | Life::Ready | Life::Faulted
    );
    let due = awaited.at <= cell.home().shared.now();
    if here && due && !state.marks.has(Marks::RESTART) {
        state.marks.set(Marks::RESTART);
        // SAFETY: the ticket is held.
        unsafe { hurry(cell, awaited.patience) };
    }
}

/// A restart or a stop waits for the handler in flight, if there is one: not longer than this.
///
/// # Safety
/// The ticket is held.
unsafe fn hurry(cell: CellPtr, patience: Duration) {
    if !cell.mailbox().busy.get() {
        return;
    }
    let shared = &cell.home().shared;
    let at = shared.now().saturating_add(patience);
    let set = !patience.is_zero() && shared.order_at(at, cell, Orders::HURRY);
    // SAFETY: the ticket is held.
    unsafe {
        let cold = cell.cold();
        cold.look = Some(look);
        cold.hurry = Some(if set { at } else { Duration::ZERO });
        if !set {
            // Looked at once more, when the order that it belongs to has been read.
            cell.order(Orders::HURRY, false);
        }
    }
}

/// The supervisor has ordered a stop: the handler in flight has so long.
pub(super) struct Hurry(pub(super) Duration);

impl Letter for Hurry {
    unsafe fn read(self, cell: CellPtr) {
        // SAFETY: the ticket is held.
        unsafe {
            let cold = cell.cold();
            cold.patience = Some(self.0);
            // The child that is leaving hears it too.
            cold.leaving = None;
            if cell.mailbox().life.get() < Life::Stopping {
                hurry(cell, self.0);
            }
        }
    }
}

/// Is the time over for the handler in flight, that a restart or a stop waits for?
///
/// # Safety
/// The ticket is held.
unsafe fn look_at_handler(cell: CellPtr) {
    let state = cell.mailbox();
    let life = state.life.get();
    // SAFETY: the ticket is held.
    let over = (unsafe { cell.cold() }.hurry).is_some_and(|at| at <= cell.home().shared.now());
    let awaited = state.marks.has(Marks::RESTART) || state.ending.get() >= Ending::Stop;
    if over && awaited && state.busy.get() && matches!(life, Life::Starting | Life::Ready) {
        // SAFETY: the ticket is held.
        unsafe { drop_failed_future(cell) };
        if life == Life::Starting {
            state.life.set(Life::Faulted);
        }
    }
}

/// The old actor goes; the next step makes the new one.
///
/// # Safety
/// The ticket is held, and no future is live.
pub(super) unsafe fn begin_anew(cell: CellPtr) {
    let state = cell.mailbox();
    if !state.marks.has(Marks::VACANT) {
        state.marks.set(Marks::VACANT);
        state.marks.set(Marks::FAILING);
        // SAFETY: the actor was there until here.
        sync::quietly(|| unsafe { (cell.vtable().drop_actor)(cell) });
    }
    // What was meant for the old one.
    let old = Marks::SOUND | Marks::RESTART | Marks::EXIT | Marks::FAILING;
    state.marks.clear(old);
    // SAFETY: the ticket is held.
    let cold = unsafe { cell.cold() };
    if !cold.fault.as_ref().is_some_and(Failure::is_fatal) {
        cold.fault = None;
        state.marks.clear(Marks::FAULT);
    }
    cold.hurry = None;
    if let Some(awaited) = cold.restart.take() {
        cold.restarted = awaited.number;
    }
    state.life.set(Life::Fresh);
    // SAFETY: the ticket is held.
    unsafe { hold_children(cell, state.rare.get() & rare::HELD != 0) };
    cell.home().shared.one_restarted(cell);
}

/// Decides about a child, and has it done.
///
/// # Safety
/// The ticket of `cell` is held; the child is one of its children, and not yet buried.
unsafe fn supervise(cell: CellPtr, failed: &ChildFailed) {
    let state = cell.mailbox();
    let ChildFailed { child, failure, .. } = failed;
    let child = *child;
    if state.life.get() >= Life::Stopping {
        // Others that end now may be waiting for its answers.
        child.order(Orders::STOP, true);
        if failure.is_fatal() {
            // SAFETY: the ticket is held.
            unsafe { tell_supervisor(cell, &failure.clone().taken_over()) };
        }
        return;
    }
    // SAFETY: the ticket is held.
    let supervision = unsafe { cell.cold() }.supervision.clone();
    let supervision = supervision.unwrap_or_default();
    let Some(kin) = child.kin() else {
        return;
    };
    if kin.recall(|tally| tally.told) != failed.number && !failure.is_fatal() {
        // It failed before it heard what becomes of it because of another one.
        return;
    }
    let policy = child.policy();
    let shared = &cell.home().shared;
    let (verdict, after) = kin.note(|tally| {
        let now = shared.nanos();
        let verdict = supervision.judge(policy, failure, || supervision.one_more(tally, now));
        tally.escalated |= verdict == Verdict::Escalate && !is_ill(cell);
        let after = match verdict {
            Verdict::Restart => supervision.wait(tally, now, salt(child)),
            _ => Duration::ZERO,
        };
        (verdict, after)
    });
    // A temporary child comes and goes alone.
    let strategy = if policy == RestartPolicy::Temporary {
        SupervisionStrategy::OneForOne
    } else {
        supervision.strategy
    };
    match verdict {
        Verdict::Resume => child.order(Orders::RESUME, false),
        // SAFETY: the ticket is held.
        Verdict::Restart => unsafe {
            restart_affected(cell, child, strategy, after, supervision.patience);
        },
        Verdict::Stop => for_affected(cell, child, strategy, |other| {
            told(other);
            if other != child {
                // SAFETY: the ticket is held.
                dismiss(unsafe { cell.cold() }, other);
            }
            other.order(Orders::STOP, true);
        }),
        Verdict::Escalate | Verdict::GiveUp => {
            // One that has failed itself waits for its own supervisor, who need not hear of two.
            if verdict == Verdict::GiveUp || is_ill(cell) {
                child.order(Orders::STOP, true);
            }
            if !is_ill(cell) || failure.is_fatal() {
                // SAFETY: the ticket is held.
                unsafe { fail_with(cell, failure.clone().taken_over()) };
            }
        }
    }
}

/// Has a child made anew, and those that share its fate, in the order of their first start.
///
/// # Safety
/// As [`supervise`].
unsafe fn restart_affected(
    cell: CellPtr,
    child: CellPtr,
    strategy: SupervisionStrategy,
    after: Duration,
    patience: Duration,
) {
    let in_turn = strategy != SupervisionStrategy::OneForOne;
    for_affected(cell, child, strategy, |other| {
        // SAFETY: the ticket is held.
        unsafe {
            let number = told(other);
            if other.policy() == RestartPolicy::Temporary {
                dismiss(cell.cold(), other);
                other.order(Orders::STOP, true);
                return;
            }
            let restart = Restart {
                number,
                after,
                patience,
                in_turn,
            };
            write_to(other, restart);
            if let Some(kin) = other.kin().filter(|_| in_turn) {
                kin.note(|tally| tally.in_procession = true);
            }
        }
    });
    if in_turn {
        // SAFETY: the ticket is held.
        unsafe { line_up(cell) };
    }
}

/// Puts a letter into another actor's lane; if it has ended, the letter is dropped.
///
/// # Safety
/// The caller keeps the memory of `cell`.
pub(super) unsafe fn write_to<L: Letter>(cell: CellPtr, letter: L) -> bool {
    let letter = letter.seal();
    // SAFETY: the letter is ours until it is queued.
    let queued = unsafe { cell.mailbox().system.push(letter) };
    if queued {
        cell.order(Orders::LANE, false);
    } else {
        // SAFETY: refused, so it is still ours.
        drop(unsafe { L::open(letter) });
    }
    queued
}

/// Calls `each` with the children that share the fate of one, the oldest last.
fn for_affected(
    cell: CellPtr,
    failed: CellPtr,
    strategy: SupervisionStrategy,
    mut each: impl FnMut(CellPtr),
) {
    if strategy == SupervisionStrategy::OneForOne {
        return each(failed);
    }
    for child in cell.children() {
        each(child);
        if strategy == SupervisionStrategy::RestForOne && child == failed {
            break;
        }
    }
}

/// An actor without a parent has failed: the system's own supervision decides.
///
/// # Safety
/// The ticket is held.
unsafe fn supervise_self(cell: CellPtr, failure: &Failure) {
    let shared = &cell.home().shared;
    let guardian = shared.guardian.as_deref();
    let guardian = guardian.expect("there is supervision");
    let now = shared.nanos();
    let verdict = guardian.judge(cell.policy(), failure, || {
        // SAFETY: the ticket is held.
        let tally = unsafe { &mut cell.cold().tally };
        let tally = tally.get_or_insert_default();
        guardian.one_more(tally, now)
    });
    match verdict {
        Verdict::Resume => {
            // SAFETY: the ticket is held.
            unsafe { resume_after_failure(cell) };
        }
        Verdict::Restart => match &guardian.backoff {
            None => cell.mailbox().marks.set(Marks::RESTART),
            // SAFETY: the ticket is held.
            Some(by) => unsafe { (by.later)(&by.backoff, cell, now) },
        },
        Verdict::Stop | Verdict::Escalate | Verdict::GiveUp => {
            stop_here(cell);
            if verdict != Verdict::Stop {
                shared.escalate(cell.home(), failure);
            }
        }
    }
}

/// Waits before the restart of an actor without a parent.
///
/// # Safety
/// The ticket is held, and the actor has failed.
pub(crate) unsafe fn restart_after_wait(backoff: &Backoff, cell: CellPtr, now: u64) {
    // SAFETY: the ticket is held.
    unsafe {
        let tally = cell.cold().tally.get_or_insert_default();
        let restart = Restart {
            number: 0,
            after: backoff.wait(tally, now, salt(cell)),
            patience: Duration::ZERO,
            in_turn: false,
        };
        restart_later(cell, restart);
    }
}

/// Where the waiting of one actor begins to differ from that of others.
fn salt(cell: CellPtr) -> u64 {
    cell.index().slot.into()
}

/// As [`drop_live_future`], of an actor that has failed or is restarted.
///
/// # Safety
/// The ticket is held.
pub(super) unsafe fn drop_failed_future(cell: CellPtr) {
    let marks = &cell.mailbox().marks;
    marks.set(Marks::FAILING);
    // SAFETY: the ticket is held.
    unsafe { drop_live_future(cell) };
    marks.clear(Marks::FAILING);
}
