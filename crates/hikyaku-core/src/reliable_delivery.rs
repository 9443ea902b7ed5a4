//! Reliable delivery: numbered messages, sent again until they are confirmed.
//!
//! ```text
//!   producer:  confirmed ≤ received ≤ sent ≤ last      sent ≤ up to
//!                 │ kept until confirmed ──────────►
//!   consumer:  confirmed ≤ taken ≤ received, then holes and what came early, up to a window
//! ```
//!
//! Both sides are values that neither send nor wait: they are asked what to send, and told what has come and
//! what time it is. The way between them may lose, double and reorder what it carries, packets and demands alike.
//!
//! A consumer has a session, a number that grows with each of its lives. A packet that was meant for another life is not
//! looked at, but answered by a demand, from which the producer learns the session; it then begins with what is not
//! confirmed yet.

use crate::actor_ref::SendError;
use crate::supervision::{Backoff, mix};
use alloc::collections::{BTreeMap, VecDeque};
use core::ops::Bound;
use core::time::Duration;

mod chunks;

pub use chunks::{Assembly, Chunk};

/// A message on its way from a [`Producer`] to a [`Consumer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<M> {
    /// Who has sent it.
    pub producer: u64,
    /// The session of the consumer that it is meant for, if the producer knows it.
    pub session: Option<u64>,
    /// Where the producer has begun in this session: what is before was confirmed.
    pub base: u64,
    /// The number of the message, from one on.
    pub number: u64,
    /// The message.
    pub message: M,
}

/// What a [`Consumer`] tells a [`Producer`]: what it has, and how much more it can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Who is told.
    pub producer: u64,
    /// The session of the consumer.
    pub session: u64,
    /// All up to this number was handled.
    pub confirmed: u64,
    /// All up to this number has come.
    pub received: u64,
    /// All from there to this number is missing, though something behind it has come. Not above `received` if nothing
    /// is known to be missing, or it was told before.
    pub missing: u64,
    /// All up to this number may be sent.
    pub up_to: u64,
}

/// The sending side of reliable delivery: numbers messages, and keeps them until they are confirmed.
///
/// It is a value that an actor owns. [`push`](Self::push) it what is to be sent; hand it the [`Demand`]s that come;
/// after both, and when it is [`due`](Self::due), send what [`poll`](Self::poll) gives. `M` is `Clone`, for a message
/// may be sent more than once; large ones go into an `Arc`.
///
/// Each message is handled at least once, and in order. It is handled again only if the consumer has lost
/// its memory of having handled it: see [`Consumer`].
///
/// ```
/// use hikyaku_core::{Actor, ActorRef, Backoff, Context, Demand, Failure, Packet, Producer, Timer};
/// use std::time::Duration;
///
/// struct Orders {
///     producer: Producer<String>,
///     shop: ActorRef<Packet<String>>,
/// }
///
/// enum OrdersMsg { New(String), Demand(Demand), Due }
///
/// impl Actor for Orders {
///     type Msg = OrdersMsg;
///     async fn handle(&mut self, msg: OrdersMsg, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
///         match msg {
///             OrdersMsg::New(order) => self.producer.push(order).map_err(|full| full.without_message())?,
///             OrdersMsg::Demand(demand) => self.producer.demand(&demand, cx.now()),
///             OrdersMsg::Due => {}
///         }
///         while let Some(packet) = self.producer.poll(cx.now()) {
///             // What is lost here is sent again.
///             let _ = self.shop.tell(packet);
///         }
///         if let Some(due) = self.producer.due() {
///             let delay = due.saturating_sub(cx.now()).max(Duration::from_millis(1));
///             cx.start_timer("due", Timer::once(delay, OrdersMsg::Due))?;
///         }
///         Ok(())
///     }
/// }
///
/// # let resend = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
/// let mut producer = Producer::new(1, resend);
/// # producer.push("order".to_string()).unwrap();
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Producer<M> {
    id: u64,
    resend: Backoff,
    capacity: usize,
    /// Those behind `confirmed`.
    kept: VecDeque<M>,
    confirmed: u64,
    session: Option<u64>,
    base: u64,
    /// In this session.
    sent: u64,
    received: u64,
    up_to: u64,
    /// To be sent again: from the first up to the second.
    again: (u64, u64),
    /// What was sent when the time was up. If the next demand shows that something was lost, all of it is sent again.
    suspect: u64,
    deadline: Duration,
    /// How often the time was up since something was heard.
    timeouts: u32,
}

impl<M: Clone> Producer<M> {
    /// A producer without a past. Its id tells it apart from the other producers of its consumers, and must not have
    /// been used by one whose messages were not [`restored`](Self::restore).
    ///
    /// What is not confirmed is sent again after a while, that grows as `resend` says as long as nothing is heard.
    pub fn new(id: u64, resend: Backoff) -> Self {
        Self::restore(id, resend, 0, [])
    }

    /// A producer that goes on where one with the same id was: so many messages were confirmed, and these are those
    /// behind. For one whose messages are stored: keep each before it is pushed, with the number that it will
    /// have, and forget those up to [`confirmed`](Self::confirmed).
    pub fn restore(
        id: u64,
        resend: Backoff,
        confirmed: u64,
        kept: impl IntoIterator<Item = M>,
    ) -> Self {
        Self {
            id,
            resend,
            capacity: usize::MAX,
            kept: kept.into_iter().collect(),
            confirmed,
            session: None,
            base: confirmed + 1,
            sent: confirmed,
            received: confirmed,
            // One, to learn of the consumer.
            up_to: confirmed + 1,
            again: (1, 0),
            suspect: 0,
            deadline: Duration::ZERO,
            timeouts: 0,
        }
    }

    /// Keeps no more than so many messages.
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages;
        self
    }

    /// Takes a message to be sent, when the consumer can take it. Its number is that of [`last`](Self::last) then.
    ///
    /// # Errors
    /// [`SendError::Full`] with the message, if as many wait for their confirmation as are kept at most.
    pub fn push(&mut self, message: M) -> Result<(), SendError<M>> {
        if self.kept.len() >= self.capacity {
            return Err(SendError::Full(message));
        }
        self.kept.push_back(message);
        Ok(())
    }

    /// All up to this number was handled by the consumer.
    pub fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// The number of the last message that was pushed.
    pub fn last(&self) -> u64 {
        self.confirmed + self.kept.len() as u64
    }

    /// The messages that are not confirmed, oldest first.
    pub fn unconfirmed(&self) -> impl Iterator<Item = &M> {
        self.kept.iter()
    }

    /// Hears of the consumer. What is meant for another producer, or comes from a former life of the consumer, is
    /// passed over.
    pub fn demand(&mut self, demand: &Demand, now: Duration) {
        if demand.producer != self.id || Some(demand.session) < self.session {
            return;
        }
        let begins = self.session != Some(demand.session);
        let progress =
            begins || demand.received > self.received || demand.confirmed > self.confirmed;
        let current = begins || demand.received >= self.received;
        self.confirm(demand.confirmed);
        if begins {
            self.session = Some(demand.session);
            self.base = self.confirmed + 1;
            // More than is confirmed if it is this side that has begun anew.
            self.sent = demand.received.min(self.last()).max(self.confirmed);
            self.received = self.sent;
            // A consumer that has forgotten what was confirmed counts from there once it is told.
            let ahead = self.confirmed - demand.confirmed.min(self.confirmed);
            self.up_to = demand.up_to.saturating_add(ahead);
            self.again = (1, 0);
            self.suspect = 0;
        }
        self.sent = self.sent.max(self.confirmed);
        self.received = self
            .received
            .max(demand.received)
            .max(self.confirmed)
            .min(self.sent);
        self.up_to = self.up_to.max(demand.up_to);
        if current && demand.missing > self.received {
            self.again = (self.received + 1, demand.missing.min(self.sent));
        }
        if progress {
            if self.suspect > self.received {
                self.again = (self.received + 1, self.suspect);
            }
            self.suspect = 0;
            self.timeouts = 0;
            self.wait(now);
        }
    }

    fn confirm(&mut self, number: u64) {
        while self.confirmed < number && self.kept.pop_front().is_some() {
            self.confirmed += 1;
        }
        // The consumer knows more than a producer that was restored from an older state: these numbers are taken.
        self.confirmed = self.confirmed.max(number);
    }

    /// From now on it waits for a while.
    fn wait(&mut self, now: Duration) {
        let random = mix(self.id ^ mix(self.sent ^ u64::from(self.timeouts) << 32));
        let delay = self.resend.delay(self.timeouts, random);
        // Later than now in any case, or `poll` would go on and on.
        self.deadline = now.saturating_add(delay.max(Duration::from_nanos(1)));
    }

    /// The next packet to be sent, if there is one now.
    pub fn poll(&mut self, now: Duration) -> Option<Packet<M>> {
        let (from, to) = self.again;
        let from = from.max(self.confirmed + 1);
        if from <= to {
            self.again = (from + 1, to);
            return self.packet(from);
        }
        if self.sent < self.up_to && self.sent < self.last() {
            if self.sent == self.confirmed {
                self.wait(now);
            }
            self.sent += 1;
            return self.packet(self.sent);
        }
        if self.due()? > now {
            return None;
        }
        // Either something was lost on the way there, or a demand on the way back: one packet is enough to find out.
        self.suspect = self.sent;
        self.timeouts = self.timeouts.saturating_add(1);
        self.wait(now);
        if self.received < self.sent {
            self.packet(self.received + 1)
        } else {
            self.packet(self.confirmed + 1)
        }
    }

    /// When [`poll`](Self::poll) will have something that is to be sent again, unless something is heard before. None
    /// if nothing is on its way.
    pub fn due(&self) -> Option<Duration> {
        (self.confirmed < self.sent).then_some(self.deadline)
    }

    fn packet(&self, number: u64) -> Option<Packet<M>> {
        let place = usize::try_from(number - self.confirmed - 1).ok()?;
        Some(Packet {
            producer: self.id,
            session: self.session,
            base: self.base,
            number,
            message: self.kept.get(place)?.clone(),
        })
    }
}

/// A message for the consumer's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery<M> {
    /// Who has sent it.
    pub producer: u64,
    /// Its number: the one that follows that of the last one of the same producer. After a restart of the consumer it
    /// may begin before what was handled last.
    pub number: u64,
    /// The message.
    pub message: M,
}

/// The receiving side of reliable delivery, for any number of producers: puts messages in order, and each once.
///
/// It is a value that an actor owns. Hand it the packets that come; handle what [`take`](Self::take) gives, and
/// [`confirm`](Self::confirm) it then; send the demands that [`poll`](Self::poll) gives to their producers.
///
/// What was taken and not confirmed when its owner was restarted comes again. What was confirmed comes again only if the
/// producer has not heard of it; to leave that out, store the number together with what the message does, and
/// [`resume`](Self::resume) with it. Then each message has its effect exactly once.
///
/// ```
/// use hikyaku_core::{Actor, ActorRef, Consumer, Context, Demand, Failure, Packet};
///
/// struct Shop {
///     consumer: Consumer<String>,
///     orders: ActorRef<Demand>,
/// }
///
/// impl Actor for Shop {
///     type Msg = Packet<String>;
///     async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
///         // Each life of the actor is a session.
///         self.consumer = Consumer::new(u64::from(cx.incarnation()), 50);
///         Ok(())
///     }
///     async fn handle(&mut self, packet: Packet<String>, _: &mut Context<'_, Self>) -> Result<(), Failure> {
///         self.consumer.receive(packet);
///         while let Some(order) = self.consumer.take() {
///             println!("{}", order.message);
///             self.consumer.confirm(order.producer, order.number);
///         }
///         while let Some(demand) = self.consumer.poll() {
///             // One that is lost is followed by another.
///             let _ = self.orders.tell(demand);
///         }
///         Ok(())
///     }
/// }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Consumer<M> {
    session: u64,
    window: u64,
    producers: BTreeMap<u64, Inbound<M>>,
    /// Whose message was taken last.
    turn: u64,
}

#[derive(Debug, Clone)]
struct Inbound<M> {
    confirmed: u64,
    taken: u64,
    received: u64,
    /// Those behind `taken` that are there.
    waiting: BTreeMap<u64, M>,
    /// What the last demand said.
    told: Told,
    owes: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Told {
    confirmed: u64,
    taken: u64,
    missing: u64,
}

impl<M> Inbound<M> {
    fn new(confirmed: u64) -> Self {
        Self {
            confirmed,
            taken: confirmed,
            received: confirmed,
            waiting: BTreeMap::new(),
            told: Told {
                confirmed,
                taken: confirmed,
                missing: 0,
            },
            owes: false,
        }
    }

    /// What is before has been confirmed, if not in this life, then in an earlier one. That may also turn out later: the
    /// producer was restarted meanwhile, and has heard of it only then.
    fn begin(&mut self, base: u64) {
        let before = base.saturating_sub(1);
        if before > self.taken {
            self.waiting = self.waiting.split_off(&base);
            self.confirmed = before;
            self.taken = before;
            self.received = self.received.max(before);
            self.catch_up();
        }
    }

    /// Counts what has come without a hole.
    fn catch_up(&mut self) {
        while self.waiting.contains_key(&(self.received + 1)) {
            self.received += 1;
        }
    }

    fn receive(&mut self, number: u64, message: M, window: u64) {
        if number <= self.received || number > self.taken.saturating_add(window) {
            // It was not heard that this has come, or that it is too much.
            self.owes = true;
            return;
        }
        self.waiting.insert(number, message);
        self.catch_up();
        // Told once for each hole: a second demand would bring everything twice.
        self.owes |= self.missing() > self.told.missing;
    }

    /// The last number of the first hole.
    fn missing(&self) -> u64 {
        let behind = self.waiting.range(self.received + 1..).next();
        behind.map_or(0, |(number, _)| number - 1)
    }

    fn demand(&mut self, producer: u64, session: u64, window: u64) -> Demand {
        self.owes = false;
        let missing = self.missing();
        let news = missing > self.told.missing;
        self.told = Told {
            confirmed: self.confirmed,
            taken: self.taken,
            missing: missing.max(self.told.missing),
        };
        Demand {
            producer,
            session,
            confirmed: self.confirmed,
            received: self.received,
            missing: if news { missing } else { 0 },
            up_to: self.taken.saturating_add(window),
        }
    }
}

impl<M> Consumer<M> {
    /// A consumer that keeps up to so many messages of each producer, one at least. Its session must be greater than
    /// that of its predecessor: [`Context::incarnation`](crate::Context::incarnation) will do for one that is
    /// restarted, and the time of day for others.
    pub fn new(session: u64, window: usize) -> Self {
        Self {
            session,
            window: (window as u64).max(1),
            producers: BTreeMap::new(),
            turn: 0,
        }
    }

    /// It goes on where its predecessor was: of this producer it has confirmed all up to this number.
    pub fn resume(mut self, producer: u64, confirmed: u64) -> Self {
        self.producers.insert(producer, Inbound::new(confirmed));
        self
    }

    /// A packet has come.
    pub fn receive(&mut self, packet: Packet<M>) {
        let inbound = self.producers.entry(packet.producer);
        let inbound = inbound.or_insert_with(|| Inbound::new(0));
        if packet.session == Some(self.session) {
            inbound.begin(packet.base);
            inbound.receive(packet.number, packet.message, self.window);
        } else {
            // The producer is to learn whom it talks to.
            inbound.owes = true;
        }
    }

    /// The next message to be handled: of each producer in order, of several producers in turn.
    pub fn take(&mut self) -> Option<Delivery<M>> {
        let half = self.window.div_ceil(2);
        let behind = (Bound::Excluded(self.turn), Bound::Unbounded);
        let ids = self
            .producers
            .range(behind)
            .chain(self.producers.range(..=self.turn));
        let producer = ids
            .filter(|(_, inbound)| inbound.taken < inbound.received)
            .map(|(id, _)| *id)
            .next()?;
        let inbound = self.producers.get_mut(&producer)?;
        let number = inbound.taken + 1;
        let message = inbound.waiting.remove(&number)?;
        inbound.taken = number;
        // More is asked for half-way, so that the producer need not wait.
        inbound.owes |= inbound.taken - inbound.told.taken >= half;
        self.turn = producer;
        Some(Delivery {
            producer,
            number,
            message,
        })
    }

    /// All that was taken of this producer up to this number was handled, and need not come again.
    pub fn confirm(&mut self, producer: u64, number: u64) {
        if let Some(inbound) = self.producers.get_mut(&producer) {
            inbound.confirmed = inbound.confirmed.max(number.min(inbound.taken));
            let unheard = inbound.confirmed - inbound.told.confirmed;
            let nothing_left = inbound.confirmed == inbound.received;
            inbound.owes |= unheard > 0 && (nothing_left || unheard >= self.window.div_ceil(2));
        }
    }

    /// All up to this number was confirmed of this producer: what [`resume`](Self::resume) wants to know.
    pub fn confirmed(&self, producer: u64) -> u64 {
        self.producers
            .get(&producer)
            .map_or(0, |inbound| inbound.confirmed)
    }

    /// The next demand to be sent to its producer, if there is one now.
    pub fn poll(&mut self) -> Option<Demand> {
        let mut producers = self.producers.iter_mut();
        let (id, inbound) = producers.find(|(_, inbound)| inbound.owes)?;
        Some(inbound.demand(*id, self.session, self.window))
    }

    /// Forgets a producer that will not be heard of again, with what has come of it.
    pub fn forget(&mut self, producer: u64) {
        self.producers.remove(&producer);
    }
}
