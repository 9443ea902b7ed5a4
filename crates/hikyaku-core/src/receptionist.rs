//! The receptionist: finds actors by what they do.
//!
//! ```text
//!   service key ──► members, each so often as it has joined
//!              └──► subscribers, each with the listings it has not been sent yet
//!   actor ──► the services it is in, for its end
//! ```
//!
//! All of it is behind one lock, under which no code of the user runs. A change puts a listing into the
//! queue of each subscriber; whoever made it sends what is queued, outside the lock, unless somebody is at it
//! already: so every subscriber hears of the changes in their order.

use crate::actor_ref::{ActorRef, Recipient, SendError, WeakRecipient, WeakRef};
use crate::cell::CellPtr;
use crate::event_stream::SubscribeError;
use crate::late::Late;
use crate::registry::MailboxIndex;
use crate::sync::{self, Map, Mutex};
use crate::system::{Shared, System};
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::any::{Any, TypeId};
use core::fmt;
use core::marker::PhantomData;

/// Names a service, or a group, of actors with messages of type `M`.
///
/// Two keys are the same service if their names are and their message types are.
///
/// ```
/// use hikyaku_core::ServiceKey;
///
/// const PRINTERS: ServiceKey<String> = ServiceKey::new("printers");
/// let room: ServiceKey<String> = ServiceKey::from(format!("room-{}", 7));
/// assert_ne!(PRINTERS, room);
/// ```
pub struct ServiceKey<M> {
    name: Cow<'static, str>,
    _message: PhantomData<fn(M)>,
}

impl<M> ServiceKey<M> {
    /// A key with a fixed name. For a name that is made up while the program runs, see `From<String>`.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name: Cow::Borrowed(name),
            _message: PhantomData,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<M> From<String> for ServiceKey<M> {
    fn from(name: String) -> Self {
        Self {
            name: Cow::Owned(name),
            _message: PhantomData,
        }
    }
}

impl<M: 'static> ServiceKey<M> {
    fn place(&self) -> Place {
        (TypeId::of::<M>(), self.name.clone())
    }
}

impl<M> Clone for ServiceKey<M> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            _message: PhantomData,
        }
    }
}

impl<M> PartialEq for ServiceKey<M> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl<M> Eq for ServiceKey<M> {}

impl<M> fmt::Debug for ServiceKey<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServiceKey").field(&self.name).finish()
    }
}

/// What a subscriber is told of a service: first all members, then each change.
#[non_exhaustive]
pub enum Listing<M> {
    /// The members, each as often as it has joined. This replaces all that was told before.
    #[non_exhaustive]
    All {
        /// Which service.
        key: ServiceKey<M>,
        /// The members.
        members: Vec<ActorRef<M>>,
    },
    /// An actor has joined, perhaps once more.
    #[non_exhaustive]
    Joined {
        /// Which service.
        key: ServiceKey<M>,
        /// Who.
        member: ActorRef<M>,
    },
    /// An actor has left, or has ended. One that had joined several times leaves as often.
    #[non_exhaustive]
    Left {
        /// Which service.
        key: ServiceKey<M>,
        /// Who.
        member: ActorRef<M>,
    },
}

impl<M> Listing<M> {
    /// The service.
    pub fn key(&self) -> &ServiceKey<M> {
        match self {
            Self::All { key, .. } | Self::Joined { key, .. } | Self::Left { key, .. } => key,
        }
    }
}

impl<M> Clone for Listing<M> {
    fn clone(&self) -> Self {
        let key = self.key().clone();
        match self {
            Self::All { members, .. } => Self::All {
                key,
                members: members.clone(),
            },
            Self::Joined { member, .. } => Self::Joined {
                key,
                member: member.clone(),
            },
            Self::Left { member, .. } => Self::Left {
                key,
                member: member.clone(),
            },
        }
    }
}

impl<M> fmt::Debug for Listing<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, members) = match self {
            Self::All { members, .. } => ("All", &members[..]),
            Self::Joined { member, .. } => ("Joined", core::slice::from_ref(member)),
            Self::Left { member, .. } => ("Left", core::slice::from_ref(member)),
        };
        f.debug_struct(what)
            .field("key", self.key())
            .field("members", &members)
            .finish()
    }
}

/// Why an actor was not registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError {
    /// The actor was told to end, or has ended.
    Stopped,
    /// The actor belongs to another system.
    ForeignActor,
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "the actor takes no more messages",
            Self::ForeignActor => "the actor belongs to another system",
        })
    }
}

impl core::error::Error for RegisterError {}

/// A key without its type.
type Place = (TypeId, Cow<'static, str>);

/// What leaves the directory and may not be dropped under its lock: it holds references.
type Trash = Vec<Box<dyn Any + Send>>;

/// One listing on its way. False if there was no room for it.
type Delivery = Box<dyn FnOnce() -> bool + Send>;

struct Member<M> {
    actor: WeakRef<M>,
    /// How often it has joined.
    times: usize,
}

struct Subscriber<M: 'static> {
    to: WeakRecipient<Listing<M>>,
    waiting: VecDeque<Listing<M>>,
    /// It has missed something, and is sent the whole list at the next change.
    behind: bool,
}

struct Service<M: 'static> {
    key: ServiceKey<M>,
    members: Map<MailboxIndex, Member<M>>,
    subscribers: Map<MailboxIndex, Subscriber<M>>,
}

/// A service whose messages are of whatever type.
trait AnyService: Any + Send {
    fn is_empty(&self) -> bool;
    fn concerns(&self, actor: MailboxIndex) -> bool;
    fn subscribers(&self) -> Vec<MailboxIndex>;
    /// An actor has ended. How many changes that makes.
    fn forget(&mut self, actor: MailboxIndex, trash: &mut Trash) -> usize;
    /// The next listing for a subscriber.
    fn deliver(&mut self, subscriber: MailboxIndex) -> Option<Delivery>;
    /// A subscriber had no room for the last one.
    fn missed(&mut self, subscriber: MailboxIndex, trash: &mut Trash);
}

impl<M: Send + 'static> Service<M> {
    fn new(key: &ServiceKey<M>) -> Self {
        Self {
            key: key.clone(),
            members: Map::new(),
            subscribers: Map::new(),
        }
    }

    fn all(&self) -> Listing<M> {
        let each = self.members.values();
        let members = each.flat_map(|member| (0..member.times).map(|_| member.actor.revive()));
        Listing::All {
            key: self.key.clone(),
            members: members.collect(),
        }
    }

    /// Queues a change for every subscriber.
    fn changed(&mut self, change: &Listing<M>) {
        if self.subscribers.values().any(|one| one.behind) {
            let all = self.all();
            for one in self.subscribers.values_mut().filter(|one| one.behind) {
                one.waiting.push_back(all.clone());
            }
        }
        for one in self.subscribers.values_mut() {
            if !core::mem::take(&mut one.behind) {
                one.waiting.push_back(change.clone());
            }
        }
    }

    /// One membership more. How many it has now.
    fn join(&mut self, actor: &ActorRef<M>, trash: &mut Trash) -> usize {
        let member = self.members.entry(actor.index()).or_insert_with(|| Member {
            actor: actor.downgrade(),
            times: 0,
        });
        member.times += 1;
        let times = member.times;
        let change = Listing::Joined {
            key: self.key.clone(),
            member: actor.clone(),
        };
        self.changed(&change);
        trash.push(Box::new(change));
        times
    }

    /// One membership less. False if there is none.
    fn leave(&mut self, actor: MailboxIndex, trash: &mut Trash) -> bool {
        let Some(member) = self.members.get_mut(&actor) else {
            return false;
        };
        member.times -= 1;
        let change = Listing::Left {
            key: self.key.clone(),
            member: member.actor.revive(),
        };
        if member.times == 0
            && let Some(member) = self.members.remove(&actor)
        {
            trash.push(Box::new(member.actor));
        }
        self.changed(&change);
        trash.push(Box::new(change));
        true
    }

    /// All memberships of an actor end. How many there were.
    fn leave_fully(&mut self, actor: MailboxIndex, trash: &mut Trash) -> usize {
        let mut times = 0;
        while self.leave(actor, trash) {
            times += 1;
        }
        times
    }

    fn subscribe(&mut self, to: &Recipient<Listing<M>>, trash: &mut Trash) {
        let subscriber = Subscriber {
            to: to.downgrade(),
            waiting: VecDeque::from([self.all()]),
            behind: false,
        };
        if let Some(before) = self.subscribers.insert(to.index(), subscriber) {
            trash.push(Box::new((before.to, before.waiting)));
        }
    }

    fn unsubscribe(&mut self, actor: MailboxIndex, trash: &mut Trash) -> bool {
        let subscriber = self.subscribers.remove(&actor);
        let known = subscriber.is_some();
        if let Some(subscriber) = subscriber {
            trash.push(Box::new((subscriber.to, subscriber.waiting)));
        }
        known
    }
}

impl<M: Send + 'static> AnyService for Service<M> {
    fn is_empty(&self) -> bool {
        self.members.is_empty() && self.subscribers.is_empty()
    }

    fn concerns(&self, actor: MailboxIndex) -> bool {
        self.members.contains_key(&actor) || self.subscribers.contains_key(&actor)
    }

    fn subscribers(&self) -> Vec<MailboxIndex> {
        self.subscribers.keys().copied().collect()
    }

    fn forget(&mut self, actor: MailboxIndex, trash: &mut Trash) -> usize {
        self.unsubscribe(actor, trash);
        self.leave_fully(actor, trash)
    }

    fn deliver(&mut self, subscriber: MailboxIndex) -> Option<Delivery> {
        let subscriber = self.subscribers.get_mut(&subscriber)?;
        let listing = subscriber.waiting.pop_front()?;
        let to = subscriber.to.clone();
        Some(Box::new(move || match to.upgrade() {
            Some(to) => !matches!(to.tell(listing), Err(SendError::Full(_))),
            None => true,
        }))
    }

    fn missed(&mut self, subscriber: MailboxIndex, trash: &mut Trash) {
        if let Some(subscriber) = self.subscribers.get_mut(&subscriber) {
            subscriber.behind = true;
            trash.push(Box::new(core::mem::take(&mut subscriber.waiting)));
        }
    }
}

#[derive(Default)]
struct State {
    services: Map<Place, Box<dyn AnyService>>,
    /// The services that an actor is in.
    of: Map<MailboxIndex, Map<Place, ()>>,
    /// For whom a listing is queued, in the order in which they came.
    due: VecDeque<(Place, MailboxIndex)>,
    /// Somebody sends what is due.
    telling: bool,
    trash: Trash,
}

impl State {
    /// Does something with a service, which is made if there is none and removed if nothing is left. `act`
    /// gives how many listings each subscriber is due besides.
    fn at<M: Send + 'static, R>(
        &mut self,
        key: &ServiceKey<M>,
        actor: MailboxIndex,
        act: impl FnOnce(&mut Service<M>, &mut Trash) -> (R, usize),
    ) -> R {
        let place = key.place();
        let service = self
            .services
            .entry(place.clone())
            .or_insert_with(|| Box::new(Service::new(key)));
        let service: &mut dyn Any = &mut **service;
        let service = service
            .downcast_mut::<Service<M>>()
            .expect("the place has the type of the message");
        let (result, changes) = act(service, &mut self.trash);
        let subscribers = service.subscribers();
        if service.concerns(actor) {
            self.of.entry(actor).or_default().insert(place.clone(), ());
        } else if let Some(places) = self.of.get_mut(&actor) {
            places.remove(&place);
            if places.is_empty() {
                self.of.remove(&actor);
            }
        }
        self.settle(place, &subscribers, changes);
        result
    }

    fn forget(&mut self, actor: MailboxIndex) {
        let places = self.of.remove(&actor).unwrap_or_default();
        for place in places.into_keys() {
            if let Some(service) = self.services.get_mut(&place) {
                let changes = service.forget(actor, &mut self.trash);
                let subscribers = service.subscribers();
                self.settle(place, &subscribers, changes);
            }
        }
    }

    /// After `changes` of a service.
    fn settle(&mut self, place: Place, subscribers: &[MailboxIndex], changes: usize) {
        if self
            .services
            .get(&place)
            .is_some_and(|service| service.is_empty())
        {
            // Nothing is left in it.
            self.services.remove(&place);
        }
        for _ in 0..changes {
            let due = subscribers.iter().map(|&one| (place.clone(), one));
            self.due.extend(due);
        }
    }

    /// The next listing that is due, for whom, and where.
    fn next(&mut self) -> Option<(Place, MailboxIndex, Delivery)> {
        while let Some((place, subscriber)) = self.due.pop_front() {
            let service = self.services.get_mut(&place);
            if let Some(delivery) = service.and_then(|service| service.deliver(subscriber)) {
                return Some((place, subscriber, delivery));
            }
        }
        None
    }
}

/// Who offers what.
pub(crate) struct Directory(Late<dyn Services>);

/// What is done with them where nobody asks for a service.
trait Services: Send + Sync {
    fn desk(&self) -> &Desk;
    fn forget(&self, actor: MailboxIndex);
}

struct Desk(Mutex<State>);

impl Directory {
    pub(crate) fn new() -> Self {
        Self(Late::new())
    }

    fn desk(&self) -> &Desk {
        let new = || -> Box<dyn Services> { Box::new(Desk(Mutex::new(State::default()))) };
        self.0.or_make(new).expect("it is never closed").desk()
    }

    /// An actor has ended. *Its runner.*
    pub(crate) fn forget(&self, actor: MailboxIndex) {
        if let Some(services) = self.0.get() {
            services.forget(actor);
        }
    }
}

impl Services for Desk {
    fn desk(&self) -> &Desk {
        self
    }

    fn forget(&self, actor: MailboxIndex) {
        self.change(|state| state.forget(actor));
    }
}

impl Desk {
    /// Works on the state, and drops outside the lock what that leaves.
    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let (result, trash) = self.0.with(|state| {
            let result = work(state);
            (result, core::mem::take(&mut state.trash))
        });
        sync::quietly(|| drop(trash));
        result
    }

    /// Changes something, and sends what follows from it.
    fn change<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let result = self.with(work);
        self.tell();
        result
    }

    /// Sends what is due, unless somebody is at it: then that one sends this too.
    fn tell(&self) {
        let mut mine = false;
        loop {
            let next = self.with(|state| {
                if state.telling && !mine {
                    return None;
                }
                let next = state.next();
                state.telling = next.is_some();
                next
            });
            let Some((place, subscriber, deliver)) = next else {
                return;
            };
            mine = true;
            let mut taken = true;
            sync::quietly(|| taken = deliver());
            if !taken {
                self.with(|state| {
                    if let Some(service) = state.services.get_mut(&place) {
                        service.missed(subscriber, &mut state.trash);
                    }
                });
            }
        }
    }
}

/// Finds actors by what they do: see [`System::receptionist`].
#[derive(Clone, Copy)]
pub struct Receptionist<'a>(&'a Shared);

impl Receptionist<'_> {
    /// Registers an actor under a key. False if it was there already: registering twice is registering
    /// once. It is removed when it ends. The registration does not keep an actor alive that stops when
    /// unreferenced.
    ///
    /// # Errors
    /// [`RegisterError::Stopped`] if the actor was told to end, [`RegisterError::ForeignActor`] if it
    /// belongs to another system.
    pub fn register<M: Send + 'static>(
        &self,
        key: &ServiceKey<M>,
        actor: &ActorRef<M>,
    ) -> Result<bool, RegisterError> {
        self.enter(key, actor, |service, trash| {
            if service.members.contains_key(&actor.index()) {
                return (false, 0);
            }
            service.join(actor, trash);
            (true, 1)
        })
    }

    /// Removes an actor, however often it has joined. False if it was not there.
    pub fn deregister<M: Send + 'static>(&self, key: &ServiceKey<M>, actor: &ActorRef<M>) -> bool {
        self.act(key, actor.cell(), |service, trash| {
            let changes = service.leave_fully(actor.index(), trash);
            (changes != 0, changes)
        })
    }

    /// Adds an actor to a group, once more if it is a member already. How often it is one now. It leaves
    /// fully when it ends.
    ///
    /// Services and groups are the same thing: a member that has joined twice is found twice, and has to
    /// leave twice.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub fn join<M: Send + 'static>(
        &self,
        key: &ServiceKey<M>,
        actor: &ActorRef<M>,
    ) -> Result<usize, RegisterError> {
        self.enter(key, actor, |service, trash| (service.join(actor, trash), 1))
    }

    /// Removes an actor from a group once. False if it is no member.
    pub fn leave<M: Send + 'static>(&self, key: &ServiceKey<M>, actor: &ActorRef<M>) -> bool {
        self.act(key, actor.cell(), |service, trash| {
            let left = service.leave(actor.index(), trash);
            (left, usize::from(left))
        })
    }

    /// The members that take messages, in the order of their indexes, each as often as it has joined.
    pub fn find<M: Send + 'static>(&self, key: &ServiceKey<M>) -> Vec<ActorRef<M>> {
        let place = key.place();
        self.0.directory.desk().with(|state| {
            let service: Option<&dyn Any> = state.services.get(&place).map(|it| &**it as _);
            let service = service.and_then(|it| it.downcast_ref::<Service<M>>());
            let members = service.into_iter().flat_map(|it| it.members.values());
            members
                .flat_map(|member| (0..member.times).filter_map(|_| member.actor.upgrade()))
                .collect()
        })
    }

    /// Sends an actor the members of a service now, and every change from now on, in order. An actor that
    /// was told to stop is a member until it has ended.
    ///
    /// Nobody waits for a slow subscriber. One whose mailbox is full is sent all members anew at the next
    /// change. Subscribing twice is subscribing once; the second time all members are sent again.
    ///
    /// ```
    /// use hikyaku_core::{Actor, ActorRef, Context, Failure, Listing, ServiceKey, System};
    ///
    /// const PRINTERS: ServiceKey<String> = ServiceKey::new("printers");
    ///
    /// /// Knows how many printers there are.
    /// struct Office(usize);
    ///
    /// impl Actor for Office {
    ///     type Msg = Listing<String>;
    ///     async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
    ///         cx.system().receptionist().subscribe(&PRINTERS, &cx.me().recipient())?;
    ///         Ok(())
    ///     }
    ///     async fn handle(&mut self, listing: Self::Msg, _: &mut Context<'_, Self>) -> Result<(), Failure> {
    ///         match listing {
    ///             Listing::All { members, .. } => self.0 = members.len(),
    ///             Listing::Joined { .. } => self.0 += 1,
    ///             Listing::Left { .. } => self.0 -= 1,
    ///             _ => {}
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// [`SubscribeError::Stopped`] if the subscriber has ended, [`SubscribeError::ForeignActor`] if it
    /// belongs to another system.
    pub fn subscribe<M: Send + 'static>(
        &self,
        key: &ServiceKey<M>,
        subscriber: &Recipient<Listing<M>>,
    ) -> Result<(), SubscribeError> {
        if !self.0.is_of(subscriber.cell()) {
            return Err(SubscribeError::ForeignActor);
        }
        let index = subscriber.index();
        self.0.directory.desk().change(|state| {
            state.at(key, index, |service, trash| {
                service.subscribe(subscriber, trash);
                ((), 0)
            });
            state.due.push_back((key.place(), index));
        });
        if self.0.registry.note_listed(subscriber.cell()) {
            Ok(())
        } else {
            self.0.directory.forget(index);
            Err(SubscribeError::Stopped)
        }
    }

    /// Ends a subscription. False if there is none. What was sent before may still come.
    pub fn unsubscribe<M: Send + 'static>(
        &self,
        key: &ServiceKey<M>,
        subscriber: &Recipient<Listing<M>>,
    ) -> bool {
        self.act(key, subscriber.cell(), |service, trash| {
            (service.unsubscribe(subscriber.index(), trash), 0)
        })
    }

    /// Changes what an actor is in a service. `act` gives how many listings each subscriber is due.
    fn act<M: Send + 'static, R>(
        &self,
        key: &ServiceKey<M>,
        cell: CellPtr,
        act: impl FnOnce(&mut Service<M>, &mut Trash) -> (R, usize),
    ) -> R {
        self.0
            .directory
            .desk()
            .change(|state| state.at(key, cell.index(), act))
    }

    fn enter<M: Send + 'static, R>(
        &self,
        key: &ServiceKey<M>,
        actor: &ActorRef<M>,
        act: impl FnOnce(&mut Service<M>, &mut Trash) -> (R, usize),
    ) -> Result<R, RegisterError> {
        if !self.0.is_of(actor.cell()) {
            return Err(RegisterError::ForeignActor);
        }
        if !actor.is_alive() {
            return Err(RegisterError::Stopped);
        }
        let result = self.act(key, actor.cell(), act);
        if self.0.registry.note_listed(actor.cell()) {
            Ok(result)
        } else {
            // It has ended meanwhile, perhaps before it was in the list.
            self.0.directory.forget(actor.index());
            Err(RegisterError::Stopped)
        }
    }
}

impl fmt::Debug for Receptionist<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receptionist").finish_non_exhaustive()
    }
}

impl System {
    /// Finds actors by what they do: services and groups.
    ///
    /// ```
    /// # use hikyaku_core::{Actor, Context, Failure, ServiceKey, System};
    /// # struct Printer;
    /// # impl Actor for Printer {
    /// #     type Msg = String;
    /// #     async fn handle(&mut self, _: String, _: &mut Context<'_, Self>) -> Result<(), Failure> { Ok(()) }
    /// # }
    /// const PRINTERS: ServiceKey<String> = ServiceKey::new("printers");
    ///
    /// let (system, _workers) = System::builder("demo").build()?;
    /// let printer = system.spawn(|| Printer)?;
    /// system.receptionist().register(&PRINTERS, &printer)?;
    /// assert_eq!(system.receptionist().find(&PRINTERS), [printer]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn receptionist(&self) -> Receptionist<'_> {
        Receptionist(&self.home().shared)
    }
}

#[cfg(test)]
mod tests;
