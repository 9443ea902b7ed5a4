//! Suspension: an actor handles no messages for a while, and all of them afterwards.
//!
//! The invoker does it, and no handler hears of it. A suspended cell keeps its ticket, as one does whose handler
//! is pending, so nobody schedules it for a message; orders and system messages run as ever.
//!
//! ```text
//!              suspend                     suspend: one entry more
//!   handling ───────────► suspended ◄────────────────────────────┐
//!      ▲                   │  │  └────────────────────────────────┘
//!      └───────────────────┘  │ a failure, an order to end: as for any actor
//!        the last entry goes  ▼
//! ```
//!
//! Each suspension is an entry with what ends it. The actor handles messages if it has none. That its parent
//! holds it after a failure is another note of the invoker, which knows nothing of this one.
//!
//! # Concurrency
//!
//! All of it is the runner's. From elsewhere it comes as a letter in the system lane, so what one thread does
//! takes effect in its order.

use crate::actor::{Actor, Context};
use crate::actor_ref::{ActorRef, SendError};
use crate::ask::Ask;
use crate::cell::{CellPtr, WeakCell};
use crate::event_stream::News;
use crate::invoker::{self, Ending};
use crate::mailbox::{Life, rare};
use crate::registry::MailboxIndex;
use crate::state::Orders;
use crate::system::Shared;
use crate::time::{Target, TimerId};
use crate::timer::TimerKey;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// Why an actor is suspended. For those who look; it changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SuspendReason {
    /// Those whom it sends to cannot keep up.
    Backpressure,
    /// It waits for something outside: a handler that awaits, or a signal.
    AwaitExternal,
    /// It has handled as many messages as it may.
    RateLimit,
    /// Because the program says so.
    UserDefined,
}

/// What ends a suspension. [`ActorRef::resume`] and [`Context::resume`] do, whatever else it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResumeCondition {
    /// Nothing but being told so. Of a handler that awaits: its waker.
    Explicit,
    /// [`ActorRef::signal`] with this key. A signal that came before is remembered, and ends the suspension at
    /// once.
    ExternalSignal(SignalKey),
    /// So long. It needs a system with timers.
    After(Duration),
    /// The mailbox of this actor, of the same system, has room for a message, or the actor ends. Others may be
    /// faster: look again.
    WhenCapacityAvailable(MailboxIndex),
}

/// Names something that an actor waits for: a text or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignalKey(TimerKey);

impl<K: Into<TimerKey>> From<K> for SignalKey {
    fn from(key: K) -> Self {
        Self(key.into())
    }
}

/// Why an actor was not suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SuspendError {
    /// The actor is stopping, has ended, or is about to be made anew.
    Stopping,
    /// The system has no timers.
    NoTime,
    /// There is no room for another timer.
    Capacity,
}

impl fmt::Display for SuspendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopping => "the actor is stopping",
            Self::NoTime => "the system has no timers",
            Self::Capacity => "there is no room for another timer",
        })
    }
}

impl core::error::Error for SuspendError {}

/// What is known of an actor's suspensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SuspendStats {
    /// How many suspensions are in force. The actor handles messages if none is.
    pub nesting: usize,
    /// Why, by the latest of them.
    pub reason: Option<SuspendReason>,
    /// Since when the actor handles nothing, on the system's clock.
    pub since: Option<Duration>,
    /// How many suspensions there were, those in force included.
    pub count: u64,
    /// How many of them have ended.
    pub resumes: u64,
    /// How long the actor has handled nothing in all, up to now.
    pub total: Duration,
}

/// The suspensions of one actor.
#[derive(Default)]
pub(crate) struct Suspension {
    entries: Vec<Entry>,
    /// Ends entries. Only the first suspension or signal brings it, so a program without does not link it.
    end_on: Option<unsafe fn(CellPtr, Occasion)>,
    /// Signals that nobody has waited for yet.
    signals: Vec<SignalKey>,
    since: Duration,
    count: u64,
    resumes: u64,
    /// Without what goes on now.
    total: Duration,
}

struct Entry {
    reason: SuspendReason,
    until: ResumeCondition,
    /// When it is over, and the timer.
    due: Option<(Duration, TimerId)>,
    /// Was it the actor itself? Then it ends with this incarnation.
    inside: bool,
}

impl Suspension {
    fn stats(&self, now: Duration) -> SuspendStats {
        let since = (!self.entries.is_empty()).then_some(self.since);
        SuspendStats {
            nesting: self.entries.len(),
            reason: self.entries.last().map(|entry| entry.reason),
            since,
            count: self.count,
            resumes: self.resumes,
            total: self.total + since.map_or(Duration::ZERO, |since| now.saturating_sub(since)),
        }
    }

    /// The latest one.
    pub(crate) fn latest(&self) -> Option<(SuspendReason, ResumeCondition)> {
        self.entries.last().map(|entry| (entry.reason, entry.until))
    }
}

fn suspension(cell: &CellPtr) -> Option<&Suspension> {
    Some(&cell.extra_if_any()?.suspension)
}

fn stats(cell: CellPtr) -> SuspendStats {
    let now = cell.home().shared.now();
    suspension(&cell).map_or_else(SuspendStats::default, |known| known.stats(now))
}

fn is_ending(cell: CellPtr) -> bool {
    let state = cell.mailbox();
    state.life.get() >= Life::Stopping || state.ending.get() >= Ending::Stop
}

/// One suspension more.
///
/// # Safety
/// The ticket is held.
pub(crate) unsafe fn begin(
    cell: CellPtr,
    reason: SuspendReason,
    until: ResumeCondition,
    inside: bool,
) -> Result<(), SuspendError> {
    if is_ending(cell) {
        return Err(SuspendError::Stopping);
    }
    let shared = &cell.home().shared;
    let due = match until {
        ResumeCondition::After(time) => Some(timer(cell, time)?),
        _ => None,
    };
    // SAFETY: the ticket is held.
    let known = &mut unsafe { cell.extra() }.suspension;
    known.count += 1;
    if let ResumeCondition::ExternalSignal(key) = until
        && let Some(place) = known.signals.iter().position(|raised| *raised == key)
    {
        known.signals.swap_remove(place);
        known.resumes += 1;
        return Ok(());
    }
    let first = known.entries.is_empty();
    known.end_on = Some(end_on);
    known.entries.push(Entry {
        reason,
        until,
        due,
        inside,
    });
    if first {
        known.since = shared.now();
        cell.mailbox().note(rare::SUSPENDED);
        shared.one_suspended();
        shared.events().publish(&News::Suspended(cell, reason));
    }
    if let ResumeCondition::WhenCapacityAvailable(target) = until {
        ask_for_room(cell, target);
    }
    Ok(())
}

fn timer(cell: CellPtr, after: Duration) -> Result<(Duration, TimerId), SuspendError> {
    let shared = &cell.home().shared;
    let time = shared.time.as_ref().ok_or(SuspendError::NoTime)?;
    let at = time.now().saturating_add(after);
    // Whatever the order is, the runner looks.
    let target = Target::Order(WeakCell::own(cell), Orders::KIN);
    match time.works().insert(at, target) {
        Ok(id) => Ok((at, id)),
        Err(_) => Err(SuspendError::Capacity),
    }
}

/// Ends the suspensions that `over` holds for; how many there were.
///
/// # Safety
/// The ticket is held.
unsafe fn end_those(cell: CellPtr, over: &mut dyn FnMut(&Entry) -> bool) -> usize {
    let shared = &cell.home().shared;
    // SAFETY: the ticket is held.
    let Some(extra) = (unsafe { cell.known_extra() }) else {
        return 0;
    };
    let known = &mut extra.suspension;
    let before = known.entries.len();
    if before == 0 {
        return 0;
    }
    known.entries.retain(|entry| {
        let over = over(entry);
        if over && let (Some((_, id)), Some(time)) = (entry.due, &shared.time) {
            time.works().cancel(id);
        }
        !over
    });
    let ended = before - known.entries.len();
    known.resumes += ended as u64;
    if known.entries.is_empty() {
        let lasted = shared.now().saturating_sub(known.since);
        known.total += lasted;
        let state = cell.mailbox();
        state.rare.set(state.rare.get() & !rare::SUSPENDED);
        shared.one_resumed();
        shared.events().publish(&News::Resumed(cell, lasted));
    }
    ended
}

/// Ends the latest suspension, or all.
///
/// # Safety
/// The ticket is held.
unsafe fn resume(cell: CellPtr, all: bool) -> bool {
    let count = suspension(&cell).map_or(0, |known| known.entries.len());
    let mut place = 0;
    // SAFETY: the ticket is held.
    let ended = unsafe {
        end_those(cell, &mut |_| {
            place += 1;
            all || place == count
        })
    };
    ended > 0
}

/// # Safety
/// The ticket is held.
unsafe fn signal(cell: CellPtr, key: SignalKey) {
    // SAFETY: the ticket is held.
    unsafe {
        let waited = end_those(cell, &mut |entry| {
            entry.until == ResumeCondition::ExternalSignal(key)
        });
        let raised = suspension(&cell).is_some_and(|known| known.signals.contains(&key));
        if waited == 0 && !raised && !is_ending(cell) {
            let known = &mut cell.extra().suspension;
            known.end_on = Some(end_on);
            known.signals.push(key);
        }
    }
}

/// When suspensions end, but for those who ask for it.
#[derive(Clone, Copy)]
pub(crate) enum Occasion {
    /// The time of some may be over.
    Look,
    /// A new incarnation is free of what the one before has done to itself.
    BeginAnew,
    /// The actor ends.
    End,
}

/// Ends the suspensions that there may be.
///
/// # Safety
/// The ticket is held.
pub(crate) unsafe fn end_some(cell: CellPtr, occasion: Occasion) {
    if let Some(end_on) = suspension(&cell).and_then(|known| known.end_on) {
        // SAFETY: as the caller promises.
        unsafe { end_on(cell, occasion) };
    }
}

/// # Safety
/// The ticket is held.
unsafe fn end_on(cell: CellPtr, occasion: Occasion) {
    let now = cell.home().shared.now();
    // SAFETY: the ticket is held.
    unsafe {
        end_those(cell, &mut |entry| match occasion {
            Occasion::Look => entry.due.is_some_and(|(at, _)| at <= now),
            Occasion::BeginAnew => entry.inside,
            Occasion::End => true,
        });
        if let (Occasion::BeginAnew, Some(extra)) = (occasion, cell.known_extra()) {
            extra.suspension.signals.clear();
        }
    }
}

// === room of another actor ===

/// An actor waits for the room of another one. Dropped, it tells that there is some, or nobody to have any.
pub(crate) struct WantsRoom {
    waiting: Option<WeakCell>,
    target: MailboxIndex,
    /// Tells it. Only who waits for room links it.
    tell: fn(WeakCell, MailboxIndex),
}

impl Drop for WantsRoom {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            (self.tell)(waiting, self.target);
        }
    }
}

fn there_is_room(waiting: WeakCell, target: MailboxIndex) {
    // SAFETY: kept by `waiting`; a letter is opened by the runner.
    unsafe {
        invoker::call(waiting.cell(), move |cell| {
            end_those(cell, &mut |entry| {
                entry.until == ResumeCondition::WhenCapacityAvailable(target)
            });
        });
    }
}

/// Has an actor told when another one has room.
fn ask_for_room(cell: CellPtr, target: MailboxIndex) {
    let wants = WantsRoom {
        waiting: Some(WeakCell::new(cell)),
        target,
        tell: there_is_room,
    };
    let registry = &cell.home().shared.registry;
    let Some(other) = registry.resolve(target, WeakCell::new) else {
        return drop(wants);
    };
    // SAFETY: kept by `other`; a letter is opened by the runner.
    unsafe {
        invoker::call(other.cell(), move |target| {
            let mut wants = wants;
            let list = &mut target.extra().wants_room;
            let known = |known: &WantsRoom| match (&known.waiting, &wants.waiting) {
                (Some(known), Some(new)) => known.cell() == new.cell(),
                _ => false,
            };
            if list.iter().any(known) {
                // Who is told once is told.
                wants.waiting = None;
            } else {
                list.push(wants);
            }
            target.mailbox().note(rare::EXTRA);
        });
    }
}

// === from outside ===

impl Shared {
    /// Checks what can be checked from anywhere.
    fn can_suspend(&self, until: ResumeCondition) -> Result<(), SuspendError> {
        if matches!(until, ResumeCondition::After(_)) && self.time.is_none() {
            return Err(SuspendError::NoTime);
        }
        Ok(())
    }
}

impl<M> ActorRef<M> {
    /// Suspends the actor: it handles no message until it is resumed. What it is sent waits, in order.
    ///
    /// A handler in flight, and `started`, go on to their end first. System messages run: it can be stopped,
    /// killed, watched, restarted. What comes from its timers, and what it watches or pipes to itself, waits with
    /// the messages. A graceful stop waits for the resume, as it does for each message:
    /// [`stop_gracefully_within`](Self::stop_gracefully_within). An actor that stops when unreferenced waits as well, and
    /// then only its own conditions resume it, a time or room: nobody is left to do it.
    ///
    /// Suspensions count: the actor goes on when each of them has ended, by its condition or by a
    /// [`resume`](Self::resume). They last over a restart.
    ///
    /// ```
    /// # use hikyaku_core::{Actor, Context, Failure, ResumeCondition, SuspendReason, System};
    /// # struct Log;
    /// # impl Actor for Log {
    /// #     type Msg = String;
    /// #     async fn handle(&mut self, _: String, _: &mut Context<'_, Self>) -> Result<(), Failure> { Ok(()) }
    /// # }
    /// # let (system, _workers) = System::builder("demo").build()?;
    /// let log = system.spawn(|| Log)?;
    /// log.suspend(SuspendReason::AwaitExternal, ResumeCondition::ExternalSignal("disk".into()))?;
    /// log.tell("waits".into())?;
    /// log.signal("disk");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SuspendError::Stopping`] if the actor takes no more messages; [`SuspendError::NoTime`] for
    /// [`ResumeCondition::After`] without timers. A timer that cannot be set for want of room later means that
    /// the actor is not suspended.
    pub fn suspend(
        &self,
        reason: SuspendReason,
        until: ResumeCondition,
    ) -> Result<(), SuspendError> {
        if !self.is_alive() {
            return Err(SuspendError::Stopping);
        }
        self.cell().home().shared.can_suspend(until)?;
        // SAFETY: the reference keeps the cell; a letter is opened by the runner.
        let queued = unsafe {
            invoker::call(self.cell(), move |cell| {
                let _refused = begin(cell, reason, until, false);
            })
        };
        if queued {
            Ok(())
        } else {
            Err(SuspendError::Stopping)
        }
    }

    /// Ends the latest suspension of the actor, whatever it waits for. Nothing, if there is none.
    pub fn resume(&self) {
        // SAFETY: as in `suspend`.
        unsafe {
            invoker::call(self.cell(), |cell| {
                resume(cell, false);
            });
        }
    }

    /// Ends all suspensions of the actor.
    pub fn resume_all(&self) {
        // SAFETY: as in `suspend`.
        unsafe {
            invoker::call(self.cell(), |cell| {
                resume(cell, true);
            });
        }
    }

    /// Ends the suspensions of the actor that wait for this signal. If none does, the signal is remembered, once,
    /// for the next one that would; a restart forgets it. Each key takes memory until then.
    pub fn signal(&self, key: impl Into<SignalKey>) {
        let key = key.into();
        // SAFETY: as in `suspend`.
        unsafe {
            invoker::call(self.cell(), move |cell| signal(cell, key));
        }
    }

    /// What is known of the actor's suspensions. Answered also while it is suspended, or a handler is pending.
    ///
    /// # Errors
    /// [`AskError`](crate::AskError), if the actor has ended.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the answer.
    pub fn suspension(&self) -> Ask<'_, SuspendStats> {
        let cell = self.cell();
        Ask::send(cell, Some, |reply| {
            // SAFETY: as in `suspend`.
            let queued = unsafe {
                invoker::call(cell, move |cell| {
                    let _nobody_waits = reply.map(|reply| reply.send(stats(cell)));
                })
            };
            if queued {
                Ok(())
            } else {
                Err(SendError::Closed(None))
            }
        })
    }
}

// === from inside ===

impl<A: Actor> Context<'_, A> {
    /// Suspends this actor after the handler in hand. See [`ActorRef::suspend`]; a suspension from inside ends with
    /// a restart, though.
    ///
    /// In `started`, for an actor that is to wait for something before its first message.
    ///
    /// ```
    /// # use hikyaku_core::{Actor, Context, Failure, ResumeCondition, SuspendReason};
    /// # struct Cache;
    /// # impl Actor for Cache {
    /// # type Msg = ();
    /// async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
    ///     // Whoever fills the cache calls `cache.signal("filled")`.
    ///     let filled = ResumeCondition::ExternalSignal("filled".into());
    ///     cx.suspend(SuspendReason::AwaitExternal, filled)?;
    ///     Ok(())
    /// }
    /// # async fn handle(&mut self, _: (), _: &mut Context<'_, Self>) -> Result<(), Failure> { Ok(()) }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SuspendError`], see there.
    pub fn suspend(
        &mut self,
        reason: SuspendReason,
        until: ResumeCondition,
    ) -> Result<(), SuspendError> {
        if self.cell.mailbox().is_winding_down() {
            return Err(SuspendError::Stopping);
        }
        // SAFETY: a context is used by its actor's handlers only, so by the runner of the cell.
        unsafe { begin(self.cell, reason, until, true)? };
        // To look, after the handler in hand.
        self.cell.order(Orders::KIN, false);
        Ok(())
    }

    /// Ends the latest suspension of this actor, whatever it waits for. False if there is none.
    pub fn resume(&mut self) -> bool {
        // SAFETY: as in `suspend`.
        unsafe { resume(self.cell, false) }
    }

    /// What is known of this actor's suspensions.
    pub fn suspension(&self) -> SuspendStats {
        stats(self.cell)
    }
}

impl fmt::Debug for Suspension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suspension")
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}
