//! An actor's children: who starts when, whose end matters to it, and what is done by request.
//!
//! Children that are restarted together form a procession, the oldest first. The supervisor tells the first one that
//! its turn has come; when that has started or ended, the next. One that waits for its turn is down, and ends at once
//! when it is told to.
//!
//! ```text
//!   supervisor:  Restart to each ── Turn to the first ──────────── Turn to the next ──►
//!                                        │                              ▲
//!   child:       made vacant, waits ─────┴─► Fresh ─► has started ── Started, or its end
//! ```
//!
//! All of it is done by the runner of the supervisor, or of the child, as each function says.

use super::Ending;
use super::fate::{Hurry, Restart, is_ill, look_at_parent, tell_parent, write_to};
use crate::cell::{CellPtr, Cold, Kin};
use crate::failure::Failure;
use crate::mailbox::{Farewell, Letter, Life, Marks, SystemNode, rare};
use crate::registry::MailboxIndex;
use crate::state::Orders;
use crate::supervision::{AutoShutdown, RestartPolicy, SUPERVISION, Supervision, Tally};
use crate::system::SpawnError;
use core::mem;
use core::ptr::NonNull;
use core::time::Duration;

/// What parents and children have to do with each other. The first child of an actor brings it, so a program without
/// children does not link it. All of it is for the holder of the ticket of the first cell.
pub(crate) struct Family {
    /// Takes in a new child; is its end of importance to the parent?
    pub(crate) adopt: unsafe fn(CellPtr, CellPtr, bool),
    /// Holds the children, or lets them go. True if it was otherwise.
    pub(super) hold: unsafe fn(CellPtr, bool) -> bool,
    /// Gives an order to the children whose failures the parent has taken over.
    pub(super) settle: unsafe fn(CellPtr, Orders),
    /// Has the children end; true when none is left.
    pub(super) part: unsafe fn(CellPtr) -> bool,
    /// A child looks whether its parent holds it.
    pub(super) look: unsafe fn(CellPtr),
    /// Tells the parent that this child has failed.
    pub(super) failed: unsafe fn(CellPtr, &Failure),
    /// Tells the parent that this child, which had its turn, has started.
    pub(super) started: unsafe fn(CellPtr),
    /// Tells the parent that this child has ended.
    pub(super) ended: unsafe fn(CellPtr),
}

static FAMILY: Family = Family {
    adopt: CellPtr::adopt,
    hold,
    settle,
    part,
    look: look_at_parent,
    failed: tell_parent,
    started,
    ended,
};

/// The actor is to have a child. Fails without memory.
///
/// # Safety
/// The ticket is held.
pub(crate) unsafe fn found_family(cell: CellPtr) -> Result<(), SpawnError> {
    // SAFETY: the ticket is held.
    unsafe {
        if !cell.make_cold() {
            return Err(SpawnError::Capacity);
        }
        let family = &mut cell.cold().family;
        if family.is_none() {
            *family = Some(&FAMILY);
            // Until there is a family nobody is held.
            let held = cell.mailbox().life.get() < Life::Stopping
                && cell.mailbox().rare.get() & rare::HELD != 0;
            hold(cell, held || is_ill(cell));
        }
    }
    Ok(())
}

/// What the actor does as a parent, if it is one. *Runner.*
pub(super) fn family_of(cell: CellPtr) -> Option<&'static Family> {
    cell.cold_if_any()?.family
}

/// # Safety
/// The ticket is held.
unsafe fn hold(cell: CellPtr, hold: bool) -> bool {
    let task = &cell.mailbox().task;
    let changes = SUPERVISION && task.is_holding() != hold;
    if changes {
        task.hold(hold);
        cell.children()
            .for_each(|child| child.order(Orders::KIN, false));
    }
    changes
}

/// # Safety
/// The ticket is held.
unsafe fn settle(cell: CellPtr, orders: Orders) {
    for child in cell.children() {
        let note = |kin: &Kin| kin.recall(|tally| mem::take(&mut tally.escalated));
        if child.kin().is_some_and(note) {
            child.order(orders, orders.has(Orders::STOP));
        }
    }
}

/// True when the actor has no children any more; those that it has are told to end.
///
/// # Safety
/// The ticket is held.
pub(super) unsafe fn children_gone(cell: CellPtr) -> bool {
    // SAFETY: as the caller promises.
    family_of(cell).is_none_or(|family| unsafe { (family.part)(cell) })
}

/// Tells the children to end, one after the other, the youngest first; all at once for a kill.
/// True when none is left.
///
/// # Safety
/// The ticket is held.
unsafe fn part(cell: CellPtr) -> bool {
    if cell.cold_if_any().is_none_or(|cold| cold.children == 0) {
        return true;
    }
    let ending = match cell.mailbox().life.get() {
        // Before a restart they are held, so they could not handle what they have.
        Life::Clearing if SUPERVISION => Ending::Stop,
        _ => cell.mailbox().ending.get(),
    };
    // SAFETY: the ticket is held; children stay until they are buried, which is done here only.
    let cold = unsafe { cell.cold() };
    if ending.is_kill() {
        // Once: the cell itself, which is no child of its own, stands for all of them.
        if cold.leaving.replace(cell) != Some(cell) {
            cell.children()
                .for_each(|child| child.order(ending.for_children(), true));
        }
    } else if cold.leaving != cold.youngest
        && let Some(youngest) = cold.youngest
    {
        cold.leaving = Some(youngest);
        youngest.order(ending.for_children(), true);
        let patience = if !SUPERVISION {
            None
        } else if cell.mailbox().life.get() == Life::Clearing {
            Some(patience_of(cell))
        } else {
            cold.patience
        };
        if let Some(patience) = patience {
            // Its handler may be waiting for an answer from here.
            // SAFETY: the ticket is held, so the child is not buried.
            unsafe { write_to(youngest, Hurry(patience)) };
        }
    }
    false
}

/// The number of what a child is told now. *The parent's runner.*
pub(super) fn told(child: CellPtr) -> u32 {
    let told = |tally: &mut Tally| {
        tally.told = tally.told.wrapping_add(1);
        tally.told
    };
    child.kin().map_or(0, |kin| kin.note(told))
}

/// Is it restarted with others, and has not started yet? *The parent's runner.*
fn is_in_procession(child: CellPtr) -> bool {
    child
        .kin()
        .is_some_and(|kin| kin.recall(|tally| tally.in_procession))
}

/// The next one in the procession. *The parent's runner.*
fn next_in_procession(child: CellPtr) -> Option<CellPtr> {
    let mut younger =
        core::iter::successors(child.younger_sibling(), |next| next.younger_sibling());
    younger.find(|next| is_in_procession(*next))
}

/// Children that are restarted together start one after the other, in the order of their first start. Those of
/// an earlier restart that have not started yet are among them.
///
/// # Safety
/// The ticket is held.
pub(super) unsafe fn line_up(cell: CellPtr) {
    // SAFETY: the ticket is held; children stay until they are buried.
    unsafe {
        cell.cold().procession = cell
            .children()
            .filter(|child| is_in_procession(*child))
            .last();
        call_first(cell);
    }
}

/// The first in the procession may start, if there is one.
///
/// # Safety
/// The ticket is held.
unsafe fn call_first(cell: CellPtr) {
    // SAFETY: the ticket is held; children stay until they are buried.
    unsafe {
        if let Some(first) = cell.cold_if_any().and_then(|cold| cold.procession) {
            let number = first.kin().map_or(0, |kin| kin.recall(|tally| tally.told));
            write_to(first, TurnHasCome(number));
        }
    }
}

/// The supervisor says that it is this one's turn to start, after the restart of this number.
struct TurnHasCome(u32);

impl Letter for TurnHasCome {
    unsafe fn read(self, cell: CellPtr) {
        // SAFETY: the ticket is held.
        if let Some(turn) = unsafe { &mut cell.cold().turn } {
            // Another restart may have come in between, with a turn of its own.
            turn.has_come |= turn.number == self.0;
        }
    }
}

/// Does it wait for older ones to start?
pub(super) fn awaits_its_turn(cell: CellPtr) -> bool {
    let turn = || cell.cold_if_any()?.turn;
    SUPERVISION && turn().is_some_and(|turn| !turn.has_come)
}

/// It has started: the next one may.
///
/// # Safety
/// The ticket is held.
pub(super) unsafe fn pass_the_turn(cell: CellPtr) {
    let has_turn = || cell.cold_if_any().is_some_and(|cold| cold.turn.is_some());
    if SUPERVISION
        && has_turn()
        && let Some(kin) = cell.kin()
    {
        // SAFETY: the ticket is held.
        unsafe { (kin.family.started)(cell) };
    }
}

/// # Safety
/// The ticket is held.
unsafe fn started(cell: CellPtr) {
    // SAFETY: the ticket is held; the parent ends after its children.
    unsafe {
        let cold = cell.cold();
        // Not if this was the start before the restart.
        if let (Some(turn), Some(parent)) = (cold.turn, cell.parent())
            && turn.number == cold.restarted
        {
            cold.turn = None;
            write_to(parent, HasStarted(cell, turn.number));
        }
    }
}

/// A child that had its turn has started, after the restart of this number.
struct HasStarted(CellPtr, u32);

impl Letter for HasStarted {
    unsafe fn read(self, cell: CellPtr) {
        let Self(child, number) = self;
        // SAFETY: the ticket is held, and a child that has written is not yet buried.
        unsafe {
            let Some(kin) = child.kin() else {
                return;
            };
            // Not if it is to be restarted once more.
            if kin.recall(|tally| tally.told) == number {
                kin.note(|tally| tally.in_procession = false);
                pass_on(cell, child);
            }
        }
    }
}

/// A child is in the procession no longer: if it had its turn, the next one has.
///
/// # Safety
/// The ticket of `cell`, the parent, is held.
unsafe fn pass_on(cell: CellPtr, child: CellPtr) {
    // SAFETY: the ticket is held.
    unsafe {
        if cell.cold().procession == Some(child) {
            cell.cold().procession = next_in_procession(child);
            call_first(cell);
        }
    }
}

/// # Safety
/// The ticket is held.
unsafe fn ended(cell: CellPtr) {
    // SAFETY: the actor has ended, so the node is not used. The parent ends after its children; it may end and
    // be freed as soon as it knows.
    unsafe {
        if let Some(parent) = cell.parent() {
            parent.hold();
            let queued = parent.mailbox().system.push(cell.obituary(read_obituary));
            debug_assert!(queued, "a parent ends after its children");
            parent.order(Orders::LANE, false);
            parent.release();
        }
    }
}

/// A child has ended.
///
/// # Safety
/// The ticket is held; `node` is a child's obituary, taken from the lane. Once.
unsafe fn read_obituary(node: NonNull<SystemNode>, cell: CellPtr, _: Option<&Farewell<'_>>) {
    // SAFETY: as the caller promises.
    unsafe {
        let child = CellPtr::of_obituary(node);
        if !SUPERVISION {
            return cell.bury(child);
        }
        pass_on(cell, child);
        let significant = |kin: &Kin| kin.recall(|tally| tally.significant);
        let significant = child.kin().is_some_and(significant);
        cell.bury(child);
        if significant {
            look_at_significant(cell);
        }
    }
}

/// A significant child has ended.
///
/// # Safety
/// The ticket is held.
unsafe fn look_at_significant(cell: CellPtr) {
    // SAFETY: the ticket is held.
    let cold = unsafe { cell.cold() };
    let when = cold.supervision.as_ref().map(|by| by.auto_shutdown);
    let over = match when.unwrap_or_default() {
        AutoShutdown::Never => false,
        AutoShutdown::Any => true,
        AutoShutdown::All => cold.significant == 0,
    };
    // Not if they end because it does, or is restarted.
    if over && cell.mailbox().life.get() <= Life::Faulted {
        stop_itself(cell);
    }
}

/// How long the handlers of its children have. *Runner.*
fn patience_of(cell: CellPtr) -> Duration {
    let by = cell
        .cold_if_any()
        .and_then(|cold| cold.supervision.as_ref());
    by.map_or(Supervision::one_for_one().patience, |by| by.patience)
}

/// The supervisor ends this child itself: that is nothing to react to.
pub(super) fn dismiss(cold: &mut Cold, child: CellPtr) {
    if SUPERVISION && let Some(kin) = child.kin() {
        let was_significant = kin.recall(|tally| mem::take(&mut tally.significant));
        cold.significant -= usize::from(was_significant);
    }
}

/// The actor is to stop by its own will. *Runner.*
pub(crate) fn stop_itself(cell: CellPtr) {
    let state = cell.mailbox();
    if cell.policy() == RestartPolicy::Permanent && state.ending.get() == Ending::Not {
        state.marks.set(Marks::EXIT);
        // To look, after the handler in hand.
        cell.order(Orders::KIN, false);
    } else {
        cell.order(Orders::STOP, true);
    }
}

/// A living child by its index. It stays until it is buried. *The runner of `cell`, the parent.*
fn child_of(cell: CellPtr, index: MailboxIndex) -> Option<CellPtr> {
    // Under the lock a registered cell is alive; one of ours is until its obituary is read here.
    let registry = &cell.home().shared.registry;
    let child = |found: CellPtr| (found.parent() == Some(cell)).then_some(found);
    registry.resolve(index, child)?
}

/// Tells a child to stop. False if there is none of this index.
///
/// # Safety
/// The ticket is held.
pub(crate) unsafe fn stop_child(cell: CellPtr, index: MailboxIndex) -> bool {
    // SAFETY: the ticket is held.
    unsafe {
        let child = child_of(cell, index);
        if let Some(child) = child {
            dismiss(cell.cold(), child);
            child.order(Orders::STOP, true);
        }
        child.is_some()
    }
}

/// Has a child made anew. False if there is none of this index.
///
/// # Safety
/// The ticket is held.
pub(crate) unsafe fn restart_child(cell: CellPtr, index: MailboxIndex) -> bool {
    // SAFETY: the ticket is held.
    unsafe {
        let Some(child) = child_of(cell, index).filter(|_| SUPERVISION) else {
            return false;
        };
        let in_turn = is_in_procession(child);
        let restart = Restart {
            number: told(child),
            after: Duration::ZERO,
            patience: patience_of(cell),
            in_turn,
        };
        write_to(child, restart);
        if in_turn {
            // Its turn may have come already, for the restart before.
            call_first(cell);
        }
        true
    }
}
