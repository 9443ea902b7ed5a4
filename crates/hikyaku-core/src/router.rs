//! Routers: one of several actors gets each message.
//!
//! ```text
//!   set: list ──► member: actor, key, load        (a new list for each change, behind a lock)
//!     ▲   version
//!   router: its own view of the list, and where it goes on
//! ```
//!
//! A router looks at the version, which costs one load, and takes the lock only when the list has changed.
//! So routing happens where the message is sent, and costs no hop.

use crate::actor_ref::{ActorRef, SendError};
use crate::ask::{self, Ask, AskError, Reply, Within};
use crate::receptionist::Listing;
use crate::supervision::mix;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering};
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

pub(crate) mod pool;

/// How a [`Router`] chooses.
#[non_exhaustive]
pub enum Routing<M> {
    /// One after the other.
    RoundRobin,
    /// Any of them, drawn from this seed.
    Random(u64),
    /// The one with the fewest questions that wait for their answers, of those asked by [`Router::ask`] of any
    /// clone; among several of these one after the other. What was not asked is not counted: mailboxes do not
    /// count, for that would cost every message.
    LeastLoaded,
    /// Messages with the same key go to the same member, as long as it is there. When one leaves, only
    /// its keys move; when one comes, only those that move to it do.
    ByKey(fn(&M) -> u64),
}

impl<M> Clone for Routing<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Routing<M> {}

impl<M> fmt::Debug for Routing<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RoundRobin => "RoundRobin",
            Self::Random(_) => "Random",
            Self::LeastLoaded => "LeastLoaded",
            Self::ByKey(_) => "ByKey",
        })
    }
}

pub(crate) struct Member<M> {
    actor: ActorRef<M>,
    /// What keys are compared with, spread over all bits.
    key: u64,
    load: Arc<AtomicUsize>,
}

impl<M> Member<M> {
    fn new(actor: ActorRef<M>, key: u64) -> Arc<Self> {
        Arc::new(Self {
            actor,
            key: mix(key),
            load: Arc::default(),
        })
    }

    fn load(&self) -> usize {
        // Relaxed: advice only.
        self.load.load(Ordering::Relaxed)
    }
}

/// Never changed: a change makes another list.
type Members<M> = Arc<Vec<Arc<Member<M>>>>;

struct Set<M> {
    members: Mutex<Members<M>>,
    version: AtomicUsize,
    /// How many routers there have been, so that each begins elsewhere.
    routers: AtomicUsize,
}

impl<M> Set<M> {
    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Member<M>>>)) {
        let old = self.members.with(|members| {
            let mut list = Vec::clone(members);
            change(&mut list);
            // Relaxed, twice: the list itself is passed on by the lock. Who learns of the change by a message
            // sees the version too; who does not may be told of the change a little later.
            let version = self.version.load(Ordering::Relaxed).wrapping_add(1);
            self.version.store(version, Ordering::Relaxed);
            core::mem::replace(members, Arc::new(list))
        });
        // Outside the lock: it holds references, whose end may end actors.
        drop(old);
    }
}

/// Sends each message to one of several actors, chosen by a [`Routing`].
///
/// Clones share the members, and each has a place of its own in their order. Give each sender a clone: sending
/// needs `&mut`, and neither a lock nor a hop.
///
/// A member that takes no more messages is passed over, and leaves. One whose mailbox is full is passed over
/// too, unless the message has a key. A clone that is not used keeps its last view of the members, and with it
/// those alive that stop when unreferenced.
///
/// ```
/// use hikyaku_core::{ActorRef, Router, Routing};
///
/// enum Job { Mail { user: u64 } }
///
/// # fn demo(workers: Vec<ActorRef<Job>>) -> Result<(), Box<dyn std::error::Error>> {
/// let by_user = Routing::ByKey(|job: &Job| match job { Job::Mail { user } => *user });
/// let mut router = Router::new(by_user, workers);
/// router.tell(Job::Mail { user: 7 })?;
/// # Ok(()) }
/// ```
pub struct Router<M> {
    set: Arc<Set<M>>,
    seen: Members<M>,
    version: usize,
    routing: Routing<M>,
    /// Where it goes on, or what it has drawn.
    turn: usize,
}

impl<M> Router<M> {
    /// A router for these actors; there may be none.
    pub fn new(routing: Routing<M>, actors: impl IntoIterator<Item = ActorRef<M>>) -> Self {
        let router = Self::empty(routing);
        router.set(actors);
        router
    }

    fn empty(routing: Routing<M>) -> Self {
        let set = Set {
            members: Mutex::new(Members::default()),
            version: AtomicUsize::new(0),
            routers: AtomicUsize::new(1),
        };
        Self {
            set: Arc::new(set),
            seen: Members::default(),
            version: 0,
            routing,
            turn: 0,
        }
    }

    /// The same members by another routing.
    #[must_use]
    pub fn routing(mut self, routing: Routing<M>) -> Self {
        self.routing = routing;
        self
    }

    /// Adds a member, for all clones. One that is added twice gets twice as many messages.
    pub fn add(&self, actor: ActorRef<M>) {
        let member = Member::new(actor.clone(), key_of(&actor));
        self.set.change(|members| members.push(member));
    }

    /// Takes a member out, once. It goes on with what it was sent. False if it is none.
    pub fn remove(&self, actor: &ActorRef<M>) -> bool {
        let mut found = None;
        self.set.change(|members| {
            if let Some(at) = members.iter().position(|member| member.actor == *actor) {
                found = Some(members.remove(at));
            }
        });
        found.is_some()
    }

    /// Replaces all members. Those that stay keep what is counted for them.
    pub fn set(&self, actors: impl IntoIterator<Item = ActorRef<M>>) {
        let actors: Vec<_> = actors.into_iter().collect();
        let before = self.members();
        let after: Vec<_> = actors
            .into_iter()
            .map(|actor| {
                let known = before.iter().find(|member| member.actor == actor);
                known.map_or_else(|| Member::new(actor.clone(), key_of(&actor)), Arc::clone)
            })
            .collect();
        self.set.change(|members| *members = after);
    }

    /// Changes the members as a service has changed: give it each [`Listing`] that a subscription to the
    /// receptionist brings, and it routes to that group.
    pub fn follow(&self, listing: &Listing<M>) {
        match listing {
            Listing::All { members, .. } => self.set(members.iter().cloned()),
            Listing::Joined { member, .. } => self.add(member.clone()),
            Listing::Left { member, .. } => {
                self.remove(member);
            }
        }
    }

    /// How many members there are, those included that have ended and were not noticed yet.
    pub fn len(&self) -> usize {
        self.members().len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn members(&self) -> Members<M> {
        self.set.members.with(|members| Arc::clone(members))
    }

    /// Sees the members as they are now.
    #[inline]
    fn look(&mut self) {
        // Relaxed: see `Set::change`.
        let version = self.set.version.load(Ordering::Relaxed);
        if version != self.version {
            // A change between the two is looked at again next time.
            self.version = version;
            self.seen = self.members();
        }
    }

    /// The first choice. There is somebody to choose.
    #[inline]
    fn choose(&mut self, message: &M) -> usize {
        let count = self.seen.len();
        let turn = self.turn;
        self.turn = turn.wrapping_add(1);
        match self.routing {
            Routing::RoundRobin => {
                // Divides once a round only: that costs more than all the rest.
                let at = if turn < count { turn } else { turn % count };
                self.turn = at + 1;
                at
            }
            Routing::Random(seed) => {
                // The upper half of 64 bits as a fraction of the count.
                let drawn = mix(seed ^ turn as u64) >> 32;
                ((drawn * count as u64) >> 32) as usize
            }
            Routing::LeastLoaded => {
                let start = turn % count;
                (start..count)
                    .chain(0..start)
                    .min_by_key(|at| self.seen[*at].load())
                    .unwrap_or(start)
            }
            Routing::ByKey(key) => self.by_key(key(message), |_| true).unwrap_or(0),
        }
    }

    /// Of these members the one whose key goes best with this one: rendezvous hashing.
    fn by_key(&self, key: u64, filter: impl Fn(&Member<M>) -> bool) -> Option<usize> {
        let key = mix(key);
        let members = self.seen.iter().enumerate();
        members
            .filter(|(_, member)| filter(member))
            .max_by_key(|(_, member)| mix(key ^ member.key))
            .map(|(at, _)| at)
    }
}

/// Members of plain routers are told apart by their index, so that routers with the same members agree.
fn key_of<M>(actor: &ActorRef<M>) -> u64 {
    let index = actor.index();
    u64::from(index.slot) << 32 | u64::from(index.generation)
}

impl<M: Send + 'static> Router<M> {
    /// Sends a message to one of the members.
    ///
    /// # Errors
    /// [`SendError::Closed`] with the message if there is no member that takes messages, and
    /// [`SendError::Full`] if there is one, and no room: in all mailboxes, or in that of the member whose key
    /// it is.
    pub fn tell(&mut self, message: M) -> Result<(), SendError<M>> {
        self.route(message).map(drop)
    }

    /// Sends a message made with a [`Reply`] to one of the members, and waits for the answer. The message is
    /// sent now, not when the future is first polled. Until the future is done or dropped, it counts as load of
    /// the member.
    ///
    /// ```
    /// # use hikyaku_core::{AskError, Reply, Router};
    /// # use std::time::Duration;
    /// # enum StoreMsg { Get(Reply<u64>) }
    /// # async fn demo(mut stores: Router<StoreMsg>) -> Result<u64, AskError> {
    /// stores.ask(StoreMsg::Get).within(Duration::from_millis(50)).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`ActorRef::ask`]. [`AskError::Closed`] and [`AskError::Full`] as in [`tell`](Self::tell). A question that is
    /// refused is a dead letter, unless there is no member.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the answer; the message is handled all the same.
    pub fn ask<T: Send + 'static>(
        &mut self,
        make: impl FnOnce(Reply<T>) -> M,
    ) -> Routed<M, Ask<'static, T>> {
        // In place before user code runs, so that a panic in `make` frees the slot.
        let (reply, answer) = Reply::pair();
        Routed(match self.route(make(reply)) {
            Ok(at) => {
                let member = Arc::clone(&self.seen[at]);
                // Relaxed: advice only.
                member.load.fetch_add(1, Ordering::Relaxed);
                Ok(Asked {
                    ask: Ask::of(answer, member.actor.cell()),
                    member: Counted(member),
                })
            }
            // Nobody in particular has refused it: the letter names one of them.
            Err(refused) => Err(match self.seen.first() {
                Some(member) => ask::refuse(member.actor.cell(), refused),
                None => AskError::Closed,
            }),
        })
    }

    /// Sends a message to every member, in turn.
    ///
    /// # Errors
    /// [`SendError`] with the message if not a single one takes it: `Full` if one would, had it room. Otherwise
    /// it gives how many have.
    pub fn broadcast(&mut self, message: M) -> Result<usize, SendError<M>>
    where
        M: Clone,
    {
        self.look();
        let (mut taken, mut full, mut gone) = (0, false, false);
        for member in self.seen.iter() {
            match member.actor.tell(message.clone()) {
                Ok(()) => taken += 1,
                Err(SendError::Full(_)) => full = true,
                Err(SendError::Closed(_)) => gone = true,
            }
        }
        self.forget_ended(gone);
        match (taken, full) {
            (0, true) => Err(SendError::Full(message)),
            (0, false) => Err(SendError::Closed(message)),
            _ => Ok(taken),
        }
    }

    /// Sends it; says who has taken it.
    #[inline]
    fn route(&mut self, message: M) -> Result<usize, SendError<M>> {
        self.look();
        if self.seen.is_empty() {
            return Err(SendError::Closed(message));
        }
        let first = self.choose(&message);
        match self.seen[first].actor.tell(message) {
            Ok(()) => Ok(first),
            Err(refused) => self.route_on(first, refused),
        }
    }

    /// The first choice has refused it.
    #[cold]
    fn route_on(&mut self, first: usize, refused: SendError<M>) -> Result<usize, SendError<M>> {
        let (mut at, mut refused) = (first, refused);
        let (mut full, mut gone) = (false, false);
        // Each time another one: the next, or one that has not ended meanwhile.
        for _ in 1..self.seen.len() {
            full |= matches!(refused, SendError::Full(_));
            gone |= matches!(refused, SendError::Closed(_));
            let message = refused.into_inner();
            let next = match self.routing {
                Routing::ByKey(_) if full => None,
                Routing::ByKey(key) => self.by_key(key(&message), |member| member.actor.is_alive()),
                _ if at + 1 < self.seen.len() => Some(at + 1),
                _ => Some(0),
            };
            refused = match next {
                Some(next) => {
                    at = next;
                    match self.seen[at].actor.tell(message) {
                        Ok(()) => {
                            self.forget_ended(gone);
                            return Ok(at);
                        }
                        Err(refused) => refused,
                    }
                }
                None => {
                    refused = if full {
                        SendError::Full(message)
                    } else {
                        SendError::Closed(message)
                    };
                    break;
                }
            };
        }
        full |= matches!(refused, SendError::Full(_));
        gone |= matches!(refused, SendError::Closed(_));
        self.forget_ended(gone);
        let message = refused.into_inner();
        Err(if full {
            SendError::Full(message)
        } else {
            SendError::Closed(message)
        })
    }

    /// Takes those out that have ended. This router sees it when it looks next.
    fn forget_ended(&self, gone: bool) {
        if gone {
            self.set
                .change(|members| members.retain(|member| member.actor.is_alive()));
        }
    }
}

impl<M> Clone for Router<M> {
    /// The same members; the clone begins elsewhere in their order.
    fn clone(&self) -> Self {
        // Relaxed: only to spread them.
        let number = self.set.routers.fetch_add(1, Ordering::Relaxed);
        let turn = match self.routing {
            Routing::Random(_) => mix(number as u64) as usize,
            _ => number,
        };
        Self {
            set: Arc::clone(&self.set),
            seen: Arc::clone(&self.seen),
            version: self.version,
            routing: self.routing,
            turn,
        }
    }
}

impl<M> fmt::Debug for Router<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("routing", &self.routing)
            .field("members", &self.len())
            .finish_non_exhaustive()
    }
}

/// Load of a member.
struct Counted<M>(Arc<Member<M>>);

impl<M> Drop for Counted<M> {
    fn drop(&mut self) {
        // Relaxed: advice only.
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Asked<M, F> {
    // Before the member, whose reference keeps the cell that it looks at.
    ask: F,
    member: Counted<M>,
}

/// The future of [`Router::ask`].
#[must_use = "the question is sent; without an await the answer is lost"]
pub struct Routed<M, F>(Result<Asked<M, F>, AskError>);

impl<M, T> Routed<M, Ask<'static, T>> {
    /// As [`Ask::within`].
    pub fn within(self, limit: Duration) -> Routed<M, Within<'static, T>> {
        Routed(self.0.map(|asked| Asked {
            ask: asked.ask.within(limit),
            member: asked.member,
        }))
    }
}

impl<M, T, F> Future for Routed<M, F>
where
    F: Future<Output = Result<T, AskError>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let answer = match &mut self.0 {
            Ok(asked) => match Pin::new(&mut asked.ask).poll(cx) {
                Poll::Ready(answer) => answer,
                Poll::Pending => return Poll::Pending,
            },
            Err(error) => return Poll::Ready(Err(*error)),
        };
        // No load from here on. The future is done, and not to be polled again.
        self.0 = Err(AskError::Dropped);
        Poll::Ready(answer)
    }
}

impl<M, F: Unpin> Unpin for Routed<M, F> {}

impl<M, F> fmt::Debug for Routed<M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let member = self.0.as_ref().map(|asked| &asked.member.0.actor);
        f.debug_tuple("Routed").field(&member).finish()
    }
}
