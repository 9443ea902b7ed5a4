//! How an actor ends.
//!
//! ```text
//!   Fresh ──► Starting ──► Ready ──► Stopping ──► Hook ──► Dead
//!     │           │                  ▲   children end,      future, actor, queue, factory dropped;
//!     └───────────┴──── stop, kill, ─┘   youngest first     unregistered; watchers and parent told
//!                       failure
//! ```
//!
//! A kill skips `Hook` and drops the future that is pending.

use super::drop_agenda;
use super::fate::forgive;
use crate::cell::CellPtr;
use crate::dead_letter::DeadLetterReason;
use crate::failure::Failure;
use crate::mailbox::{self, ByTable, Drain, Farewell, Life, Marks, SystemNode};
use crate::middleware::{self, MessageOutcome};
use crate::stash;
use crate::suspension::{self, Occasion};
use crate::sync;
use core::mem;

/// A kill came: what is pending is dropped.
///
/// # Safety
/// The ticket is held.
pub(super) unsafe fn cut_short(cell: CellPtr) {
    let state = cell.mailbox();
    // SAFETY: the ticket is held.
    unsafe {
        drop_live_future(cell);
        if state.life.get() <= Life::Starting {
            forgive(cell);
        }
        match state.life.get() {
            Life::Hook | Life::Dead => state.life.set(Life::Dead),
            _ => state.life.set(Life::Stopping),
        }
    }
}

/// # Safety
/// The ticket is held.
pub(super) unsafe fn drop_live_future(cell: CellPtr) {
    if cell.mailbox().busy.replace(false) {
        // SAFETY: live until here, and never again: the flag is off before.
        sync::quietly(|| unsafe { (cell.vtable().drop_future)(cell) });
        // SAFETY: the ticket is held.
        unsafe { middleware::after(cell, MessageOutcome::Cancelled) };
    }
}

/// A hook before the restart needs the slot: a message that waits there goes to the queue, where it
/// stays the first.
///
/// # Safety
/// As [`run`].
pub(super) unsafe fn vacate_slot_for_hook(cell: CellPtr) {
    // SAFETY: the ticket is held, and no other message is out.
    let mut drain = unsafe { Drain::<ByTable>::new(cell) };
    if let Some(message) = drain.first() {
        drain.put_back(message);
    }
}

/// The last hook's future needs the slot: a message that waits there, the first one of an actor that
/// was idle, becomes a dead letter, before those behind it.
///
/// # Safety
/// As [`run`].
pub(super) unsafe fn vacate_slot(cell: CellPtr) {
    // SAFETY: the ticket is held, and no other message is out.
    unsafe {
        // What was stashed is older.
        stash::empty(cell);
        if let Some(message) = Drain::<ByTable>::new(cell).first() {
            message.lose(DeadLetterReason::Stopped);
        }
    }
}

/// Messages left in the queue become dead letters.
///
/// # Safety
/// As [`run`]; no future is live.
pub(super) unsafe fn close_mailbox(cell: CellPtr) {
    // SAFETY: the ticket is held.
    unsafe {
        stash::empty(cell);
        mailbox::close(cell);
    }
}

/// Ends the actor: nothing of it is left but the memory, for those who still point to it.
///
/// Whatever of the user's runs here is caught where it runs, so that the end happens once.
///
/// # Safety
/// The ticket is held, and goes with the cell.
pub(super) unsafe fn end(cell: CellPtr) {
    let state = cell.mailbox();
    // SAFETY: the ticket is held until the end.
    unsafe {
        drop_agenda(cell);
        suspension::end_some(cell, Occasion::End);
        if !state.marks.has(Marks::VACANT) {
            state.marks.set(Marks::VACANT);
            sync::quietly(|| (cell.vtable().drop_actor)(cell));
        }
        close_mailbox(cell);
        sync::quietly(|| (cell.vtable().drop_factory)(cell));
        cell.release_spare();
        let home = cell.home();
        // All foreign code is behind us or caught. If something panics all the same, ending twice
        // would touch freed memory: better to end the program.
        let once = Once;
        home.shared.unregister(cell);
        tell_watchers(cell);
        match cell.kin() {
            Some(kin) => (kin.family.ended)(cell),
            None => {
                let home: *const crate::dispatcher::Home = home;
                cell.release();
                // The worker that runs this keeps its dispatcher alive.
                (*home).one_less();
                mem::forget(once);
                return;
            }
        }
        home.one_less();
        mem::forget(once);
    }
}

/// Dropped by a panic only, it ends the program: a panic while another one unwinds does.
struct Once;

impl Drop for Once {
    fn drop(&mut self) {
        panic!("an actor's end panicked");
    }
}

/// # Safety
/// The ticket is held.
unsafe fn tell_watchers(cell: CellPtr) {
    let state = cell.mailbox();
    let (mut failure, mut links, mut watchers) = (None, None, None);
    if cell.cold_if_any().is_some() {
        // SAFETY: the ticket is held.
        let cold = unsafe { cell.cold() };
        // The user's, so not to be left to the last reference.
        let (decider, fault) = (cold.supervision.take(), cold.fault.take());
        // Whoever waits for room is told that nobody is left to have any.
        let extra = cold.extra.take();
        sync::quietly(|| drop((decider, fault, extra)));
        // What stays for those who ask later is text only, so that no destructor of the user runs
        // when the last reference goes.
        failure = cold.failure.take();
        cold.failure = failure.as_ref().map(Failure::text_only);
        links = cold.links.take();
        watchers = cold.watchers.take();
    }
    // From here on anyone may read how it ended, so the lane ends after the last change.
    let late = state.system.finish();
    let farewell = Farewell {
        ending: state.ending.get(),
        failure: failure.as_ref(),
    };
    if let Some(watchers) = watchers {
        watchers.ended(&farewell);
    }
    if let Some(links) = links {
        links.ended(cell, &farewell);
    }
    for node in late {
        // SAFETY: taken from the lane. Obituaries are all in: the children are gone.
        unsafe { SystemNode::read(node, cell, Some(&farewell)) };
    }
}
