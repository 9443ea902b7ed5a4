//! How long an actor waits beside others that never run dry, and that those get equal shares.
//!
//! The workers are polled in turns here, in an order drawn from the seed: of an executor that leaves one of them alone
//! nothing could be said.

use hikyaku_core::{
    Actor, ActorRef, Context, Failure, ManualDriver, System, SystemBuilder, Worker,
};
use hikyaku_testkit::{VirtualClock, explore};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

const BUSY: usize = 2;

/// What happened so far.
#[derive(Default)]
struct Ledger {
    clock: VirtualClock,
    /// How often each worker was polled.
    rounds: AtomicU64,
    /// What each of the busy ones has handled.
    handled: [AtomicU64; BUSY],
    /// The most messages that one of them has handled between two of the other one.
    longest_turn: AtomicU64,
    /// Who of the others has a message.
    expecting: [AtomicBool; IDLE],
    /// What they have waited for.
    waits: Mutex<Vec<Moment>>,
}

/// How far rounds and busy actors are, or how much of these has gone by.
#[derive(Clone, Copy, Debug)]
struct Moment {
    rounds: u64,
    handled: [u64; BUSY],
}

impl Ledger {
    fn now(&self) -> Moment {
        Moment {
            rounds: self.rounds.load(Ordering::Relaxed),
            handled: [0, 1].map(|busy: usize| self.handled[busy].load(Ordering::Relaxed)),
        }
    }

    fn note_wait(&self, since: Moment) {
        let now = self.now();
        self.waits.lock().unwrap().push(Moment {
            rounds: now.rounds - since.rounds,
            handled: [0, 1].map(|busy: usize| now.handled[busy] - since.handled[busy]),
        });
    }
}

/// Each message takes a millisecond.
struct Busy {
    number: usize,
    ledger: Arc<Ledger>,
    /// What the other one had handled at the last message.
    other: u64,
}

impl Actor for Busy {
    /// Is another one to be sent for it?
    type Msg = bool;

    async fn handle(&mut self, again: bool, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        let ledger = &self.ledger;
        let handled = ledger.now().handled;
        let turn = handled[1 - self.number] - self.other;
        self.other = handled[1 - self.number];
        ledger.longest_turn.fetch_max(turn, Ordering::Relaxed);
        ledger.handled[self.number].fetch_add(1, Ordering::Relaxed);
        ledger.clock.advance(Duration::from_millis(1));
        if again {
            cx.me().tell(true)?;
        }
        Ok(())
    }
}

/// Has nothing to do but now and then.
struct Idle(usize, Arc<Ledger>);

struct Visit {
    since: Moment,
    /// Whom to visit next.
    then: Option<(usize, ActorRef<Visit>)>,
}

/// Sends an idle actor a message, unless it has one already.
fn visit(
    ledger: &Ledger,
    (number, actor): &(usize, ActorRef<Visit>),
    then: Option<(usize, ActorRef<Visit>)>,
) {
    if !ledger.expecting[*number].swap(true, Ordering::Relaxed) {
        let since = ledger.now();
        actor.tell(Visit { since, then }).unwrap();
    }
}

impl Actor for Idle {
    type Msg = Visit;

    async fn handle(&mut self, message: Visit, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        let Self(number, ledger) = self;
        ledger.note_wait(message.since);
        ledger.expecting[*number].store(false, Ordering::Relaxed);
        if let Some(then) = message.then {
            visit(ledger, &then, None);
        }
        Ok(())
    }
}

/// Marsaglia's xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    /// Polls each worker for one step, in any order.
    fn round(&mut self, workers: &mut [Worker]) {
        for last in (1..workers.len()).rev() {
            workers.swap(last, self.below(last + 1));
        }
        for worker in workers {
            let _ = worker.poll(1, Waker::noop());
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Single,
    Stealing(usize),
}

/// How the workers are configured, and how many messages an activation has then.
type Settings = (&'static str, fn(SystemBuilder) -> SystemBuilder, u64);

const SETTINGS: [Settings; 5] = [
    ("throughput 1", |system| system.throughput(1), 1),
    ("throughput 32", |system| system.throughput(32), 32),
    ("throughput 300", |system| system.throughput(300), 300),
    // The clock is read after 8 messages, then after 16, 32, and so on.
    (
        "5 ms",
        |system| system.throughput(300).time_budget(Duration::from_millis(5)),
        16,
    ),
    (
        "20 ms",
        |system| {
            system
                .throughput(300)
                .time_budget(Duration::from_millis(20))
        },
        32,
    ),
];

const IDLE: usize = 20;

const ROUNDS: u64 = if cfg!(miri) { 300 } else { 600 };

#[derive(Debug)]
struct Seen {
    /// What each message to an idle actor has waited for.
    waits: Vec<Moment>,
    /// What the busy ones have handled.
    handled: [u64; BUSY],
    longest_turn: u64,
}

fn run(seed: u64, kind: Kind, configure: fn(SystemBuilder) -> SystemBuilder) -> Seen {
    let ledger = Arc::new(Ledger::default());
    let system = configure(
        System::builder("fair")
            .clock(ledger.clock.clone())
            .tick_driver(ManualDriver::new()),
    )
    .seed(seed);
    let system = match kind {
        Kind::Single => system.workers(1),
        Kind::Stealing(workers) => system.workers(workers).work_stealing(),
    };
    let (system, mut workers) = system.build().unwrap();
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let idle: Vec<_> = (0..IDLE)
        .map(|number| {
            let ledger = Arc::clone(&ledger);
            let actor = system.spawn(move || Idle(number, Arc::clone(&ledger)));
            (number, actor.unwrap())
        })
        .collect();
    for _ in 0..4 * IDLE {
        dice.round(&mut workers);
    }
    let busy = [0, 1].map(|number| {
        let ledger = Arc::clone(&ledger);
        let busy = system.spawn(move || Busy {
            number,
            ledger: Arc::clone(&ledger),
            other: 0,
        });
        let busy = busy.unwrap();
        busy.tell_all([true, true]).unwrap();
        busy
    });
    for round in 0..ROUNDS {
        ledger.rounds.store(round, Ordering::Relaxed);
        // Some at once, then none for a while.
        if dice.below(8) == 0 {
            for _ in 0..=dice.below(5) {
                let then = (dice.below(3) == 0).then(|| idle[dice.below(IDLE)].clone());
                visit(&ledger, &idle[dice.below(IDLE)], then);
            }
        }
        if dice.below(4) == 0 {
            busy[dice.below(BUSY)].tell(false).unwrap();
        }
        dice.round(&mut workers);
    }
    Seen {
        waits: std::mem::take(&mut *ledger.waits.lock().unwrap()),
        handled: ledger.now().handled,
        longest_turn: ledger.longest_turn.load(Ordering::Relaxed),
    }
}

/// On one worker each of the busy ones has one turn at most before an idle one, also when that is woken from outside, and
/// they take turns with each other.
#[test]
fn row16_on_one_worker_an_idle_actor_waits_for_one_turn_of_each_busy_one() {
    explore(4, |seed| {
        for kind in [Kind::Single, Kind::Stealing(1)] {
            for (name, configure, share) in SETTINGS {
                let seen = run(seed, kind, configure);
                let most = seen.waits.iter().flat_map(|wait| wait.handled).max();
                assert!(
                    seen.waits.len() > 100 && most <= Some(share),
                    "{kind:?} {name}: {most:?}"
                );
                assert!(seen.longest_turn <= share, "{kind:?} {name}: {seen:?}");
                let [one, other] = seen.handled;
                assert!(one.abs_diff(other) <= share, "{kind:?} {name}: {seen:?}");
            }
        }
    });
}

/// On several workers too nobody waits for more activations of a worker than there are actors. Who runs where is
/// chance, so the shares of the busy ones are equal in the long run only.
#[test]
fn row16_on_several_workers_an_idle_actor_waits_for_no_more_turns_than_there_are_actors() {
    explore(4, |seed| {
        for workers in [2, 3, 4] {
            for (name, configure, share) in SETTINGS {
                let seen = run(seed, Kind::Stealing(workers), configure);
                let most = seen.waits.iter().map(|wait| wait.rounds).max();
                assert!(
                    seen.waits.len() > 100 && most <= Some((BUSY + IDLE) as u64),
                    "{workers} workers, {name}: {most:?}"
                );
                let [one, other] = seen.handled;
                let shares = one.abs_diff(other) / share;
                assert!(
                    shares <= ROUNDS / 20,
                    "{workers} workers, {name}: {one} and {other}"
                );
            }
        }
    });
}
