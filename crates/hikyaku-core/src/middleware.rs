//! Middleware: values that see each message before and after its handler.
//!
//! ```text
//!   message ──► before 1 ──► before 2 ──► handler ──► after 2 ──► after 1
//!                  │ hold, refuse                        outcome: always one
//! ```
//!
//! A chain is put together at spawn, from the system's and the actor's own. An actor without one has no note of
//! it, and pays nothing.
//!
//! # Concurrency
//!
//! A middleware may be shared by many actors, so it is called from many threads at once. The chain of an actor
//! is its runner's.

mod pause;
mod rate_limit;
mod time_to_live;

pub use self::pause::PauseWhileFull;
pub use self::rate_limit::{RateLimit, TokenBucket};
pub use self::time_to_live::TimeToLive;

use crate::cell::CellPtr;
use crate::dead_letter::DeadLetterReason;
use crate::failure::Failure;
use crate::flow::{FLOW, IfFlow};
use crate::mailbox::rare;
use crate::registry::MailboxIndex;
use crate::stash::Stash;
use crate::state::Orders;
use crate::suspension::{self, ResumeCondition, SuspendReason};
use crate::sync::{self, Arc};
use crate::system::{Shared, SpawnOptions};
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::time::Duration;

/// Sees each message that an actor is about to handle, and what became of it.
///
/// Installed for all actors by [`SystemBuilder::middleware`](crate::SystemBuilder::middleware), for one by
/// [`SpawnOptions::middleware`]: the system's come first. What comes from timers, pipes and watches is a message like
/// any other.
///
/// A panic of a middleware is not the actor's: it is reported as a failure, and the message is refused.
///
/// ```
/// use hikyaku_core::{Decision, Incoming, Middleware};
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// /// Counts messages, and lets nobody say "please".
/// struct House(AtomicU64);
///
/// impl Middleware for House {
///     fn before(&self, incoming: &mut Incoming<'_>) -> Decision {
///         self.0.fetch_add(1, Ordering::Relaxed);
///         match incoming.message.downcast_ref::<&str>() {
///             Some(&"please") => Decision::Refuse("nobody begs here"),
///             _ => Decision::Pass,
///         }
///     }
/// }
/// ```
pub trait Middleware: Send + Sync + 'static {
    /// A message is about to be handled. It may be looked at, and changed.
    fn before(&self, incoming: &mut Incoming<'_>) -> Decision {
        let _ = incoming;
        Decision::Pass
    }

    /// What became of a message that `before` let pass: called once for each, in reverse order, also when a later
    /// middleware refused it, and when the handler failed, panicked or was dropped.
    fn after(&self, done: &Done<'_>) {
        let _ = done;
    }

    /// Should the clock be read, for [`Done::took`]? Asked once, at spawn.
    fn is_timed(&self) -> bool {
        false
    }

    /// Tells a middleware from others.
    #[doc(hidden)]
    fn address(&self) -> *const () {
        core::ptr::from_ref(self).cast()
    }
}

impl<T: Middleware + ?Sized> Middleware for Arc<T> {
    fn before(&self, incoming: &mut Incoming<'_>) -> Decision {
        (**self).before(incoming)
    }

    fn after(&self, done: &Done<'_>) {
        (**self).after(done);
    }

    fn is_timed(&self) -> bool {
        (**self).is_timed()
    }

    fn address(&self) -> *const () {
        (**self).address()
    }
}

/// What a middleware says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// It goes on.
    Pass,
    /// It waits, as the next one, and the actor is suspended: see [`ActorRef::suspend`](crate::ActorRef::suspend).
    /// Afterwards the whole chain sees it again. A message of a timer or a watch that is held stays, also if the timer or
    /// the watch ends meanwhile by a restart.
    Hold {
        /// Why.
        reason: SuspendReason,
        /// Until when. Where that cannot be had, for want of timers, the message is refused.
        until: ResumeCondition,
    },
    /// It becomes a dead letter, with this as the reason. One who asked is answered at once.
    Refuse(&'static str),
}

/// A message that is about to be handled.
#[non_exhaustive]
pub struct Incoming<'a> {
    /// The actor.
    pub actor: MailboxIndex,
    /// Its name, if it has one.
    pub name: Option<&'a str>,
    /// How often it has been made.
    pub incarnation: u16,
    /// The name of the message's type.
    pub type_name: &'static str,
    /// The message.
    pub message: &'a mut dyn Any,
    shared: &'a Shared,
}

impl Incoming<'_> {
    /// What the system's clock shows; zero if it has none.
    pub fn now(&self) -> Duration {
        self.shared.now()
    }

    /// Has this actor of the system room for a message? Also if there is no such actor: sending tells.
    pub(crate) fn has_room(&self, actor: MailboxIndex) -> bool {
        let registry = &self.shared.registry;
        registry
            .resolve(actor, |cell| cell.has_room())
            .unwrap_or(true)
    }
}

impl fmt::Debug for Incoming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("actor", &self.actor)
            .field("type_name", &self.type_name)
            .finish_non_exhaustive()
    }
}

/// What became of a message.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Done<'a> {
    /// The actor.
    pub actor: MailboxIndex,
    /// Its name, if it has one.
    pub name: Option<&'a str>,
    /// How often it had been made.
    pub incarnation: u16,
    /// The name of the message's type.
    pub type_name: &'static str,
    /// How it ended.
    pub outcome: MessageOutcome<'a>,
    /// How long it was in hand, if a middleware of the chain [asked](Middleware::is_timed) for it and there is a clock.
    pub took: Option<Duration>,
}

/// How the handling of a message ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum MessageOutcome<'a> {
    /// The handler returned `Ok`.
    Ok,
    /// It returned an error.
    Err(&'a Failure),
    /// It panicked.
    Panicked(&'a Failure),
    /// It was dropped before its end: by a kill, a failure that was not its own, or a time-out.
    Cancelled,
    /// A later middleware refused it.
    Refused(&'static str),
    /// A later middleware held it back.
    Held,
}

impl MessageOutcome<'_> {
    pub(crate) fn of(failure: &Failure) -> MessageOutcome<'_> {
        if failure.is_panic() {
            MessageOutcome::Panicked(failure)
        } else {
            MessageOutcome::Err(failure)
        }
    }
}

/// Sees each actor that is about to be spawned. Installed by
/// [`SystemBuilder::spawn_middleware`](crate::SystemBuilder::spawn_middleware).
pub trait SpawnMiddleware: Send + Sync + 'static {
    /// An actor is about to be spawned. The options may be changed.
    ///
    /// # Errors
    /// Why it is not to be: [`SpawnError::Refused`](crate::SpawnError::Refused).
    fn spawning(&self, spawning: &mut Spawning<'_>) -> Result<(), &'static str>;
}

/// An actor that is about to be spawned.
#[non_exhaustive]
#[derive(Debug)]
pub struct Spawning<'a> {
    /// Its parent, if it is to have one.
    pub parent: Option<MailboxIndex>,
    /// The name of its type.
    pub actor_type: &'static str,
    /// How it is to be spawned.
    pub options: &'a mut SpawnOptions,
}

/// Middleware in order, to be shared. One that is there twice counts once, at its first place.
#[derive(Clone, Default)]
pub(crate) struct Layers(Vec<Arc<dyn Middleware>>);

impl Layers {
    #[cfg(feature = "flow")]
    pub(crate) fn share(middleware: impl Middleware) -> Arc<dyn Middleware> {
        Arc::from(alloc::boxed::Box::new(middleware) as alloc::boxed::Box<dyn Middleware>)
    }

    pub(crate) fn push(&mut self, part: Arc<dyn Middleware>) {
        let is_known = |known: &Arc<dyn Middleware>| known.address() == part.address();
        if !self.0.iter().any(is_known) {
            self.0.push(part);
        }
    }

    /// These behind those of the system.
    pub(crate) fn behind(&self, system: &Self) -> Self {
        let mut all = system.clone();
        for part in &self.0 {
            all.push(Arc::clone(part));
        }
        all
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} middleware", self.0.len())
    }
}

/// The chain of one actor.
pub(crate) struct Chain {
    /// Apart from the rest, which changes while they are called.
    layers: Arc<Layers>,
    is_timed: bool,
    in_hand: Option<InHand>,
}

/// The message in hand, which `after` has not been called for.
#[derive(Clone, Copy)]
struct InHand {
    type_name: &'static str,
    /// How many let it pass.
    passed: usize,
    since: Option<Duration>,
}

impl Chain {
    /// `None` if there is nothing to go through.
    pub(crate) fn of(layers: Layers) -> Option<IfFlow<Self>> {
        if layers.is_empty() {
            return None;
        }
        IfFlow::new(Self {
            is_timed: layers.0.iter().any(|layer| layer.is_timed()),
            layers: Arc::new(layers),
            in_hand: None,
        })
    }

    /// The layers, for calls during which the chain may be borrowed otherwise.
    ///
    /// # Safety
    /// The chain lives as long as what is given is used.
    unsafe fn layers<'a>(&self) -> &'a Layers {
        // SAFETY: as the caller promises; layers never change.
        unsafe { &*Arc::as_ptr(&self.layers) }
    }
}

/// What is to be done with a message.
pub(crate) enum Admission<M> {
    Pass(M),
    /// It was refused, or put back.
    Dealt,
}

/// Shows a message to the chain.
///
/// # Safety
/// The ticket is held, and the messages of the cell are `M`.
#[cold]
pub(crate) unsafe fn before<M: Send + 'static>(cell: CellPtr, mut message: M) -> Admission<M> {
    // SAFETY: the ticket is held.
    let Some(chain) = (unsafe { cell.known_extra() }).and_then(|extra| extra.middleware.as_ref())
    else {
        return Admission::Pass(message);
    };
    // SAFETY: the chain goes with the actor's end, which the holder of the ticket brings about, who is here.
    let layers = unsafe { chain.layers() };
    let shared = &cell.home().shared;
    let mut in_hand = InHand {
        type_name: core::any::type_name::<M>(),
        passed: 0,
        since: chain.is_timed.then(|| shared.now()),
    };
    let mut decision = Decision::Pass;
    let seen = sync::catch(|| {
        for layer in &layers.0 {
            decision = layer.before(&mut Incoming {
                actor: cell.index(),
                name: cell.name(),
                incarnation: cell.mailbox().incarnation.get(),
                type_name: in_hand.type_name,
                message: &mut message,
                shared,
            });
            if decision != Decision::Pass {
                break;
            }
            in_hand.passed += 1;
        }
    });
    if let Err(panic) = seen {
        decision = Decision::Refuse("a middleware panicked");
        shared.report_failure(cell, &Failure::panic(panic));
    }
    // SAFETY: the ticket is held.
    if let Some(chain) = &mut unsafe { cell.extra() }.middleware {
        chain.in_hand = Some(in_hand);
    }
    if let Decision::Hold { reason, until } = decision {
        // SAFETY: the ticket is held.
        match unsafe { suspension::begin(cell, reason, until, true) } {
            Ok(()) => {
                // SAFETY: the ticket is held.
                unsafe {
                    after(cell, MessageOutcome::Held);
                    Stash::hold(cell, message);
                }
                // To look: the suspension may be over already.
                cell.order(Orders::KIN, false);
                return Admission::Dealt;
            }
            Err(suspension::SuspendError::Stopping) => {
                decision = Decision::Refuse("it was to wait, and the actor is stopping");
            }
            Err(_) => decision = Decision::Refuse("it was to wait, and there is no timer"),
        }
    }
    if let Decision::Refuse(why) = decision {
        // SAFETY: the ticket is held.
        unsafe { after(cell, MessageOutcome::Refused(why)) };
        let reason = DeadLetterReason::Refused(why);
        shared.dead_letters.receive(cell.index(), message, reason);
        return Admission::Dealt;
    }
    Admission::Pass(message)
}

/// Tells the chain what became of the message in hand, if there is one.
///
/// # Safety
/// The ticket is held.
#[cold]
pub(crate) unsafe fn after(cell: CellPtr, outcome: MessageOutcome<'_>) {
    if !FLOW || cell.mailbox().rare.get() & rare::EXTRA == 0 {
        return;
    }
    // SAFETY: the ticket is held.
    let Some(chain) = (unsafe { cell.known_extra() }).and_then(|extra| extra.middleware.as_mut())
    else {
        return;
    };
    let Some(in_hand) = chain.in_hand.take() else {
        return;
    };
    // SAFETY: as in `before`.
    let layers = unsafe { chain.layers() };
    let shared = &cell.home().shared;
    let done = Done {
        actor: cell.index(),
        name: cell.name(),
        incarnation: cell.mailbox().incarnation.get(),
        type_name: in_hand.type_name,
        outcome,
        took: in_hand
            .since
            .map(|since| shared.now().saturating_sub(since)),
    };
    for layer in layers.0[..in_hand.passed].iter().rev() {
        if let Err(panic) = sync::catch(|| layer.after(&done)) {
            shared.report_failure(cell, &Failure::panic(panic));
        }
    }
}
