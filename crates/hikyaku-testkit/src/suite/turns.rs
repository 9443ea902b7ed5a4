//! Who runs when: waking, awaiting, yielding, making way.

use super::Runtime;
use super::subject::{Act, Gate, Log, MANY, Subject, all, occupy, settle, spawn, spawn_with};
use hikyaku_core::{Actor, ActorRef, Context, Failure, Reply, SpawnOptions, once};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Hits a ball to the other side until it has been hit often enough.
fn hit(from: ActorRef<Act>, to: ActorRef<Act>, left: u64, done: Reply<()>) -> Act {
    Act::call(move |_| {
        if left == 0 {
            let _ = done.send(());
            return;
        }
        let receiver = to.clone();
        receiver.tell(hit(to, from, left - 1, done)).unwrap();
    })
}

/// Message by message, and question by question, none of the many wake-ups is missed.
pub fn row08_ping_pong(runtime: &impl Runtime) {
    runtime.block_on(async {
        let [left, right] = ["l", "r"].map(|name| spawn(runtime, name, &Log::default()));
        let (from, to) = (left.clone(), right.clone());
        let done = left.ask(|reply| hit(from, to, 2 * MANY, reply));
        assert_eq!(done.await, Ok(()));

        let other = right.clone();
        let asking = async move {
            for _ in 0..MANY / 10 {
                settle(&other).await;
            }
        };
        left.tell(Act::run(asking)).unwrap();
        settle(&left).await;
        for _ in 0..MANY / 100 {
            settle(&right).await;
        }
    });
}

/// Plain fields: only one handler at a time may see them, each what the one before has left.
struct Counter {
    inside: bool,
    total: u64,
    overlaps: u64,
}

enum CounterMsg {
    /// Add one, with so many yields between reading and writing.
    Add(u64),
    Totals(Reply<(u64, u64)>),
}

impl Actor for Counter {
    type Msg = CounterMsg;

    async fn handle(
        &mut self,
        message: CounterMsg,
        cx: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        match message {
            CounterMsg::Add(yields) => {
                self.overlaps += u64::from(self.inside);
                self.inside = true;
                let before = self.total;
                for _ in 0..yields {
                    cx.yield_now().await;
                }
                self.total = before + 1;
                self.inside = false;
            }
            CounterMsg::Totals(reply) => {
                let _ = reply.send((self.total, self.overlaps));
            }
        }
        Ok(())
    }
}

/// Also when they await, and whoever runs them.
pub fn row13_handlers_of_one_actor_never_overlap(runtime: &impl Runtime) {
    const SENDERS: u64 = 6;
    const EACH: u64 = if cfg!(miri) { 20 } else { 200 };
    runtime.block_on(async {
        let counter = runtime
            .spawn(SpawnOptions::new(), || Counter {
                inside: false,
                total: 0,
                overlaps: 0,
            })
            .unwrap();
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let sender = spawn(runtime, "s", &Log::default());
                for n in 0..EACH {
                    let counter = counter.clone();
                    let add = move |_: &mut Context<'_, Subject>| {
                        counter.tell(CounterMsg::Add(n % 3)).unwrap();
                    };
                    sender.tell(Act::call(add)).unwrap();
                }
                sender
            })
            .collect();
        all(senders.iter().map(settle)).await;
        let totals = counter.ask(CounterMsg::Totals).await;
        assert_eq!(totals, Ok((SENDERS * EACH, 0)));
    });
}

/// Its worker does not wait with it.
pub fn row16_a_handler_that_awaits_lets_others_run(runtime: &impl Runtime) {
    runtime.block_on(async {
        let log = Log::default();
        let waiting: Vec<_> = (0..8).map(|_| spawn(runtime, "a", &log)).collect();
        let mut gates = Vec::new();
        for actor in &waiting {
            gates.push(occupy(actor).await);
        }
        let other = spawn(runtime, "b", &Log::default());
        let opening = Act::call(move |_| gates.iter().for_each(Gate::open));
        other.tell(opening).unwrap();
        all(waiting.iter().map(settle)).await;
    });
}

/// Which is how it gets what it yields for.
pub fn row16_a_handler_that_yields_lets_others_run(runtime: &impl Runtime) {
    runtime.block_on(async {
        let gate = Gate::default();
        let yielding: Vec<_> = (0..8)
            .map(|_| spawn(runtime, "a", &Log::default()))
            .collect();
        for actor in &yielding {
            actor.tell(Act::YieldUntil(gate.clone())).unwrap();
        }
        let other = spawn(runtime, "b", &Log::default());
        other.tell(Act::call(move |_| gate.open())).unwrap();
        all(yielding.iter().map(settle)).await;
    });
}

/// Tells the actor the same again, until the gate is open.
fn again(gate: Gate) -> Act {
    Act::call(move |cx| {
        if !gate.is_open() {
            cx.me().tell(again(gate)).unwrap();
        }
    })
}

/// An actor that always has one more message does not keep the others waiting.
pub fn row16_an_actor_that_never_runs_dry_makes_way(runtime: &impl Runtime) {
    runtime.block_on(async {
        for throughput in [1, 32, 300] {
            let gate = Gate::default();
            let busy: Vec<_> = (0..4)
                .map(|_| {
                    let options = SpawnOptions::new().throughput(throughput);
                    spawn_with(runtime, options, "a", &Log::default())
                })
                .collect();
            for actor in &busy {
                actor.tell(again(gate.clone())).unwrap();
            }
            let other = spawn(runtime, "b", &Log::default());
            other.tell(Act::call(move |_| gate.open())).unwrap();
            all(busy.iter().map(settle)).await;
        }
    });
}

/// A throughput of one is round robin. Where one worker runs them all: with several the order is nobody's to
/// say.
pub fn row16_turns_are_no_longer_than_the_throughput(runtime: &impl Runtime) {
    const EACH: u64 = 700;
    runtime.block_on(async {
        for throughput in [1, 32, 300] {
            let log = Log::default();
            let [left, right, driver] = ["l", "r", "d"].map(|name| {
                let options = SpawnOptions::new().throughput(throughput);
                spawn_with(runtime, options, name, &log)
            });
            all([settle(&left), settle(&right), settle(&driver)]).await;
            log.line();
            let ends = [Gate::default(), Gate::default()];
            let opened = ends.clone();
            // The one worker is busy with this handler until both have all they will have.
            let telling = Act::call(move |_| {
                for n in 0..EACH {
                    left.tell(Act::Note(n)).unwrap();
                    right.tell(Act::Note(n)).unwrap();
                }
                for (actor, end) in [left, right].into_iter().zip(opened) {
                    actor.tell(Act::call(move |_| end.open())).unwrap();
                }
            });
            driver.tell(telling).unwrap();
            // Nothing else comes from outside meanwhile: it would have its turn before its time.
            all(ends.iter().map(Gate::pass)).await;

            let line = log.line();
            assert_eq!(line.split(' ').count() as u64, 2 * EACH);
            if runtime.has_one_worker() {
                let turn = longest_turn(&line, EACH);
                assert!(turn <= throughput, "{turn} at {throughput}");
            }
        }
    });
}

/// How many notes of one actor come after each other at most, as long as both have some left.
fn longest_turn(line: &str, each: u64) -> u32 {
    let (mut turn, mut longest) = ((' ', 0), 0);
    for note in line.split(' ') {
        let name = note.chars().next().unwrap_or_default();
        turn = match turn {
            (last, length) if last == name => (name, length + 1),
            _ => (name, 1),
        };
        longest = longest.max(turn.1);
        if note[1..].parse() == Ok(each - 1) {
            break;
        }
    }
    longest
}

/// Thousands of actors, where there can be so many, each told to stop, all end.
pub fn row17_a_storm_of_spawns_ends(runtime: &impl Runtime) {
    let system = runtime.system();
    let handled = Arc::new(AtomicU64::new(0));
    let many = MANY.min(runtime.most_actors());
    runtime.block_on(async {
        let mut ends = Vec::new();
        for _ in 0..many {
            let (log, handled) = (Log::default(), Arc::clone(&handled));
            let actor = spawn(runtime, "a", &log);
            let act = Act::call(move |cx| {
                handled.fetch_add(1, Ordering::Relaxed);
                cx.stop();
            });
            actor.tell(act).unwrap();
            ends.push(actor.stopped());
        }
        for end in ends {
            end.await;
        }
    });
    assert_eq!(handled.load(Ordering::Relaxed), many);
    assert_eq!(system.metrics().live_actors, 0);
}

/// Children, and actors of their own.
pub fn handlers_spawn(runtime: &impl Runtime) {
    let system = runtime.system();
    runtime.block_on(async {
        let log = Log::default();
        let parent = spawn(runtime, "p", &log);
        let spawned = parent.ask(|reply| {
            let (system, log) = (system.clone(), log.clone());
            Act::call(move |cx| {
                let child = cx.spawn(once(Subject::new("c", &log))).unwrap();
                let free = once(Subject::new("f", &Log::default()));
                let free = system.spawn(free).unwrap();
                child.tell(Act::Note(1)).unwrap();
                let _ = reply.send((child, free, cx.children()));
            })
        });
        let (child, free, children) = spawned.await.unwrap();
        assert_eq!(children, 1);
        all([settle(&child), settle(&free)]).await;
        parent.stop();
        parent.stopped().await;
        assert!(!child.is_alive() && free.is_alive());
        assert_eq!(log.line(), "p+ c+ c1 c- p-");
    });
}
