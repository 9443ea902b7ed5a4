//! Hikyaku: senders are actors too, and yield in the middle of a handler.

use std::time::Duration;

use hikyaku::prelude::*;
use hikyaku::{
    Builder, CurrentThread, MailboxOverflowPolicy, Middleware, Priority, RateLimit,
    ResumeCondition, SuspendReason, System, block_on,
};

use super::System as Peer;
use crate::harness::{Clock, Memory, MemoryProbe, Timed, tokio_runtime};
use crate::timers::Timers;
use crate::workload::{
    Asked, BOUND, CHUNK, Counter, DEADLINE, Done, Fan, Handled, Idle, IdleRun, READY, Registered,
    Ring, Rule, Runtime, Station, Tell, WORKERS, Waiter, idle_second, time_asks,
};

pub(crate) static SYSTEM: Peer = Peer {
    name: "hikyaku",
    tell: |runtime, load| tell(Place::new(runtime), load),
    tell_bounded: Some(tell_bounded),
    tell_by: Some(tell_by),
    fan,
    ring: |runtime, load| ring(Place::new(runtime), load),
    ask: |runtime, asks| ask(Place::new(runtime), asks),
    suspend_resume: Some(suspend_resume),
    ask_deadline: Some(ask_deadline),
    ask_outside,
    spawn: |runtime, count| spawn(Place::new(runtime), count),
    memory,
    register_ready: Some(register_ready),
    timers: Some(timers),
    idle_cpu: Some(idle_cpu),
    heavy: false,
};

/// The same with the actors elsewhere. What [`systems::EXECUTORS`](super::EXECUTORS) are not asked for is as in
/// [`SYSTEM`].
macro_rules! elsewhere {
    ($name:literal, $place:expr) => {
        Peer {
            name: $name,
            tell: |_, load| tell($place, load),
            ring: |_, load| ring($place, load),
            ask: |_, asks| ask($place, asks),
            spawn: |_, count| spawn($place, count),
            ..SYSTEM
        }
    };
}

/// The workers are tasks of a Tokio runtime.
pub(crate) static TOKIO: Peer = elsewhere!(
    "hikyaku-tokio",
    Place::workers(|system| system.own_runtime(tokio_runtime(Runtime::Mt)))
);

/// One worker, and one more while there is too much for it.
pub(crate) static ADAPTIVE: Peer = elsewhere!(
    "hikyaku-adaptive",
    Place::workers(|system| system.workers(1..=WORKERS))
);

/// One worker, which [`ADAPTIVE`] starts with.
pub(crate) static ONE: Peer = elsewhere!("hikyaku-one", Place::workers(|system| system.workers(1)));

/// A thread for each actor; one for all that `spawn` spawns.
pub(crate) static PINNED: Peer = elsewhere!(
    "hikyaku-pinned",
    Place::beside(|system| {
        let dispatcher = system.start_dispatcher(1).expect("a thread starts");
        SpawnOptions::new().dispatcher(&dispatcher)
    })
);

/// The threads for actors that block.
pub(crate) static BLOCKING: Peer = elsewhere!(
    "hikyaku-blocking",
    Place::beside(|system| {
        let dispatcher = system.blocking_dispatcher().expect("a thread starts");
        SpawnOptions::new().dispatcher(&dispatcher)
    })
);

enum Place {
    St(CurrentThread),
    /// With what says where in the system the next actors go.
    Mt(ActorSystem, fn(&ActorSystem) -> SpawnOptions),
}

impl Place {
    fn new(runtime: Runtime) -> Place {
        match runtime {
            Runtime::St => Place::St(CurrentThread::new("bench")),
            Runtime::Mt => Place::workers(|system| system.workers(WORKERS)),
        }
    }

    fn workers(choose: fn(Builder) -> Builder) -> Place {
        let system = choose(ActorSystem::builder("bench")).build();
        Place::Mt(system.expect("it starts"), |_| SpawnOptions::new())
    }

    /// Not on the one worker of the system.
    fn beside(options: fn(&ActorSystem) -> SpawnOptions) -> Place {
        let system = ActorSystem::builder("bench").workers(1).build();
        Place::Mt(system.expect("it starts"), options)
    }

    fn options(&self) -> SpawnOptions {
        match self {
            Place::St(_) => SpawnOptions::new(),
            Place::Mt(system, options) => options(system),
        }
    }

    fn system(&self) -> &System {
        match self {
            Place::St(here) => here,
            Place::Mt(system, _) => system,
        }
    }

    fn start<A: Actor>(&self, factory: impl FnMut() -> A + Send + 'static) -> ActorRef<A::Msg> {
        self.system()
            .spawn_with(self.options(), factory)
            .expect("there is room")
    }

    /// On one thread, this is what runs the actors.
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self {
            Place::St(here) => here.block_on(future),
            Place::Mt(..) => block_on(future),
        }
    }
}

enum Msg {
    Add(u64),
}

struct CounterActor(Counter);

impl Actor for CounterActor {
    type Msg = Msg;

    async fn handle(&mut self, msg: Msg, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        let Msg::Add(value) = msg;
        self.0.add(value);
        Ok(())
    }
}

struct Start;

struct Teller {
    target: ActorRef<Msg>,
    load: Tell,
}

impl Actor for Teller {
    type Msg = Start;

    async fn handle(&mut self, _: Start, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        for _ in 0..self.load.chunks {
            for i in 0..self.load.chunk {
                assert!(self.target.tell(Msg::Add(i)).is_ok());
            }
            cx.yield_now().await;
        }
        Ok(())
    }
}

fn tell(place: Place, load: Tell) -> Timed {
    let (done, finished) = Done::new(1);
    let target = place.start(move || CounterActor(Counter::new(load.messages(), done.clone())));
    let clock = Clock::start();
    for _ in 0..load.senders {
        let target = target.clone();
        let teller = place.start(move || Teller {
            target: target.clone(),
            load,
        });
        assert!(teller.tell(Start).is_ok());
    }
    assert_eq!(place.block_on(finished), Ok(load.sum()));
    clock.stop(load.messages())
}

struct PatientTeller {
    target: ActorRef<Msg>,
    load: Tell,
}

impl Actor for PatientTeller {
    type Msg = Start;

    async fn handle(&mut self, _: Start, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        for i in 0..self.load.messages() {
            assert!(self.target.send(Msg::Add(i)).await.is_ok());
        }
        Ok(())
    }
}

fn tell_bounded(runtime: Runtime, load: Tell) -> Timed {
    let place = Place::new(runtime);
    let (done, finished) = Done::new(1);
    let options = SpawnOptions::new().mailbox(MailboxOptions::bounded(BOUND));
    let target = place
        .system()
        .spawn_with(options, move || {
            CounterActor(Counter::new(load.messages(), done.clone()))
        })
        .expect("there is room");
    let clock = Clock::start();
    let teller = place.start(move || PatientTeller {
        target: target.clone(),
        load,
    });
    assert!(teller.tell(Start).is_ok());
    assert_eq!(place.block_on(finished), Ok(load.sum()));
    clock.stop(load.messages())
}

/// Counts until the last message, which is sent in any case.
struct Sieve {
    handled: u64,
    done: Done,
}

const LAST: u64 = u64::MAX;

impl Sieve {
    #[inline]
    fn count(&mut self, msg: Msg) {
        let Msg::Add(value) = msg;
        if value == LAST {
            self.done.arrive(self.handled);
        } else {
            self.handled += 1;
        }
    }
}

impl Actor for Sieve {
    type Msg = Msg;

    async fn handle(&mut self, msg: Msg, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.count(msg);
        Ok(())
    }
}

struct SieveTeller(Teller);

impl Actor for SieveTeller {
    type Msg = Start;

    async fn handle(&mut self, _: Start, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        let Teller { target, load } = &self.0;
        for _ in 0..load.chunks {
            for i in 0..load.chunk {
                // Refused while another thread is in the middle of the oldest one.
                while target.tell(Msg::Add(i)).is_err() {
                    cx.yield_now().await;
                }
            }
            cx.yield_now().await;
        }
        assert!(target.send(Msg::Add(LAST)).await.is_ok());
        Ok(())
    }
}

/// How many messages are stashed before they are handled.
const STASHED: usize = 1_000;

/// Stashes what it gets, and handles all of it then.
struct Stasher {
    sieve: Sieve,
    unstashed: usize,
}

impl Actor for Stasher {
    type Msg = Msg;

    async fn handle(&mut self, msg: Msg, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        if self.unstashed > 0 {
            self.unstashed -= 1;
            self.sieve.count(msg);
            return Ok(());
        }
        let is_last = matches!(msg, Msg::Add(LAST));
        cx.stash(msg)?;
        if is_last || cx.stashed() == STASHED {
            self.unstashed = cx.unstash_all();
        }
        Ok(())
    }
}

/// Lets everything pass.
struct Open;

impl Middleware for Open {}

fn options(rule: Rule) -> SpawnOptions {
    let options = SpawnOptions::new();
    match rule {
        Rule::Middleware(layers) => {
            (0..layers).fold(options, |options, _| options.middleware(Open))
        }
        // A token each nanosecond: there is always one.
        Rule::RateLimit => options.middleware(RateLimit::new(Duration::from_nanos(1), u32::MAX)),
        Rule::Stash => options,
        _ => options.mailbox(mailbox(rule)),
    }
}

fn mailbox(rule: Rule) -> MailboxOptions {
    let bounded = MailboxOptions::bounded(BOUND);
    let grow = MailboxOverflowPolicy::Grow { max: 1_000 * BOUND };
    match rule {
        Rule::DropNewest => bounded.overflow(MailboxOverflowPolicy::DropNewest),
        Rule::DropOldest => MailboxOptions::latest(BOUND),
        Rule::Grow => bounded.overflow(grow),
        Rule::Priority => MailboxOptions::unbounded().priority(|msg: &Msg| match msg {
            Msg::Add(LAST) => Priority::LOWEST,
            Msg::Add(value) => Priority(1 + (value % 3) as u8),
        }),
        // None of these is one.
        Rule::Control => MailboxOptions::unbounded().control(|_: &Msg| false, 1),
        Rule::Middleware(_) | Rule::RateLimit | Rule::Stash => MailboxOptions::unbounded(),
    }
}

fn tell_by(runtime: Runtime, load: Tell, rule: Rule) -> Timed {
    let place = Place::new(runtime);
    let (done, finished) = Done::new(1);
    let sieve = move || Sieve {
        handled: 0,
        done: done.clone(),
    };
    let target = match rule {
        Rule::Stash => place.system().spawn_with(options(rule), move || Stasher {
            sieve: sieve(),
            unstashed: 0,
        }),
        _ => place.system().spawn_with(options(rule), sieve),
    };
    let target = target.expect("there is room");
    let clock = Clock::start();
    let teller = place.start(move || {
        SieveTeller(Teller {
            target: target.clone(),
            load,
        })
    });
    assert!(teller.tell(Start).is_ok());
    let handled = place.block_on(finished).expect("it ends");
    let timed = clock.stop(load.messages());
    // The sender of the last message counts what that has let go.
    while handled + place.system().metrics().overflowed as u64 != load.messages() {
        std::thread::yield_now();
    }
    timed
}

struct FanTeller {
    targets: Vec<ActorRef<Msg>>,
    load: Fan,
}

impl Actor for FanTeller {
    type Msg = Start;

    async fn handle(&mut self, _: Start, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        let mut next = self.targets.iter().cycle();
        for _ in 0..self.load.chunks() {
            for (i, target) in (0..CHUNK).zip(&mut next) {
                assert!(target.tell(Msg::Add(i)).is_ok());
            }
            cx.yield_now().await;
        }
        Ok(())
    }
}

fn fan(runtime: Runtime, load: Fan) -> Timed {
    let place = Place::new(runtime);
    let (done, finished) = Done::new(load.actors);
    let targets: Vec<_> = (0..load.actors)
        .map(|_| {
            let done = done.clone();
            place.start(move || CounterActor(Counter::new(load.each, done.clone())))
        })
        .collect();
    let clock = Clock::start();
    let teller = place.start(move || FanTeller {
        targets: targets.clone(),
        load,
    });
    assert!(teller.tell(Start).is_ok());
    assert_eq!(place.block_on(finished), Ok(load.sum()));
    clock.stop(load.messages())
}

enum RingMsg {
    Next(ActorRef<RingMsg>),
    Token(u64),
}

struct StationActor {
    station: Station,
    next: Option<ActorRef<RingMsg>>,
}

impl Actor for StationActor {
    type Msg = RingMsg;

    async fn handle(&mut self, msg: RingMsg, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        match msg {
            RingMsg::Next(actor) => self.next = Some(actor),
            RingMsg::Token(hops) => {
                if let (Some(hops), Some(next)) = (self.station.visit(hops), &self.next) {
                    assert!(next.tell(RingMsg::Token(hops)).is_ok());
                }
            }
        }
        Ok(())
    }
}

fn ring(place: Place, load: Ring) -> Timed {
    let (done, finished) = Done::new(1);
    let stations: Vec<_> = (0..load.actors)
        .map(|_| {
            let done = done.clone();
            place.start(move || StationActor {
                station: Station::new(done.clone()),
                next: None,
            })
        })
        .collect();
    for (station, next) in stations.iter().zip(stations.iter().cycle().skip(1)) {
        assert!(station.tell(RingMsg::Next(next.clone())).is_ok());
    }
    let clock = Clock::start();
    assert!(stations[0].tell(RingMsg::Token(load.hops)).is_ok());
    assert_eq!(place.block_on(finished), Ok(load.visits()));
    clock.stop(load.hops)
}

enum AskMsg {
    Ask(Reply<u64>),
}

const _: () = assert!(size_of::<Msg>() <= 16 && size_of::<RingMsg>() == 16);

struct Answerer {
    asked: u64,
}

impl Actor for Answerer {
    type Msg = AskMsg;

    async fn handle(&mut self, msg: AskMsg, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        let AskMsg::Ask(reply) = msg;
        self.asked += 1;
        assert!(reply.send(self.asked).is_ok());
        Ok(())
    }
}

struct Asker {
    target: ActorRef<AskMsg>,
    asks: u64,
}

/// Start, and answer with what it took.
struct Measure<T>(Reply<T>);

impl Actor for Asker {
    type Msg = Measure<Timed>;

    async fn handle(
        &mut self,
        Measure(reply): Measure<Timed>,
        _: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        let clock = Clock::start();
        for i in 1..=self.asks {
            assert_eq!(self.target.ask(AskMsg::Ask).await?, i);
        }
        assert!(reply.send(clock.stop(self.asks)).is_ok());
        Ok(())
    }
}

fn ask(place: Place, asks: u64) -> Timed {
    ask_by(&place, asks, |asker| asker)
}

/// Lets an actor ask another in its own way.
fn ask_by<A>(place: &Place, asks: u64, way: fn(Asker) -> A) -> Timed
where
    A: Actor<Msg = Measure<Timed>>,
{
    let target = place.start(|| Answerer { asked: 0 });
    let asker = place.start(move || {
        way(Asker {
            target: target.clone(),
            asks,
        })
    });
    place
        .block_on(asker.ask(Measure))
        .expect("every ask is answered")
}

struct Suspender(Asker);

impl Actor for Suspender {
    type Msg = Measure<Timed>;

    async fn handle(
        &mut self,
        Measure(reply): Measure<Timed>,
        _: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        let Asker { target, asks } = &self.0;
        let clock = Clock::start();
        for i in 1..=*asks {
            target.suspend(SuspendReason::UserDefined, ResumeCondition::Explicit)?;
            target.resume();
            assert_eq!(target.ask(AskMsg::Ask).await?, i);
        }
        assert!(reply.send(clock.stop(*asks)).is_ok());
        Ok(())
    }
}

fn suspend_resume(runtime: Runtime, asks: u64) -> Timed {
    ask_by(&Place::new(runtime), asks, Suspender)
}

struct PunctualAsker(Asker);

impl Actor for PunctualAsker {
    type Msg = Measure<Timed>;

    async fn handle(
        &mut self,
        Measure(reply): Measure<Timed>,
        _: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        let Asker { target, asks } = &self.0;
        let clock = Clock::start();
        for i in 1..=*asks {
            assert_eq!(target.ask(AskMsg::Ask).within(DEADLINE).await?, i);
        }
        assert!(reply.send(clock.stop(*asks)).is_ok());
        Ok(())
    }
}

fn ask_deadline(runtime: Runtime, asks: u64) -> Timed {
    ask_by(&Place::new(runtime), asks, PunctualAsker)
}

fn ask_outside(asks: u64) -> Asked {
    let place = Place::new(Runtime::Mt);
    let target = place.start(|| Answerer { asked: 0 });
    time_asks(asks, || {
        block_on(target.ask(AskMsg::Ask)).expect("every ask is answered")
    })
}

struct IdleActor(Idle);

impl Actor for IdleActor {
    type Msg = Msg;

    async fn started(&mut self, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.0.started();
        Ok(())
    }

    async fn handle(&mut self, msg: Msg, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        let Msg::Add(value) = msg;
        self.0.handle(value);
        Ok(())
    }
}

/// Spawns from inside the system, as a Tokio task does in its runtime.
struct Spawner {
    system: System,
    options: SpawnOptions,
    count: usize,
}

impl Spawner {
    fn spawn(&self, run: &IdleRun, actors: &mut Vec<ActorRef<Msg>>) {
        for _ in 0..run.actors {
            let nursery = run.nursery.clone();
            let actor = self
                .system
                .spawn_with(self.options.clone(), move || IdleActor(nursery.actor()));
            actors.push(actor.expect("there is room"));
        }
    }
}

impl Actor for Spawner {
    type Msg = Measure<Timed>;

    async fn handle(
        &mut self,
        Measure(reply): Measure<Timed>,
        _: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        let mut run = IdleRun::new(self.count);
        let mut actors = Vec::with_capacity(self.count);
        let clock = Clock::start();
        self.spawn(&run, &mut actors);
        run.all_started().await;
        let timed = clock.stop(self.count as u64);
        std::mem::forget(actors);
        assert!(reply.send(timed).is_ok());
        Ok(())
    }
}

/// The process ends after `spawn` and `memory`, so nothing takes their actors down.
fn spawn(place: Place, count: usize) -> Timed {
    let (system, options) = (place.system().clone(), place.options());
    let spawner = place.start(move || Spawner {
        system: system.clone(),
        options: options.clone(),
        count,
    });
    place
        .block_on(spawner.ask(Measure))
        .expect("all actors start")
}

struct MemoryDriver(Spawner);

impl Actor for MemoryDriver {
    type Msg = Measure<Memory>;

    async fn handle(
        &mut self,
        Measure(reply): Measure<Memory>,
        cx: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        let count = self.0.count;
        let mut run = IdleRun::new(count);
        let mut actors = Vec::with_capacity(count);
        let mut probe = MemoryProbe::start();
        self.0.spawn(&run, &mut actors);
        run.all_started().await;
        probe.idle();
        for chunk in actors.chunks(CHUNK as usize) {
            for actor in chunk {
                assert!(actor.tell(Msg::Add(Idle::MESSAGE)).is_ok());
            }
            cx.yield_now().await;
        }
        run.all_handled().await;
        assert!(reply.send(probe.stop(count)).is_ok());
        std::mem::forget(actors);
        Ok(())
    }
}

fn memory(runtime: Runtime, count: usize) -> Memory {
    let place = Place::new(runtime);
    let system = place.system().clone();
    let driver = place.start(move || {
        MemoryDriver(Spawner {
            system: system.clone(),
            options: SpawnOptions::new(),
            count,
        })
    });
    place
        .block_on(driver.ask(Measure))
        .expect("all actors answer")
}

struct WaiterActor(Waiter);

impl Actor for WaiterActor {
    type Msg = Msg;

    async fn handle(&mut self, msg: Msg, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        let Msg::Add(round) = msg;
        self.0.handle(round);
        Ok(())
    }
}

struct ReadyTeller {
    targets: Vec<ActorRef<Msg>>,
    handled: Handled,
    rounds: u64,
}

impl Actor for ReadyTeller {
    type Msg = Measure<Registered>;

    async fn handle(
        &mut self,
        Measure(reply): Measure<Registered>,
        cx: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        let mut registered = Registered::default();
        for round in 0..=self.rounds {
            registered.round(&self.targets, |target| {
                assert!(target.tell(Msg::Add(round)).is_ok());
            });
            while !self.handled.all_of(round) {
                cx.yield_now().await;
            }
        }
        assert!(reply.send(registered).is_ok());
        Ok(())
    }
}

fn register_ready(runtime: Runtime, rounds: u64) -> Registered {
    let place = Place::new(runtime);
    let handled = Handled::default();
    let targets: Vec<_> = (0..READY)
        .map(|_| {
            let handled = handled.clone();
            place.start(move || WaiterActor(Waiter::new(handled.clone())))
        })
        .collect();
    let teller = place.start(move || ReadyTeller {
        targets: targets.clone(),
        handled: handled.clone(),
        rounds,
    });
    place
        .block_on(teller.ask(Measure))
        .expect("all rounds are over")
}

struct Sleeper(Timers);

impl Actor for Sleeper {
    type Msg = Measure<Timed>;

    async fn handle(
        &mut self,
        Measure(reply): Measure<Timed>,
        cx: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        let system = cx.system();
        let timed = self.0.time(|duration| system.sleep(duration)).await;
        assert!(reply.send(timed).is_ok());
        Ok(())
    }
}

fn timers(runtime: Runtime, timers: Timers) -> Timed {
    let place = Place::new(runtime);
    let sleeper = place.start(move || Sleeper(timers));
    place
        .block_on(sleeper.ask(Measure))
        .expect("all timers do as they should")
}

fn idle_cpu(runtime: Runtime, count: usize) -> Duration {
    let place = Place::new(runtime);
    let mut run = IdleRun::new(count);
    let mut actors = Vec::with_capacity(count);
    let spawner = Spawner {
        system: place.system().clone(),
        options: SpawnOptions::new(),
        count,
    };
    spawner.spawn(&run, &mut actors);
    place.block_on(async {
        run.all_started().await;
        idle_second().await
    })
}
