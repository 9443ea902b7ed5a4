//! The event stream: what happens in a system, for whoever wants to know.
//!
//! With nobody listening, news cost one load, or two if somebody has, and no event is made of them. Otherwise the list of those who
//! listen is taken, an immutable one, and each of them gets the event outside the lock. Publishing never waits.

use crate::actor_ref::{ActorRef, Recipient, SendError};
use crate::cell::CellPtr;
use crate::dead_letter::{DeadLetter, DeadLetterReason};
use crate::failure::{Failure, StopCause};
use crate::late::Late;
use crate::registry::MailboxIndex;
use crate::suspension::SuspendReason;
use crate::sync::{self, Arc, AtomicUsize, Mutex, Ordering};
use crate::system::{Shared, System};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// Something that happened in a system.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A message will not be handled: see [`DeadLetter`](crate::DeadLetter). The message itself is shown to
    /// [`on_dead_letter`](crate::SystemBuilder::on_dead_letter) only.
    #[non_exhaustive]
    DeadLetter {
        /// The actor it was for.
        target: MailboxIndex,
        /// The name of its type.
        message_type: &'static str,
        /// Why it is not handled.
        reason: DeadLetterReason,
        /// The actor that sent it, if that is known.
        sender: Option<MailboxIndex>,
    },
    /// An actor has started, for the first time or after a restart. Its first message is not handled yet.
    #[non_exhaustive]
    Started {
        /// Which one.
        actor: MailboxIndex,
        /// Its name, if it has one.
        name: Option<Box<str>>,
    },
    /// An actor has failed. What becomes of it is another event.
    #[non_exhaustive]
    Failed {
        /// Which one.
        actor: MailboxIndex,
        /// Its name, if it has one.
        name: Option<Box<str>>,
        /// Why.
        failure: Failure,
    },
    /// An actor is made anew after a failure. References to it stay valid.
    #[non_exhaustive]
    Restarted {
        /// Which one.
        actor: MailboxIndex,
        /// Its name, if it has one.
        name: Option<Box<str>>,
    },
    /// An actor handles no messages until it is resumed.
    #[non_exhaustive]
    Suspended {
        /// Which one.
        actor: MailboxIndex,
        /// Its name, if it has one.
        name: Option<Box<str>>,
        /// Why.
        reason: SuspendReason,
    },
    /// A suspended actor handles messages again, or ends.
    #[non_exhaustive]
    Resumed {
        /// Which one.
        actor: MailboxIndex,
        /// Its name, if it has one.
        name: Option<Box<str>>,
        /// How long it had been suspended.
        after: Duration,
    },
    /// Much is queued in a mailbox, or not any more: see
    /// [`MailboxOptions::pressure`](crate::MailboxOptions::pressure). For each actor, high and low come in turns.
    #[non_exhaustive]
    Pressure {
        /// Which one.
        actor: MailboxIndex,
        /// Its name, if it has one.
        name: Option<Box<str>>,
        /// Much, or not any more.
        pressure: Pressure,
        /// How many messages were queued.
        depth: usize,
    },
    /// An actor has ended. Its index and its name are free; those who wait for its end are told next.
    #[non_exhaustive]
    Stopped {
        /// Which one.
        actor: MailboxIndex,
        /// The name it had.
        name: Option<Box<str>>,
        /// How it ended.
        cause: StopCause,
    },
}

/// Is much queued in a mailbox?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// As many messages as the upper mark says, or more.
    High,
    /// No more than the lower mark says, after it was high.
    Low,
}

impl Event {
    /// The actor it is about. For a dead letter the one that it was for.
    pub fn actor(&self) -> MailboxIndex {
        match self {
            Self::DeadLetter { target, .. } => *target,
            Self::Started { actor, .. }
            | Self::Failed { actor, .. }
            | Self::Restarted { actor, .. }
            | Self::Suspended { actor, .. }
            | Self::Resumed { actor, .. }
            | Self::Pressure { actor, .. }
            | Self::Stopped { actor, .. } => *actor,
        }
    }

    /// That actor's name, if it has one. A dead letter does not tell it.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::DeadLetter { .. } => None,
            Self::Started { name, .. }
            | Self::Failed { name, .. }
            | Self::Restarted { name, .. }
            | Self::Suspended { name, .. }
            | Self::Resumed { name, .. }
            | Self::Pressure { name, .. }
            | Self::Stopped { name, .. } => name.as_deref(),
        }
    }
}

/// What has happened. An [`Event`] is made of it where somebody listens. But for dead letters and pressure, *the
/// runner* tells it.
pub(crate) enum News<'a> {
    DeadLetter(&'a DeadLetter<'a>),
    Started(CellPtr),
    Failed(CellPtr, &'a Failure),
    Restarted(CellPtr),
    Suspended(CellPtr, SuspendReason),
    /// After so long.
    Resumed(CellPtr, Duration),
    /// With the name of the actor, and how many messages were queued.
    Pressure(MailboxIndex, Option<&'a str>, Pressure, usize),
    Stopped(CellPtr),
}

impl From<&News<'_>> for Event {
    fn from(news: &News<'_>) -> Self {
        let index = CellPtr::index;
        let name = |cell: CellPtr| cell.name().map(Box::from);
        match *news {
            News::DeadLetter(letter) => Self::DeadLetter {
                target: letter.target,
                message_type: letter.type_name,
                reason: letter.reason,
                sender: letter.sender,
            },
            News::Started(cell) => Self::Started {
                actor: index(cell),
                name: name(cell),
            },
            News::Failed(cell, failure) => Self::Failed {
                actor: index(cell),
                name: name(cell),
                failure: failure.clone(),
            },
            News::Restarted(cell) => Self::Restarted {
                actor: index(cell),
                name: name(cell),
            },
            News::Suspended(cell, reason) => Self::Suspended {
                actor: index(cell),
                name: name(cell),
                reason,
            },
            News::Resumed(cell, after) => Self::Resumed {
                actor: index(cell),
                name: name(cell),
                after,
            },
            News::Pressure(actor, name, pressure, depth) => Self::Pressure {
                actor,
                name: name.map(Box::from),
                pressure,
                depth,
            },
            News::Stopped(cell) => Self::Stopped {
                actor: index(cell),
                name: name(cell),
                cause: cell.cause(),
            },
        }
    }
}

/// Names a subscription, to end it: see [`Events::unsubscribe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subscription(usize);

/// Why an actor was not subscribed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The actor has ended.
    Stopped,
    /// The actor belongs to another system.
    ForeignActor,
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "the actor has ended",
            Self::ForeignActor => "the actor belongs to another system",
        })
    }
}

impl core::error::Error for SubscribeError {}

/// Gives an event to one that listens. False if there was no room for it.
type Sink = Box<dyn Fn(&Event) -> bool + Send + Sync>;

struct Listener {
    number: usize,
    /// The actor, if it is one.
    actor: Option<MailboxIndex>,
    sink: Sink,
}

/// Never changed: a change makes another list.
type Listeners = Arc<Vec<Arc<Listener>>>;

/// Those who listen.
pub(crate) struct EventStream(Late<dyn Audience>);

/// What is done where somebody listens, or has.
trait Audience: Send + Sync {
    fn hall(&self) -> &Hall;
    fn is_listening(&self) -> bool;
    fn publish(&self, news: &News<'_>);
    fn forget(&self, actor: MailboxIndex);
    fn end(&self);
}

struct Hall {
    /// How many listen: for the one load.
    listening: AtomicUsize,
    state: Mutex<State>,
    dropped: AtomicUsize,
}

struct State {
    /// `None` once the system has stopped, and nothing will happen any more.
    listeners: Option<Listeners>,
    last: usize,
}

impl EventStream {
    pub(crate) fn new() -> Self {
        Self(Late::new())
    }

    /// Does anybody want to know?
    #[inline]
    pub(crate) fn is_listening(&self) -> bool {
        self.0.get().is_some_and(|audience| audience.is_listening())
    }

    /// Gives an event to all who listen. *Any thread, holding no lock.* Panics of listeners end here.
    #[inline]
    pub(crate) fn publish(&self, news: &News<'_>) {
        if let Some(audience) = self.0.get() {
            audience.publish(news);
        }
    }

    /// An actor has ended.
    pub(crate) fn forget(&self, actor: MailboxIndex) {
        if let Some(audience) = self.0.get() {
            audience.forget(actor);
        }
    }

    /// The system has stopped. What listens may hold the system, so it must go.
    pub(crate) fn end(&self) {
        if let Some(audience) = self.0.close() {
            audience.end();
        }
    }

    fn hall(&self) -> Option<&Hall> {
        self.0.get().map(|audience| audience.hall())
    }

    fn add(&self, actor: Option<MailboxIndex>, sink: Sink) -> Subscription {
        let audience = self.0.or_make(|| Box::new(Hall::new()));
        Subscription(audience.map_or(0, |audience| audience.hall().add(actor, sink)))
    }

    /// Removes those for which `is_gone` holds. False if there are none.
    fn remove(&self, is_gone: impl Fn(&Listener) -> bool) -> bool {
        self.hall().is_some_and(|hall| hall.remove(is_gone))
    }
}

impl Audience for Hall {
    fn hall(&self) -> &Hall {
        self
    }

    fn is_listening(&self) -> bool {
        // Relaxed: one who comes meanwhile may miss this event. Who subscribed before it, in any
        // order of things, is seen.
        self.listening.load(Ordering::Relaxed) != 0
    }

    fn publish(&self, news: &News<'_>) {
        if !self.is_listening() {
            return;
        }
        let Some(listeners) = self.listeners() else {
            return;
        };
        let event = &Event::from(news);
        // What one subscriber loses is not told to another, which might lose it as well, and so on.
        let of_subscriber = matches!(event, Event::DeadLetter { target, .. }
            if listeners.iter().any(|listener| listener.actor == Some(*target)));
        for listener in listeners.iter() {
            if listener.actor.is_some() && of_subscriber {
                continue;
            }
            sync::quietly(|| {
                if !(listener.sink)(event) {
                    // Relaxed: a statistic.
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // It may be the last holder of one that was unsubscribed meanwhile.
        discard(listeners);
    }

    fn forget(&self, actor: MailboxIndex) {
        self.remove(|listener| listener.actor == Some(actor));
    }

    fn end(&self) {
        let old = self.state.with(|state| {
            // Relaxed: see `is_listening`.
            self.listening.store(0, Ordering::Relaxed);
            state.listeners.take()
        });
        sync::quietly(|| drop(old));
    }
}

impl Hall {
    fn new() -> Self {
        Self {
            listening: AtomicUsize::new(0),
            state: Mutex::new(State {
                listeners: Some(Listeners::default()),
                last: 0,
            }),
            dropped: AtomicUsize::new(0),
        }
    }

    fn listeners(&self) -> Option<Listeners> {
        self.state.with(|state| state.listeners.clone())
    }

    /// The number of the subscription.
    fn add(&self, actor: Option<MailboxIndex>, sink: Sink) -> usize {
        let number = self.state.with(|state| {
            state.last += 1;
            state.last
        });
        let listener = Arc::new(Listener {
            number,
            actor,
            sink,
        });
        self.change(|listeners| {
            let mut more = listeners.clone();
            more.push(Arc::clone(&listener));
            Some(more)
        });
        number
    }

    /// Removes those for which `is_gone` holds. False if there are none.
    fn remove(&self, is_gone: impl Fn(&Listener) -> bool) -> bool {
        self.change(|listeners| {
            // First looked for: most that end do not listen.
            listeners.iter().find(|listener| is_gone(listener))?;
            let mut rest = listeners.clone();
            rest.retain(|listener| !is_gone(listener));
            Some(rest)
        })
    }

    /// Puts another list in the place of the old one, which is dropped outside the lock: what listens
    /// is the user's.
    fn change(
        &self,
        change: impl FnOnce(&Vec<Arc<Listener>>) -> Option<Vec<Arc<Listener>>>,
    ) -> bool {
        let old = self.state.with(|state| {
            let now = state.listeners.as_mut()?;
            let listeners = Arc::new(change(now)?);
            // Relaxed: see `is_listening`. Under the lock, so it fits the list.
            self.listening.store(listeners.len(), Ordering::Relaxed);
            Some(core::mem::replace(now, listeners))
        });
        let changed = old.is_some();
        if let Some(old) = old {
            discard(old);
        }
        changed
    }
}

/// Drops a list, and with it perhaps closures of the user.
fn discard(listeners: Listeners) {
    sync::quietly(|| drop(listeners));
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listeners = self.hall().and_then(Hall::listeners);
        let listening = listeners.map_or(0, |listeners| listeners.len());
        f.debug_struct("EventStream")
            .field("listeners", &listening)
            .finish_non_exhaustive()
    }
}

/// The events of a system: see [`System::events`].
#[derive(Clone, Copy)]
pub struct Events<'a>(&'a Shared);

impl Events<'_> {
    /// Sends an actor those events that `map` turns into messages. See [`subscribe`](Self::subscribe).
    ///
    /// `map` runs where the event happens, often on the worker of another actor: it should be quick. A
    /// panic in it is swallowed.
    ///
    /// # Errors
    /// [`SubscribeError`], see there.
    pub fn subscribe_with<M: Send + 'static>(
        &self,
        actor: &ActorRef<M>,
        map: impl Fn(&Event) -> Option<M> + Send + Sync + 'static,
    ) -> Result<Subscription, SubscribeError> {
        let weak = actor.downgrade();
        self.add(actor.cell(), move |event| {
            let Some(actor) = weak.upgrade() else {
                return true;
            };
            match map(event) {
                Some(message) => !matches!(actor.tell(message), Err(SendError::Full(_))),
                None => true,
            }
        })
    }

    /// Sends an actor all events, until it ends or the subscription does. The subscription does not
    /// keep an actor alive that stops when unreferenced.
    ///
    /// An event is sent where it happens, and nobody waits for a slow subscriber: what finds its
    /// mailbox full is dropped and counted, see [`dropped`](Self::dropped). Give it a bounded mailbox,
    /// or it grows in a storm.
    ///
    /// A dead letter that was meant for a subscriber is told to closures only: otherwise two subscribers
    /// that lose messages would keep each other busy.
    ///
    /// An actor that subscribes twice gets each event twice.
    ///
    /// ```
    /// use hikyaku_core::{Actor, Context, Event, Failure, MailboxOptions, SpawnOptions, System};
    ///
    /// /// Counts failures.
    /// struct Watchman(usize);
    ///
    /// impl Actor for Watchman {
    ///     type Msg = Event;
    ///     async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
    ///         cx.system().events().subscribe(&cx.me().recipient())?;
    ///         Ok(())
    ///     }
    ///     async fn handle(&mut self, event: Event, _: &mut Context<'_, Self>) -> Result<(), Failure> {
    ///         if let Event::Failed { .. } = event { self.0 += 1; }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let (system, _workers) = System::builder("demo").build()?;
    /// let options = SpawnOptions::new().mailbox(MailboxOptions::bounded(1000));
    /// system.spawn_with(options, || Watchman(0))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubscribeError::Stopped`] if the actor has ended, [`SubscribeError::ForeignActor`] if it
    /// belongs to another system.
    pub fn subscribe(&self, recipient: &Recipient<Event>) -> Result<Subscription, SubscribeError> {
        let weak = recipient.downgrade();
        self.add(recipient.cell(), move |event| match weak.upgrade() {
            Some(recipient) => !matches!(recipient.tell(event.clone()), Err(SendError::Full(_))),
            None => true,
        })
    }

    fn add(
        &self,
        cell: CellPtr,
        sink: impl Fn(&Event) -> bool + Send + Sync + 'static,
    ) -> Result<Subscription, SubscribeError> {
        if !self.0.is_of(cell) {
            return Err(SubscribeError::ForeignActor);
        }
        let subscription = self.0.events().add(Some(cell.index()), Box::new(sink));
        if self.0.registry.note_listed(cell) {
            Ok(subscription)
        } else {
            self.unsubscribe(subscription);
            Err(SubscribeError::Stopped)
        }
    }

    /// Calls `listener` for each event, where it happens, often on the worker of another actor: it
    /// should be quick, and must not block. Its panics are swallowed. It is dropped when the
    /// subscription ends, at the latest when the system has stopped.
    ///
    /// ```
    /// # use hikyaku_core::{Event, System};
    /// # let (system, _workers) = System::builder("demo").build()?;
    /// let listening = system.events().listen(|event| {
    ///     if let Event::Stopped { actor, cause, .. } = event {
    ///         println!("{actor} has ended: {cause}");
    ///     }
    /// });
    /// assert!(system.events().unsubscribe(listening));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn listen(&self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Subscription {
        let sink = move |event: &Event| {
            listener(event);
            true
        };
        self.0.events().add(None, Box::new(sink))
    }

    /// Ends a subscription. False if it has ended. An event that happens meanwhile may still come.
    pub fn unsubscribe(&self, subscription: Subscription) -> bool {
        self.0
            .events()
            .remove(|listener| listener.number == subscription.0)
    }

    /// How many events did not reach a subscriber because its mailbox was full, one for each
    /// subscriber. Wraps at the size of a machine word.
    pub fn dropped(&self) -> usize {
        let hall = self.0.events().hall();
        // Relaxed: a statistic.
        hall.map_or(0, |hall| hall.dropped.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Events<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.events(), f)
    }
}

impl System {
    /// What happens in the system: dead letters, failures, restarts, ends. For monitoring and logs.
    pub fn events(&self) -> Events<'_> {
        Events(&self.home().shared)
    }
}
