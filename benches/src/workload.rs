//! What is measured: names, message counts, and the state every system's actors share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::harness::{Clock, Timed, median};

/// One thread, or two workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    St,
    Mt,
}

impl Runtime {
    pub(crate) const ALL: [Runtime; 2] = [Runtime::St, Runtime::Mt];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Runtime::St => "st",
            Runtime::Mt => "mt",
        }
    }
}

/// Workers of the `mt` runtime.
pub(crate) const WORKERS: usize = 2;
/// A sender yields after this many messages.
pub(crate) const CHUNK: u64 = 1_000;
/// Messages a bounded mailbox holds.
pub(crate) const BOUND: usize = 1_024;
/// Actors in the ring.
pub(crate) const RING: usize = 100;
/// Actors that `register_ready` makes ready.
pub(crate) const READY: usize = 4_096;
/// So many of them, at each end, are timed by themselves. That may miss what a system does only now and then, such as
/// emptying a full queue into another; the time of all has it.
pub(crate) const EDGE: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    Tell,
    TellBurst,
    Tell4To1,
    TellBounded,
    /// As `Tell`, to a mailbox of another kind: see [`Rule`]. Also the next four.
    TellDropNewest,
    TellDropOldest,
    TellGrow,
    TellPriority,
    TellControl,
    /// As `Tell`, through so much middleware that lets everything pass.
    TellMiddleware0,
    TellMiddleware1,
    TellMiddleware3,
    /// As `Tell`, with a rate limit that is never reached.
    TellRateLimit,
    /// As `Tell`; each message is stashed, and handled when there are a thousand.
    TellStash,
    Fan100,
    Fan1000,
    PingPong,
    Ring,
    Ask,
    /// Suspending another actor, resuming it, and a question to see that it goes on. Beside questions alone.
    SuspendResume,
    /// `Ask` with a second to answer, which is always enough: each deadline is set and taken back.
    AskDeadline,
    AskOutside,
    Spawn,
    Memory,
    RegisterReady,
    /// See [`Timers`](crate::timers::Timers), also for the next two.
    TimersInsert,
    TimersCancel,
    TimersFire,
    /// What a system uses of the processors in a second while it has many actors and nothing to do. A process that only
    /// sleeps is charged with 20 to 40 microseconds by Linux, so that is nothing.
    IdleCpu,
}

impl Workload {
    pub(crate) const ALL: [Workload; 29] = [
        Workload::Tell,
        Workload::TellBurst,
        Workload::Tell4To1,
        Workload::TellBounded,
        Workload::TellDropNewest,
        Workload::TellDropOldest,
        Workload::TellGrow,
        Workload::TellPriority,
        Workload::TellControl,
        Workload::TellMiddleware0,
        Workload::TellMiddleware1,
        Workload::TellMiddleware3,
        Workload::TellRateLimit,
        Workload::TellStash,
        Workload::Fan100,
        Workload::Fan1000,
        Workload::PingPong,
        Workload::Ring,
        Workload::Ask,
        Workload::SuspendResume,
        Workload::AskDeadline,
        Workload::AskOutside,
        Workload::Spawn,
        Workload::Memory,
        Workload::RegisterReady,
        Workload::TimersInsert,
        Workload::TimersCancel,
        Workload::TimersFire,
        Workload::IdleCpu,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::Tell => "tell",
            Workload::TellBurst => "tell_burst",
            Workload::Tell4To1 => "tell_4to1",
            Workload::TellBounded => "tell_bounded",
            Workload::TellDropNewest => "tell_drop_newest",
            Workload::TellDropOldest => "tell_drop_oldest",
            Workload::TellGrow => "tell_grow",
            Workload::TellPriority => "tell_priority",
            Workload::TellControl => "tell_control",
            Workload::TellMiddleware0 => "tell_middleware_0",
            Workload::TellMiddleware1 => "tell_middleware_1",
            Workload::TellMiddleware3 => "tell_middleware_3",
            Workload::TellRateLimit => "tell_rate_limit",
            Workload::TellStash => "tell_stash",
            Workload::Fan100 => "fan_100",
            Workload::Fan1000 => "fan_1000",
            Workload::PingPong => "pingpong",
            Workload::Ring => "ring",
            Workload::Ask => "ask",
            Workload::SuspendResume => "suspend_resume",
            Workload::AskDeadline => "ask_deadline",
            Workload::AskOutside => "ask_outside",
            Workload::Spawn => "spawn",
            Workload::Memory => "memory",
            Workload::RegisterReady => "register_ready",
            Workload::TimersInsert => "timers_insert",
            Workload::TimersCancel => "timers_cancel",
            Workload::TimersFire => "timers_fire",
            Workload::IdleCpu => "idle_cpu",
        }
    }

    /// What one operation is called in the results.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Workload::PingPong | Workload::SuspendResume => "ns/round trip",
            Workload::Ring => "ns/hop",
            Workload::Ask | Workload::AskDeadline | Workload::AskOutside => "ns/ask",
            Workload::Spawn => "ns/actor",
            Workload::Memory => "bytes/actor",
            Workload::RegisterReady => "ns/tell",
            Workload::TimersInsert | Workload::TimersCancel | Workload::TimersFire => "ns/timer",
            Workload::IdleCpu => "us/s",
            _ => "ns/msg",
        }
    }

    pub(crate) fn runs_on(self, runtime: Runtime) -> bool {
        // Four senders, and a thread outside, only make sense beside a second worker.
        runtime == Runtime::Mt || !matches!(self, Workload::Tell4To1 | Workload::AskOutside)
    }

    /// Whose actor treats its messages in a way that only Hikyaku has.
    pub(crate) fn rule(self) -> Option<Rule> {
        Some(match self {
            Workload::TellDropNewest => Rule::DropNewest,
            Workload::TellDropOldest => Rule::DropOldest,
            Workload::TellGrow => Rule::Grow,
            Workload::TellPriority => Rule::Priority,
            Workload::TellControl => Rule::Control,
            Workload::TellMiddleware0 => Rule::Middleware(0),
            Workload::TellMiddleware1 => Rule::Middleware(1),
            Workload::TellMiddleware3 => Rule::Middleware(3),
            Workload::TellRateLimit => Rule::RateLimit,
            Workload::TellStash => Rule::Stash,
            _ => return None,
        })
    }

    /// What the executors of Hikyaku are compared by.
    pub(crate) fn is_core(self) -> bool {
        use Workload::{Ask, PingPong, Spawn, Tell};
        matches!(self, Tell | PingPong | Ask | Spawn)
    }

    /// A start that isn't counted warms caches and thread pools up. The two about fresh memory must not have one,
    /// and idling needs none.
    pub(crate) fn warms_up(self) -> bool {
        !matches!(self, Workload::Spawn | Workload::Memory | Workload::IdleCpu)
    }
}

/// How an actor, or its mailbox, treats messages. What has no room is dropped and counted all the same; the yardstick is an unbounded
/// channel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    DropNewest,
    DropOldest,
    Grow,
    /// Three priorities in turns.
    Priority,
    /// There are control messages, and this is none.
    Control,
    /// So many in a chain.
    Middleware(usize),
    RateLimit,
    Stash,
}

/// How much of everything. One table per purpose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    /// Messages of the tell workloads, all senders together.
    pub(crate) tell: u64,
    /// Messages to each actor of the fans.
    pub(crate) fan_each: u64,
    pub(crate) round_trips: u64,
    pub(crate) hops: u64,
    pub(crate) asks: u64,
    pub(crate) asks_outside: u64,
    pub(crate) spawned: usize,
    pub(crate) idle: usize,
    /// Idle actors for systems that need more than 4 kB each.
    pub(crate) idle_heavy: usize,
    /// How often `register_ready` makes all its actors ready.
    pub(crate) rounds: u64,
    pub(crate) timers: usize,
    /// Actors of `idle_cpu`.
    pub(crate) at_rest: usize,
}

pub(crate) const FULL: Counts = Counts {
    tell: 2_000_000,
    fan_each: 10_000,
    round_trips: 500_000,
    hops: 1_000_000,
    asks: 500_000,
    asks_outside: 20_000,
    spawned: 1_000_000,
    idle: 1_000_000,
    idle_heavy: 200_000,
    rounds: 200,
    timers: 1_000_000,
    at_rest: 100_000,
};

/// Enough to see that everything runs; the numbers mean nothing.
pub(crate) const QUICK: Counts = Counts {
    tell: 8_000,
    fan_each: 20,
    round_trips: 1_000,
    hops: 1_000,
    asks: 1_000,
    asks_outside: 200,
    spawned: 10_000,
    idle: 10_000,
    idle_heavy: 10_000,
    rounds: 2,
    timers: 10_000,
    at_rest: 10_000,
};

pub(crate) const WARM_UP: Counts = Counts {
    tell: 200_000,
    fan_each: 200,
    round_trips: 20_000,
    hops: 20_000,
    asks: 20_000,
    asks_outside: 1_000,
    rounds: 20,
    timers: 20_000,
    ..QUICK
};

/// `senders` send `chunks` times `chunk` messages each, and yield after each chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tell {
    pub(crate) senders: u64,
    pub(crate) chunks: u64,
    pub(crate) chunk: u64,
}

impl Tell {
    pub(crate) fn steady(messages: u64, senders: u64) -> Tell {
        Tell {
            senders,
            chunks: messages / senders / CHUNK,
            chunk: CHUNK,
        }
    }

    pub(crate) fn burst(messages: u64) -> Tell {
        Tell {
            senders: 1,
            chunks: 1,
            chunk: messages,
        }
    }

    pub(crate) fn messages(self) -> u64 {
        self.senders * self.chunks * self.chunk
    }

    /// Every message carries its place in its chunk.
    pub(crate) fn sum(self) -> u64 {
        self.senders * self.chunks * sum_below(self.chunk)
    }
}

/// One sender, round-robin over `actors`, `each` messages to every one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fan {
    pub(crate) actors: usize,
    pub(crate) each: u64,
}

impl Fan {
    pub(crate) fn messages(self) -> u64 {
        self.actors as u64 * self.each
    }

    pub(crate) fn chunks(self) -> u64 {
        self.messages() / CHUNK
    }

    pub(crate) fn sum(self) -> u64 {
        self.chunks() * sum_below(CHUNK)
    }
}

/// One token makes `hops` hops round a ring of `actors`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    pub(crate) actors: usize,
    pub(crate) hops: u64,
}

impl Ring {
    /// How often the token visits the actor that starts and ends the run.
    pub(crate) fn visits(self) -> u64 {
        self.hops / self.actors as u64 + 1
    }
}

fn sum_below(n: u64) -> u64 {
    n * (n - 1) / 2
}

/// Tells the driver that `parties` actors are done, and the sum of what they counted.
#[derive(Clone, Debug)]
pub(crate) struct Done(Arc<DoneInner>);

#[derive(Debug)]
struct DoneInner {
    left: AtomicUsize,
    sum: AtomicU64,
    tell: Mutex<Option<oneshot::Sender<u64>>>,
}

impl Done {
    pub(crate) fn new(parties: usize) -> (Done, oneshot::Receiver<u64>) {
        let (tell, told) = oneshot::channel();
        let inner = DoneInner {
            left: AtomicUsize::new(parties),
            sum: AtomicU64::new(0),
            tell: Mutex::new(Some(tell)),
        };
        (Done(Arc::new(inner)), told)
    }

    pub(crate) fn arrive(&self, sum: u64) {
        self.0.sum.fetch_add(sum, Ordering::Relaxed);
        // Release with Acquire: the last one sees every other party's sum.
        if self.0.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let tell = self
                .0
                .tell
                .lock()
                .expect("no party panics while it holds the lock")
                .take();
            let told = tell
                .expect("more arrivals than parties")
                .send(self.0.sum.load(Ordering::Relaxed));
            told.expect("the driver waits");
        }
    }
}

/// State of an actor that expects a number of messages and adds them up.
#[derive(Debug)]
pub(crate) struct Counter {
    left: u64,
    sum: u64,
    done: Done,
}

impl Counter {
    pub(crate) fn new(expected: u64, done: Done) -> Counter {
        Counter {
            left: expected,
            sum: 0,
            done,
        }
    }

    #[inline]
    pub(crate) fn add(&mut self, value: u64) {
        self.sum += value;
        self.left = self.left.checked_sub(1).expect("a message too many");
        if self.left == 0 {
            self.done.arrive(self.sum);
        }
    }
}

/// State of an actor in the ring, beside the address of the next one.
#[derive(Debug)]
pub(crate) struct Station {
    visits: u64,
    done: Done,
}

impl Station {
    pub(crate) fn new(done: Done) -> Station {
        Station { visits: 0, done }
    }

    /// The token to pass on, if it goes on.
    #[inline]
    pub(crate) fn visit(&mut self, hops_left: u64) -> Option<u64> {
        self.visits += 1;
        if hops_left == 0 {
            self.done.arrive(self.visits);
        }
        hops_left.checked_sub(1)
    }
}

/// 32 bytes of state for `spawn` and `memory`.
#[derive(Debug)]
pub(crate) struct Idle {
    data: [u64; 3],
    nursery: Nursery,
}

const _: () = assert!(size_of::<Idle>() == 32);

/// Makes idle actors, which tell it when they started and when they had their message.
#[derive(Clone, Debug)]
pub(crate) struct Nursery(Arc<Stages>);

#[derive(Debug)]
struct Stages {
    started: Done,
    handled: Done,
}

impl Nursery {
    pub(crate) fn actor(&self) -> Idle {
        Idle {
            data: [0; 3],
            nursery: self.clone(),
        }
    }
}

/// The driver's side of idle actors.
#[derive(Debug)]
pub(crate) struct IdleRun {
    pub(crate) nursery: Nursery,
    pub(crate) actors: usize,
    started: oneshot::Receiver<u64>,
    handled: oneshot::Receiver<u64>,
}

impl IdleRun {
    pub(crate) fn new(actors: usize) -> IdleRun {
        let (started, all_started) = Done::new(actors);
        let (handled, all_handled) = Done::new(actors);
        IdleRun {
            nursery: Nursery(Arc::new(Stages { started, handled })),
            actors,
            started: all_started,
            handled: all_handled,
        }
    }

    pub(crate) async fn all_started(&mut self) {
        let expected = self.actors as u64;
        assert_eq!(
            (&mut self.started).await,
            Ok(expected),
            "every actor ran its start hook"
        );
    }

    pub(crate) async fn all_handled(&mut self) {
        let expected = Idle::MESSAGE * self.actors as u64;
        assert_eq!(
            (&mut self.handled).await,
            Ok(expected),
            "every actor got its message"
        );
    }
}

impl Idle {
    /// The value of the one message to an idle actor.
    pub(crate) const MESSAGE: u64 = 7;

    pub(crate) fn started(&mut self) {
        self.data[0] = 1;
        self.nursery.0.started.arrive(1);
    }

    pub(crate) fn handle(&mut self, value: u64) {
        self.data[1] += value;
        self.nursery.0.handled.arrive(self.data[1]);
    }
}

/// The latencies of asks from a thread outside.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) timed: Timed,
    pub(crate) p50: Duration,
}

/// Asks `asks` times; the answers must count up from 1.
pub(crate) fn time_asks(asks: u64, mut ask: impl FnMut() -> u64) -> Asked {
    let mut each = Vec::with_capacity(asks as usize);
    let clock = Clock::start();
    let mut before = Instant::now();
    for i in 1..=asks {
        assert_eq!(ask(), i, "every ask is answered once");
        let now = Instant::now();
        each.push(now - before);
        before = now;
    }
    let timed = clock.stop(asks);
    each.sort_unstable();
    Asked {
        timed,
        p50: each[each.len() / 2],
    }
}

/// What the actors of `register_ready` handled, all together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handled(Arc<AtomicU64>);

impl Handled {
    /// Has every actor handled its message of this round and of all before?
    pub(crate) fn all_of(&self, round: u64) -> bool {
        // Acquire with Release: what the actors did is over.
        let handled = self.0.load(Ordering::Acquire);
        let expected = (round + 1) * READY as u64;
        assert!(handled <= expected, "a message too many");
        handled == expected
    }
}

/// State of an actor that gets one message per round: the round's number.
#[derive(Debug)]
pub(crate) struct Waiter {
    round: u64,
    handled: Handled,
}

impl Waiter {
    pub(crate) fn new(handled: Handled) -> Waiter {
        Waiter { round: 0, handled }
    }

    #[inline]
    pub(crate) fn handle(&mut self, round: u64) {
        assert_eq!(round, self.round, "one message of every round");
        self.round += 1;
        self.handled.0.fetch_add(1, Ordering::Release);
    }
}

/// What a tell to an idle actor takes, in ns, round by round.
#[derive(Debug, Default)]
pub(crate) struct Registered {
    first: Vec<f64>,
    last: Vec<f64>,
    all: Vec<f64>,
}

impl Registered {
    /// Times one tell to each actor. The caller doesn't let go of its thread meanwhile, so nobody else on it runs.
    #[inline]
    pub(crate) fn round<A>(&mut self, actors: &[A], mut tell: impl FnMut(&A)) {
        let (first, others) = actors.split_at(EDGE);
        let (middle, last) = others.split_at(others.len() - EDGE);
        let start = Instant::now();
        first.iter().for_each(&mut tell);
        let first_told = Instant::now();
        middle.iter().for_each(&mut tell);
        let middle_told = Instant::now();
        last.iter().for_each(&mut tell);
        let end = Instant::now();
        let per_tell = |time: Duration, tells: usize| time.as_nanos() as f64 / tells as f64;
        self.first.push(per_tell(first_told - start, EDGE));
        self.last.push(per_tell(end - middle_told, EDGE));
        self.all.push(per_tell(end - start, actors.len()));
    }

    /// The median of each part, by its name. The first round started the actors and doesn't count.
    pub(crate) fn medians(&self) -> [(&'static str, f64); 3] {
        [
            ("first_64", &self.first),
            ("last_64", &self.last),
            ("all", &self.all),
        ]
        .map(|(name, rounds)| (name, median(rounds[1..].to_vec())))
    }
}

/// How long the answers of `ask_deadline` may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(1);

/// The time of the processors that is used while nobody has anything to do, in a second. Another second goes before, for
/// what comes to rest. It is taken by a thread of its own, so that no timer of the system runs meanwhile.
pub(crate) async fn idle_second() -> Duration {
    const SECOND: Duration = Duration::from_secs(1);
    let (tell, told) = oneshot::channel();
    thread::spawn(move || {
        thread::sleep(SECOND);
        let clock = Clock::start();
        thread::sleep(SECOND);
        tell.send(clock.cpu()).expect("the driver waits");
    });
    told.await.expect("the thread ends well")
}
