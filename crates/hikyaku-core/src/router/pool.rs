//! Pools: an actor that keeps members of one kind, and routers to them.

use super::{Member, Router, Routing};
use crate::actor::{Actor, Context};
use crate::actor_ref::{ActorRef, Started, Stopped};
use crate::failure::Failure;
use crate::pipe::Ended;
use crate::registry::MailboxIndex;
use crate::sync::{Arc, AtomicUsize, Ordering};
use crate::system::{SpawnError, SpawnOptions, System};
use crate::timer::{PileUp, Timer};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;
use core::time::Duration;

/// Changes the size of a [`Pool`] by what its members have in hand.
///
/// It looks at regular times. If each member has `pressure` or more questions that wait for an answer, the pool
/// grows. If one member less would do without pressure, so many looks in a row, it shrinks by one, but not to none.
/// Only questions of [`Router::ask`] are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Resizer {
    every: Duration,
    pressure: usize,
    step: usize,
    patience: u32,
}

impl Resizer {
    /// Looks so often. A member with two questions or more is under pressure; the pool grows by one at a time, and
    /// shrinks after ten looks.
    pub const fn every(period: Duration) -> Self {
        Self {
            every: period,
            pressure: 2,
            step: 1,
            patience: 10,
        }
    }

    /// With so many questions a member is under pressure; one at least.
    pub const fn pressure(mut self, questions: usize) -> Self {
        self.pressure = if questions == 0 { 1 } else { questions };
        self
    }

    /// By how many the pool grows at a time; one at least.
    pub const fn step(mut self, members: usize) -> Self {
        self.step = if members == 0 { 1 } else { members };
        self
    }

    /// After how many looks without pressure the pool shrinks by one; one at least.
    pub const fn patience(mut self, looks: u32) -> Self {
        self.patience = if looks == 0 { 1 } else { looks };
        self
    }

    /// The size after a look at what each member has in hand. `quiet` is how many looks in a row have found
    /// too many members.
    fn judge(&self, loads: &[usize], quiet: &mut u32) -> usize {
        let size = loads.len();
        if size == 0 {
            return 0;
        }
        if loads.iter().all(|load| *load >= self.pressure) {
            *quiet = 0;
            return size.saturating_add(self.step);
        }
        let enough = self.pressure.saturating_mul(size - 1);
        if loads.iter().sum::<usize>() >= enough {
            *quiet = 0;
            return size;
        }
        *quiet += 1;
        if *quiet < self.patience {
            return size;
        }
        *quiet = 0;
        size - 1
    }
}

/// An actor with members of one kind, to be spawned.
///
/// The members are its children, made by one factory. Those that fail are restarted as the supervision in the
/// pool's [`options`](Self::options) says, and keep their messages. One that ends for good leaves the pool, which
/// goes on with the others, until a resize makes it whole again; for members that never end by themselves there is
/// [`RestartPolicy::Permanent`](crate::RestartPolicy::Permanent).
///
/// Messages go from the senders to the members, not through the pool: see [`PoolRef::router`].
///
/// ```
/// use hikyaku_core::{Actor, Context, Failure, Pool, Resizer, Routing, System};
/// use std::time::Duration;
///
/// struct Resize;
/// struct Image(Vec<u8>);
///
/// impl Actor for Resize {
///     type Msg = Image;
///     async fn handle(&mut self, _: Image, _: &mut Context<'_, Self>) -> Result<(), Failure> { Ok(()) }
/// }
///
/// async fn demo(system: &System) -> Result<(), Failure> {
///     let pool = Pool::new(4, || Resize)
///         .routing(Routing::LeastLoaded)
///         .bounds(2..=16)
///         .resizer(Resizer::every(Duration::from_secs(1)))
///         .spawn(system)?;
///     pool.started().await?;
///     let mut router = pool.router();
///     router.tell(Image(vec![1, 2, 3])).map_err(|refused| refused.without_message())?;
///     pool.resize(8);
///     Ok(())
/// }
/// ```
#[must_use = "a pool is to be spawned"]
pub struct Pool<A: Actor> {
    factory: Arc<dyn Fn() -> A + Send + Sync>,
    size: usize,
    bounds: RangeInclusive<usize>,
    routing: Routing<A::Msg>,
    members: SpawnOptions,
    options: SpawnOptions,
    resizer: Option<Resizer>,
    stop_when_empty: bool,
}

impl<A: Actor> Pool<A> {
    /// A pool of so many members, routed to one after the other.
    pub fn new(size: usize, factory: impl Fn() -> A + Send + Sync + 'static) -> Self {
        // By way of a box: the `Arc` of targets without compare-and-swap is no language item.
        let factory: Box<dyn Fn() -> A + Send + Sync> = Box::new(factory);
        Self {
            factory: Arc::from(factory),
            size,
            bounds: 0..=usize::MAX,
            routing: Routing::RoundRobin,
            members: SpawnOptions::new(),
            options: SpawnOptions::new(),
            resizer: None,
            stop_when_empty: false,
        }
    }

    /// How its routers choose.
    pub fn routing(mut self, routing: Routing<A::Msg>) -> Self {
        self.routing = routing;
        self
    }

    /// How each member is spawned: mailbox, restarts, dispatcher. A name would be taken by the first.
    pub fn members(mut self, options: SpawnOptions) -> Self {
        self.members = options;
        self
    }

    /// How the pool itself is spawned: name, supervision of the members. Its mailbox is unbounded, unless another one is
    /// given, which loses what it has no room for.
    pub fn options(mut self, options: SpawnOptions) -> Self {
        self.options = options;
        self
    }

    /// Any size that it is given, by whomever, is kept within these.
    pub fn bounds(mut self, bounds: RangeInclusive<usize>) -> Self {
        self.bounds = bounds;
        self
    }

    /// Changes the size under pressure, within the [`bounds`](Self::bounds). It also fills a pool up to the lower
    /// bound whose members have ended. Needs a system with timers, or the pool does not start.
    pub fn resizer(mut self, resizer: Resizer) -> Self {
        self.resizer = Some(resizer);
        self
    }

    /// Ends the pool when its last member has ended, or when it is resized to none.
    pub fn stop_when_empty(mut self) -> Self {
        self.stop_when_empty = true;
        self
    }

    /// Spawns it. Its members are there when [`PoolRef::started`] resolves; until then there is nobody to route to.
    ///
    /// # Errors
    /// As [`System::spawn_with`].
    pub fn spawn(self, system: &System) -> Result<PoolRef<A::Msg>, SpawnError> {
        self.spawn_by(|options, factory| system.spawn_with(options, factory))
    }

    /// Spawns it as a child.
    ///
    /// # Errors
    /// As [`Context::spawn_with`].
    pub fn spawn_in<P: Actor>(
        self,
        cx: &mut Context<'_, P>,
    ) -> Result<PoolRef<A::Msg>, SpawnError> {
        self.spawn_by(|options, factory| cx.spawn_with(options, factory))
    }

    fn spawn_by(
        mut self,
        spawn: impl FnOnce(
            SpawnOptions,
            Box<dyn FnMut() -> Keeper<A> + Send>,
        ) -> Result<ActorRef<Order>, SpawnError>,
    ) -> Result<PoolRef<A::Msg>, SpawnError> {
        let router = Router::empty(self.routing);
        let wanted = Arc::new(AtomicUsize::new(self.clamp(self.size)));
        let mut options = core::mem::take(&mut self.options);
        // Not the system's kind, which is chosen for others.
        options.mailbox.get_or_insert_default();
        let plan = Arc::new(self);
        let factory = {
            let (router, wanted) = (router.clone(), Arc::clone(&wanted));
            move || Keeper {
                plan: Arc::clone(&plan),
                router: router.clone(),
                wanted: Arc::clone(&wanted),
                members: BTreeMap::new(),
                quiet: 0,
            }
        };
        let keeper = spawn(options, Box::new(factory))?;
        Ok(PoolRef { keeper, router })
    }

    fn clamp(&self, size: usize) -> usize {
        // Not `clamp`, which panics if the bounds are the wrong way round.
        size.min(*self.bounds.end()).max(*self.bounds.start())
    }
}

impl<A: Actor> fmt::Debug for Pool<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("size", &self.size)
            .field("bounds", &self.bounds)
            .field("routing", &self.routing)
            .finish_non_exhaustive()
    }
}

/// A pool that was spawned. Clones are the same pool.
pub struct PoolRef<M> {
    keeper: ActorRef<Order>,
    router: Router<M>,
}

impl<M> PoolRef<M> {
    /// A router to its members. When they change, it does. Members are told apart by their place in the pool,
    /// so with [`Routing::ByKey`] a new member in an old place gets the keys of the old one.
    pub fn router(&self) -> Router<M> {
        self.router.clone()
    }

    /// How many members it has, those included that have ended and were not noticed yet.
    pub fn size(&self) -> usize {
        self.router.len()
    }

    /// Makes it so many, within its bounds. Members that are too many are routed nothing any more, and end
    /// when they have handled what they have.
    pub fn resize(&self, size: usize) {
        // A pool that has ended has no size.
        let _ = self.keeper.tell(Order::Resize(size));
    }

    /// Resolves when its members are there. As [`ActorRef::started`].
    pub fn started(&self) -> Started {
        self.keeper.started()
    }

    /// Ends it and its members, after the handlers in hand. As [`ActorRef::stop`].
    pub fn stop(&self) {
        self.keeper.stop();
    }

    /// Ends it when its members have handled what they have. Meanwhile they may still be sent messages, which are
    /// handled as well. As [`ActorRef::stop_gracefully`].
    pub fn stop_gracefully(&self) {
        self.keeper.stop_gracefully();
    }

    /// Resolves when it has ended, and all members. As [`ActorRef::stopped`].
    pub fn stopped(&self) -> Stopped {
        self.keeper.stopped()
    }

    /// Its index, to be told apart in events.
    pub fn index(&self) -> MailboxIndex {
        self.keeper.index()
    }

    /// Has it not been told to end?
    pub fn is_alive(&self) -> bool {
        self.keeper.is_alive()
    }
}

impl<M> Clone for PoolRef<M> {
    fn clone(&self) -> Self {
        Self {
            keeper: self.keeper.clone(),
            router: self.router.clone(),
        }
    }
}

impl<M> fmt::Debug for PoolRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PoolRef").field(&self.keeper).finish()
    }
}

enum Order {
    Resize(usize),
    Gone(Ended),
    Look,
}

/// The actor.
struct Keeper<A: Actor> {
    plan: Arc<Pool<A>>,
    router: Router<A::Msg>,
    /// How many there are to be, also after a restart.
    wanted: Arc<AtomicUsize>,
    /// By their place.
    members: BTreeMap<u64, Arc<Member<A::Msg>>>,
    quiet: u32,
}

impl<A: Actor> Keeper<A> {
    fn resize(&mut self, size: usize, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        let size = self.plan.clamp(size);
        // Relaxed: the pool's own, from one incarnation to the next.
        self.wanted.store(size, Ordering::Relaxed);
        let mut removed = Vec::new();
        while self.members.len() > size {
            removed.extend(self.members.pop_last());
        }
        let mut grown = Ok(());
        while self.members.len() < size && grown.is_ok() {
            grown = self.grow(cx);
        }
        self.publish();
        // Routed nothing from here on, but for what is on its way.
        for (_, member) in removed {
            member.actor.stop_gracefully();
        }
        if self.members.is_empty() && self.plan.stop_when_empty {
            cx.stop();
        }
        grown
    }

    /// Puts a new member into the first free place.
    fn grow(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        let taken = self.members.keys();
        let place = (0..)
            .zip(taken)
            .find(|(place, taken)| place != *taken)
            .map_or(self.members.len() as u64, |(place, _)| place);
        let factory = Arc::clone(&self.plan.factory);
        let actor = cx.spawn_with(self.plan.members.clone(), move || factory())?;
        cx.watch(&actor, Order::Gone)?;
        self.members.insert(place, Member::new(actor, place));
        Ok(())
    }

    fn publish(&self) {
        let list = self.members.values().cloned().collect();
        self.router.set.change(|members| *members = list);
    }
}

impl<A: Actor> Actor for Keeper<A> {
    type Msg = Order;

    async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        if let Some(resizer) = &self.plan.resizer {
            let look = Timer::fixed_rate_with(resizer.every, || Order::Look);
            cx.start_timer("look", look.pile_up(PileUp::Skip))?;
        }
        // Relaxed: see `resize`.
        self.resize(self.wanted.load(Ordering::Relaxed), cx)
    }

    async fn handle(&mut self, order: Order, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        match order {
            // If there is no room for more, or all is about to end, it stays as it is.
            Order::Resize(size) => drop(self.resize(size, cx)),
            Order::Gone(ended) => {
                self.members
                    .retain(|_, member| member.actor.index() != ended.actor);
                self.publish();
                if self.members.is_empty() && self.plan.stop_when_empty {
                    cx.stop();
                }
            }
            Order::Look => {
                let Some(resizer) = self.plan.resizer else {
                    return Ok(());
                };
                let loads: Vec<_> = self.members.values().map(|member| member.load()).collect();
                let size = resizer.judge(&loads, &mut self.quiet);
                if self.plan.clamp(size) != self.members.len() {
                    drop(self.resize(size, cx));
                }
            }
        }
        Ok(())
    }

    async fn stopped(&mut self, _: &mut Context<'_, Self>) {
        self.router.set.change(Vec::clear);
    }
}
