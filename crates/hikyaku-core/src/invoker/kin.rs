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
use super::fate::{Restart, write_to};
use crate::cell::{CellPtr, Cold};
use crate::mailbox::{Farewell, Letter, Life, Marks, SystemNode};
use crate::registry::MailboxIndex;
use crate::state::Orders;
use crate::supervision::{AutoShutdown, RestartPolicy, SUPERVISION, Supervision, Tally};
use core::ptr::NonNull;
use core::time::Duration;

/// The number of what a child is told now.
///
/// # Safety
/// The ticket of `cell`, the parent, is held.
pub(super) unsafe fn told(cell: CellPtr, child: CellPtr) -> u32 {
    // SAFETY: the ticket is held.
    let tally = tally_of(unsafe { cell.cold() }, child);
    tally.told = tally.told.wrapping_add(1);
    tally.told
}

/// What is remembered of a child.
pub(super) fn tally_of(cold: &mut Cold, child: CellPtr) -> &mut Tally {
    cold.tallies.entry(child.index()).or_default()
}

/// Children that are restarted together start one after the other, in the order of their first start. Those of
/// an earlier restart that have not started yet are among them.
///
/// # Safety
/// The ticket is held.
pub(super) unsafe fn line_up(cell: CellPtr) {
    // SAFETY: the ticket is held; children stay until they are buried.
    unsafe {
        let cold = cell.cold();
        cold.procession.clear();
        let mut child = cold.youngest;
        while let Some(next) = child {
            child = next.older_sibling();
            let tally = cold.tallies.get(&next.index());
            if tally.is_some_and(|tally| tally.in_procession) {
                cold.procession.push_front(next);
            }
        }
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
        let first = cell.cold_if_any().and_then(|cold| cold.procession.front());
        if let Some(first) = first.copied() {
            let number = tally_of(cell.cold(), first).told;
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
    let Some(cold) = cell.cold_if_any().filter(|_| SUPERVISION) else {
        return;
    };
    // Not if this was the start before the restart.
    if let (Some(turn), Some(parent)) = (cold.turn, cell.parent())
        && turn.number == cold.restarted
    {
        // SAFETY: the ticket is held; the parent ends after its children.
        unsafe {
            cell.cold().turn = None;
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
            let tally = tally_of(cell.cold(), child);
            // Not if it is to be restarted once more.
            if tally.told == number {
                tally.in_procession = false;
                let procession = &mut cell.cold().procession;
                if procession.front() == Some(&child) {
                    procession.pop_front();
                    call_first(cell);
                }
            }
        }
    }
}

/// A child has ended: if it had its turn, the next one has.
///
/// # Safety
/// The ticket is held; `node` is a child's obituary, taken from the lane. Once.
pub(super) unsafe fn read_obituary(
    node: NonNull<SystemNode>,
    cell: CellPtr,
    _: Option<&mut Farewell>,
) {
    // SAFETY: as the caller promises.
    unsafe {
        let child = CellPtr::of_obituary(node);
        if !SUPERVISION {
            return cell.bury(child);
        }
        let cold = cell.cold();
        let was_first = cold.procession.front() == Some(&child);
        let tally = cold.tallies.get(&child.index());
        let significant = tally.is_some_and(|tally| tally.significant);
        cell.bury(child);
        if was_first {
            call_first(cell);
        }
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

/// The supervisor ends this child itself: that is nothing to react to.
pub(super) fn dismiss(cold: &mut Cold, child: CellPtr) {
    if SUPERVISION && let Some(tally) = cold.tallies.get_mut(&child.index()) {
        let was_significant = core::mem::take(&mut tally.significant);
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
        let number = told(cell, child);
        let cold = cell.cold();
        let in_turn = tally_of(cold, child).in_procession;
        let patience = cold.supervision.as_ref().map(|by| by.patience);
        let restart = Restart {
            number,
            after: Duration::ZERO,
            patience: patience.unwrap_or(Supervision::default().patience),
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
