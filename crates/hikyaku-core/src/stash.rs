//! The stash: messages that an actor has put aside, to handle them later.
//!
//! ```text
//!   mailbox ──► handler ──stash──► stashed
//!                ▲   ▲                │ unstash
//!              held  └──── replay ◄───┘
//! ```
//!
//! `replay` comes before the mailbox. `held` is a message that was taken to be handled and is not handled yet: it comes
//! before everything. All of it belongs to the mailbox and not to the actor's value: a restart leaves it as it is, and
//! at the end it becomes dead letters.
//!
//! # Concurrency
//!
//! The runner's.

#[cfg(feature = "flow")]
use crate::actor::{Actor, Context};
use crate::cell::CellPtr;
use crate::dead_letter::DeadLetterReason;
use crate::flow::FLOW;
use crate::mailbox::rare;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::any::Any;
use core::fmt;

/// How many messages an actor may stash, unless chosen otherwise.
#[cfg(feature = "flow")]
const DEFAULT_CAPACITY: usize = 1024;

/// The stash has no room. It carries the message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StashFull<M>(pub M);

impl<M> fmt::Debug for StashFull<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StashFull(..)")
    }
}

impl<M> fmt::Display for StashFull<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the stash has no room")
    }
}

impl<M> core::error::Error for StashFull<M> {}

pub(crate) struct Stash<M> {
    held: Option<M>,
    stashed: VecDeque<M>,
    replay: VecDeque<M>,
}

impl<M: Send + 'static> Stash<M> {
    /// The stash of a cell whose messages are `M`.
    ///
    /// # Safety
    /// The ticket is held, and no other reference to the cold box is.
    #[allow(clippy::mut_from_ref, reason = "the box is apart from the header")]
    unsafe fn of(cell: &CellPtr) -> &mut Self {
        // SAFETY: as the caller promises.
        let stash = &mut unsafe { cell.extra() }.stash;
        let stash = stash.get_or_insert_with(|| {
            Box::new(Self {
                held: None,
                stashed: VecDeque::new(),
                replay: VecDeque::new(),
            })
        });
        let stash: &mut dyn Any = &mut **stash;
        stash.downcast_mut().expect("made for the cell's messages")
    }

    /// The stash, if there is one.
    ///
    /// # Safety
    /// As [`of`](Self::of).
    #[allow(clippy::mut_from_ref, reason = "the box is apart from the header")]
    unsafe fn known(cell: &CellPtr) -> Option<&mut Self> {
        // SAFETY: as the caller promises.
        let stash: &mut dyn Any = &mut **unsafe { cell.known_extra() }?.stash.as_mut()?;
        stash.downcast_mut()
    }

    /// The message that was put back.
    ///
    /// # Safety
    /// The ticket is held.
    pub(crate) unsafe fn held(cell: CellPtr) -> Option<M> {
        // SAFETY: as the caller promises.
        unsafe { Self::known(&cell) }?.held.take()
    }

    /// The next message that was unstashed.
    ///
    /// # Safety
    /// The ticket is held.
    pub(crate) unsafe fn next(cell: CellPtr) -> Option<M> {
        // SAFETY: as the caller promises.
        unsafe { Self::known(&cell) }?.replay.pop_front()
    }

    /// Puts a message back that was taken to be handled: it is the next one again.
    ///
    /// # Safety
    /// The ticket is held.
    pub(crate) unsafe fn hold(cell: CellPtr, message: M) {
        // SAFETY: as the caller promises.
        let held = unsafe { &mut Self::of(&cell).held };
        debug_assert!(held.is_none(), "nothing is taken before it");
        *held = Some(message);
        cell.mailbox().note(rare::EXTRA);
    }
}

/// A stash, by those who do not know its messages.
pub(crate) trait Shelf: Any {
    /// Is there a message that has to be handled?
    fn has_next(&self) -> bool;

    /// All that is there becomes dead letters, oldest first.
    fn lose(self: Box<Self>, cell: CellPtr);
}

impl<M: 'static> Shelf for Stash<M> {
    fn has_next(&self) -> bool {
        self.held.is_some() || !self.replay.is_empty()
    }

    fn lose(self: Box<Self>, cell: CellPtr) {
        // What was unstashed is older.
        let stashed = self.held.into_iter().chain(self.replay);
        for message in stashed.chain(self.stashed) {
            cell.dead_letter(message, DeadLetterReason::Stopped);
        }
    }
}

/// What is stashed becomes dead letters.
///
/// # Safety
/// The ticket is held.
pub(crate) unsafe fn empty(cell: CellPtr) {
    if !FLOW {
        return;
    }
    // SAFETY: as the caller promises.
    let stash = unsafe { cell.known_extra() }.and_then(|extra| extra.stash.take());
    if let Some(stash) = stash {
        stash.lose(cell);
    }
}

#[cfg(feature = "flow")]
impl<A: Actor> Context<'_, A> {
    fn stash_if_any(&self) -> Option<&Stash<A::Msg>> {
        let stash: &dyn Any = &**self.cell.extra_if_any()?.stash.as_ref()?;
        stash.downcast_ref()
    }

    /// Puts a message aside, behind those that are there. It stays until it is unstashed, also over a restart; at the
    /// end of the actor it becomes a dead letter.
    ///
    /// ```
    /// # use hikyaku_core::{Actor, Context, Failure};
    /// struct Door { open: bool }
    ///
    /// enum DoorMsg { Open, Pass(u32) }
    ///
    /// impl Actor for Door {
    ///     type Msg = DoorMsg;
    ///     async fn handle(&mut self, msg: DoorMsg, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
    ///         match msg {
    ///             DoorMsg::Open => {
    ///                 self.open = true;
    ///                 cx.unstash_all();
    ///             }
    ///             pass if !self.open => cx.stash(pass).map_err(|_| Failure::msg("too many at the door"))?,
    ///             DoorMsg::Pass(_) => {}
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// [`StashFull`] with the message. The bound is 1,024, or the
    /// [`stash_capacity`](crate::SpawnOptions::stash_capacity) of the actor.
    pub fn stash(&mut self, message: A::Msg) -> Result<(), StashFull<A::Msg>> {
        let own = self
            .cell
            .extra_if_any()
            .and_then(|extra| extra.stash_capacity);
        // SAFETY: a context is used by its actor's handlers only, so by the runner of the cell.
        let stash = unsafe { Stash::<A::Msg>::of(&self.cell) };
        if stash.stashed.len() >= own.unwrap_or(DEFAULT_CAPACITY) {
            return Err(StashFull(message));
        }
        stash.stashed.push_back(message);
        Ok(())
    }

    /// How many messages are stashed. Those that were unstashed and have not had their turn do not count.
    pub fn stashed(&self) -> usize {
        self.stash_if_any().map_or(0, |stash| stash.stashed.len())
    }

    /// Has all stashed messages handled next, before those in the mailbox but for control messages, in the order in
    /// which they were stashed; how many. A message that is stashed meanwhile waits for the next time.
    pub fn unstash_all(&mut self) -> usize {
        self.unstash(usize::MAX)
    }

    /// As [`unstash_all`](Self::unstash_all), of the oldest ones only, at most so many.
    pub fn unstash(&mut self, most: usize) -> usize {
        if self.stashed() == 0 {
            return 0;
        }
        // SAFETY: as in `stash`.
        let stash = unsafe { Stash::<A::Msg>::of(&self.cell) };
        let count = stash.stashed.len().min(most);
        stash.replay.extend(stash.stashed.drain(..count));
        self.cell.mailbox().note(rare::EXTRA);
        count
    }

    /// Takes the stashed messages out, oldest first. Those that were unstashed stay.
    pub fn clear_stash(&mut self) -> impl Iterator<Item = A::Msg> + use<A> {
        let stashed = if self.stashed() == 0 {
            VecDeque::new()
        } else {
            // SAFETY: as in `stash`.
            core::mem::take(&mut unsafe { Stash::<A::Msg>::of(&self.cell) }.stashed)
        };
        stashed.into_iter()
    }
}
