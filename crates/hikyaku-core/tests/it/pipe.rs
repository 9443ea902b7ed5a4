//! Futures and streams beside an actor, whose results become its messages.

use crate::puppet::{Count, Counted, Do, Gate, Log, Puppet, mortal};
use hikyaku_core::{
    Actor, ActorRef, AskError, Blocking, BlockingError, BlockingPool, Context, Failure, Job,
    MailboxOptions, ManualDriver, Recipient, Reply, SendError, SpawnOptions, System, Turn, Wrap,
};
use hikyaku_testkit::{Sim, VirtualClock, check_seeds};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as Poller, Poll, Waker};
use std::time::Duration;

type Cx<'a> = Context<'a, Puppet>;

fn turn(sim: &mut Sim, actor: &ActorRef<Do>, call: impl FnOnce(&mut Cx<'_>) + Send + 'static) {
    assert!(actor.tell(Do::call(call)).is_ok());
    sim.run_until_idle();
}

/// A future that is done when it is first polled.
async fn at_once<T>(value: T) -> T {
    value
}

async fn when_open<T>(gate: Gate, value: T) -> T {
    gate.pass().await;
    value
}

// === futures ===

#[test]
fn row64_results_of_each_kind_arrive() {
    check_seeds(100, |sim| {
        let (log, gate) = (Log::default(), Gate::default());
        let actor = sim.spawn(Puppet::factory("", &log)).unwrap();
        let (closed, target) = (gate.clone(), sim.spawn(Puppet::factory("", &log)).unwrap());
        sim.run_until_idle();
        log.take();
        turn(sim, &actor, move |cx| {
            let map = |result: Result<u64, &str>| Do::Note(result.unwrap_or(404));
            cx.pipe_to_self(at_once(Ok(1)), map).unwrap();
            cx.pipe_to_self(at_once(Err("no")), map).unwrap();
            cx.pipe_to_self(when_open(closed.clone(), Ok(2)), map)
                .unwrap();
            cx.pipe_to_self(when_open(closed.clone(), Err("no")), map)
                .unwrap();
            // Cancelled: the question is dropped.
            let lost = |reply: Reply<u64>| Do::call(move |_| drop(reply));
            cx.ask(&target, lost, |answer| {
                assert_eq!(answer, Err(AskError::Dropped));
                Do::Note(3)
            })
            .unwrap();
            let answered = |reply| Do::Answer(reply, 4);
            cx.ask(&target, answered, |answer| Do::Note(answer.unwrap()))
                .unwrap();
        });
        let mut notes = log.take();
        assert_eq!(notes[..2], ["1", "404"]);
        notes.sort_unstable();
        assert_eq!(notes, ["1", "3", "4", "404"]);
        gate.open();
        sim.run_until_idle();
        let mut notes = log.take();
        notes.sort_unstable();
        assert_eq!(notes, ["2", "404"]);
    });
}

/// Success and failure of an answer come apart in the receiver's turn.
#[test]
fn row62_row63_a_reply_that_is_a_result_unwraps_to_success_or_failure() {
    struct Divider;
    struct Divide(u64, u64, Reply<Result<u64, String>>);
    impl Actor for Divider {
        type Msg = Divide;
        async fn handle(
            &mut self,
            Divide(a, b, reply): Divide,
            _: &mut Context<'_, Self>,
        ) -> Result<(), Failure> {
            let _ = reply.send(a.checked_div(b).ok_or_else(|| format!("{a} by {b}")));
            Ok(())
        }
    }
    check_seeds(60, |sim| {
        let log = Log::default();
        let divider = sim.spawn(|| Divider).unwrap();
        let ask = |b| divider.ask(move |reply| Divide(12, b, reply));
        assert_eq!(sim.block_on(ask(4)), Ok(Ok(3)));
        assert_eq!(sim.block_on(ask(0)), Ok(Err("12 by 0".into())));
        let actor = sim.spawn(Puppet::factory("", &Log::default())).unwrap();
        let told = log.clone();
        turn(sim, &actor, move |cx| {
            for b in [4, 0] {
                let told = told.clone();
                cx.ask(
                    &divider,
                    move |reply| Divide(12, b, reply),
                    move |answer| match answer {
                        Ok(Ok(n)) => Do::call(move |_| told.push(format!("{n}"))),
                        Ok(Err(text)) => Do::call(move |_| told.push(text)),
                        Err(error) => panic!("{error}"),
                    },
                )
                .unwrap();
            }
        });
        let mut log = log.take();
        log.sort_unstable();
        assert_eq!(log, ["12 by 0", "3"]);
    });
}

/// The function that makes the message runs where the actor runs, never beside one of its handlers, and
/// only as long as it lives.
#[test]
fn row63_row64_the_mapping_runs_in_the_actors_turn() {
    check_seeds(100, |sim| {
        let (log, gate) = (Log::default(), Gate::default());
        let actor = sim.spawn(Puppet::factory("", &log)).unwrap();
        let (closed, told) = (gate.clone(), log.clone());
        turn(sim, &actor, move |cx| {
            let map = move |()| {
                told.push("map");
                Do::Note(1)
            };
            cx.pipe_to_self(when_open(closed, ()), map).unwrap();
        });
        let ended = sim.below(2) == 0;
        if ended {
            actor.stop();
            sim.run_until_idle();
        }
        gate.open();
        let before = log.len();
        sim.run_until_idle();
        if ended {
            assert_eq!(log.len(), before);
        } else {
            assert_eq!(log.line(), "+ map 1");
        }
    });
}

/// `Wrap` maps on the sender's side: before the message is queued, and once.
#[test]
fn row63_wrapping_is_done_by_the_sender_and_chosen_by_the_type() {
    enum Shop {
        Order(u32),
        Name(&'static str),
    }
    impl Wrap<u32> for Shop {
        fn wrap(n: u32) -> Self {
            assert_ne!(n, 13, "refused by the adapter");
            Self::Order(n)
        }
        fn unwrap(self) -> u32 {
            match self {
                Self::Order(n) => n,
                Self::Name(_) => unreachable!("never wrapped"),
            }
        }
    }
    impl Wrap<&'static str> for Shop {
        fn wrap(name: &'static str) -> Self {
            Self::Name(name)
        }
        fn unwrap(self) -> &'static str {
            match self {
                Self::Name(name) => name,
                Self::Order(_) => unreachable!("never wrapped"),
            }
        }
    }
    struct Keeper(Log);
    impl Actor for Keeper {
        type Msg = Shop;
        async fn handle(&mut self, shop: Shop, _: &mut Context<'_, Self>) -> Result<(), Failure> {
            self.0.push(match shop {
                Shop::Order(n) => n.to_string(),
                Shop::Name(name) => name.to_string(),
            });
            Ok(())
        }
    }
    check_seeds(30, |sim| {
        let log = Log::default();
        let told = log.clone();
        let options = SpawnOptions::new().mailbox(MailboxOptions::bounded(3));
        let actor = sim
            .spawn_with(options, move || Keeper(told.clone()))
            .unwrap();
        let numbers: Recipient<u32> = actor.recipient();
        let names: Recipient<&'static str> = actor.recipient();
        numbers.tell(1).unwrap();
        names.tell("one").unwrap();
        // A panic of the adapter is the sender's; the actor does not hear of it.
        #[cfg(feature = "std")]
        {
            let sender = numbers.clone();
            let send = std::panic::AssertUnwindSafe(move || sender.tell(13));
            assert!(std::panic::catch_unwind(send).is_err());
        }
        numbers.tell(2).unwrap();
        // What is refused comes back as it was.
        assert_eq!(numbers.tell(3), Err(SendError::Full(3)));
        assert_eq!(names.try_send("x"), Err(SendError::Full("x")));
        sim.run_until_idle();
        assert_eq!(log.line(), "1 one 2");
        assert_eq!(sim.metrics().failures, 0);
        // After the end of the actor the adapters are dead.
        actor.stop();
        sim.run_until_idle();
        assert!(!names.is_alive());
        assert_eq!(numbers.tell(4), Err(SendError::Closed(4)));
        assert_eq!(names.tell("y"), Err(SendError::Closed("y")));
    });
}

#[test]
fn row64_nothing_is_handed_over_while_a_handler_is_pending() {
    check_seeds(100, |sim| {
        let (log, gate, result) = (Log::default(), Gate::default(), Gate::default());
        let actor = sim.spawn(Puppet::factory("", &log)).unwrap();
        let closed = result.clone();
        turn(sim, &actor, |cx| {
            cx.pipe_to_self(when_open(closed, 5), Do::Note).unwrap()
        });
        assert!(actor.tell(Do::Pass(1, gate.clone())).is_ok());
        assert!(actor.tell(Do::Note(2)).is_ok());
        sim.run_until_idle();
        result.open();
        sim.run_until_idle();
        assert_eq!(log.line(), "+ <1");
        gate.open();
        sim.run_until_idle();
        // It takes no room in the mailbox, and goes before what waits there.
        assert_eq!(log.line(), "1> 5 2");
    });
}

#[test]
fn row64_futures_are_dropped_with_their_actor() {
    type End = fn(&ActorRef<Do>);
    let ends: [(&str, End); 4] = [
        ("stop", |a| a.stop()),
        ("graceful stop", |a| a.stop_gracefully()),
        ("kill", |a| a.kill()),
        ("failure", |a| assert!(a.tell(Do::Fail("x")).is_ok())),
    ];
    check_seeds(100, |sim| {
        for (what, end) in ends {
            let (log, gate, count) = (Log::default(), Gate::default(), Count::default());
            let actor = sim.spawn_with(mortal(), Puppet::factory("", &log)).unwrap();
            let (closed, never) = (gate.clone(), Gate::default());
            let pieces: Vec<_> = (0..5).map(|_| count.one()).collect();
            let [a, b, c, d, e]: [Counted; 5] = pieces.try_into().unwrap();
            turn(sim, &actor, move |cx| {
                let map = move |()| {
                    drop(b);
                    Do::Note(1)
                };
                cx.pipe_to_self(
                    async move {
                        never.pass().await;
                        drop(a);
                    },
                    map,
                )
                .unwrap();
                // Its message may be on its way when the end comes.
                cx.pipe_to_self(when_open(closed, c), |c| Do::Carry(2, c))
                    .unwrap();
                let stream = Source::new([Some(1)], &Log::default(), Some(d));
                let map = move |n| {
                    let _ = &e;
                    Do::Note(n)
                };
                cx.attach_stream(stream, map, || None).unwrap();
            });
            gate.open();
            let steps = sim.below(6);
            sim.run_steps(steps);
            end(&actor);
            sim.run_until_idle();
            assert_eq!(count.alive(), 0, "{what}");
            assert!(!actor.is_alive());
        }
    });
}

/// An actor that ends when nobody knows it waits for what it has begun.
#[test]
fn row64_a_pending_future_keeps_the_actor_alive() {
    check_seeds(100, |sim| {
        let (log, gates) = (Log::default(), [Gate::default(), Gate::default()]);
        let options = SpawnOptions::new().stop_when_unreferenced();
        let actor = sim.spawn_with(options, Puppet::factory("", &log)).unwrap();
        let watch = actor.downgrade();
        let closed = gates.clone();
        turn(sim, &actor, move |cx| {
            for (n, gate) in (1..).zip(closed) {
                cx.pipe_to_self(when_open(gate, n), Do::Note).unwrap();
            }
        });
        drop(actor);
        sim.run_until_idle();
        assert!(watch.upgrade().is_some());
        let first = sim.below(2);
        gates[first].open();
        sim.run_until_idle();
        assert_eq!(log.line(), format!("+ {}", first + 1));
        gates[1 - first].open();
        sim.run_until_idle();
        // The last result is handled before the end.
        assert_eq!(log.line(), format!("{} -", 2 - first));
        assert_eq!(sim.metrics().live_actors, 0);
    });
}

/// Woken from elsewhere, woken during its poll, woken late, and woken after the actor's end.
#[test]
fn row64_wakes_of_every_kind_are_harmless() {
    struct Odd {
        polls: usize,
        kept: Arc<Mutex<Option<Waker>>>,
    }
    impl Future for Odd {
        type Output = ();
        fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<()> {
            self.polls += 1;
            cx.waker().wake_by_ref();
            *self.kept.lock().unwrap() = Some(cx.waker().clone());
            if self.polls < 5 {
                return Poll::Pending;
            }
            cx.waker().wake_by_ref();
            Poll::Ready(())
        }
    }
    check_seeds(60, |sim| {
        let log = Log::default();
        let actor = sim.spawn(Puppet::factory("", &log)).unwrap();
        let kept = Arc::new(Mutex::new(None));
        let odd = Odd {
            polls: 0,
            kept: kept.clone(),
        };
        turn(sim, &actor, |cx| {
            cx.pipe_to_self(odd, |()| Do::Note(1)).unwrap()
        });
        assert_eq!(log.line(), "+ 1");
        let waker = kept.lock().unwrap().take().unwrap();
        waker.wake_by_ref();
        sim.run_until_idle();
        // Its place has another one now, which is not polled for it.
        let polls = Arc::new(Mutex::new(0));
        let polled = polls.clone();
        turn(sim, &actor, |cx| {
            let counts = std::future::poll_fn(move |_| {
                *polled.lock().unwrap() += 1;
                Poll::<()>::Pending
            });
            cx.pipe_to_self(counts, |()| Do::Note(2)).unwrap();
        });
        waker.wake_by_ref();
        sim.run_until_idle();
        assert_eq!(*polls.lock().unwrap(), 1);
        actor.stop();
        sim.run_until_idle();
        waker.wake();
        sim.run_until_idle();
    });
}

/// A future that is always woken again lets the actor handle its messages, and others run.
#[test]
fn row64_row16_a_future_that_always_yields_makes_way() {
    check_seeds(60, |sim| {
        for busy in [false, true] {
            let throughput = [1, 2, 7][sim.below(3)];
            let mut sim = Sim::builder(sim.seed()).throughput(throughput).build();
            let (log, stop, gate) = (Log::default(), Gate::default(), Gate::default());
            let actor = sim.spawn(Puppet::factory("a", &log)).unwrap();
            let other = sim.spawn(Puppet::factory("b", &log)).unwrap();
            sim.run_until_idle();
            log.take();
            let mut end = Box::pin({
                let stop = stop.clone();
                async move { stop.pass().await }
            });
            let spins = std::future::poll_fn(move |cx| {
                cx.waker().wake_by_ref();
                end.as_mut().poll(cx)
            });
            let spin = Do::call(move |cx| cx.pipe_to_self(spins, |()| Do::Note(9)).unwrap());
            assert!(actor.tell(spin).is_ok());
            sim.run_steps(50);
            // Also while a handler of the actor is pending.
            if busy {
                assert!(actor.tell(Do::Pass(1, gate.clone())).is_ok());
            } else {
                assert!(actor.tell(Do::Note(1)).is_ok());
            }
            assert!(other.tell(Do::Note(2)).is_ok());
            sim.run_steps(400);
            let mut lines = log.take();
            lines.sort_unstable();
            assert_eq!(lines, [if busy { "a<1" } else { "a1" }, "b2"]);
            stop.open();
            gate.open();
            sim.run_until_idle();
            assert!(log.line().contains("a9"));
        }
    });
}

#[cfg(feature = "std")]
mod panics {
    use super::*;
    use hikyaku_core::{StopCause, Timer};

    /// What is beside the actor is part of it: its panic is a failure of the actor.
    #[test]
    fn row63_row64_a_panic_beside_the_actor_is_its_failure() {
        type Give = fn(&mut Cx<'_>);
        let cases: [(&str, Give); 9] = [
            ("future", |cx| {
                let panics = async { panic!("beside") };
                cx.pipe_to_self(panics, |()| Do::Note(1)).unwrap();
            }),
            ("map", |cx| {
                cx.pipe_to_self(async {}, |()| panic!("beside")).unwrap();
            }),
            ("map of an ask", |cx| {
                let me = cx.me();
                cx.ask(&me, |reply| Do::Answer(reply, 1), |_| panic!("beside"))
                    .unwrap();
            }),
            ("question of an ask", |cx| {
                let me = cx.me();
                let make = |_: Reply<u64>| panic!("beside");
                cx.ask(&me, make, |_| Do::Note(1)).unwrap();
            }),
            ("destructor", |cx| {
                struct Bomb;
                impl Drop for Bomb {
                    fn drop(&mut self) {
                        panic!("beside");
                    }
                }
                let bomb = Bomb;
                cx.pipe_to_self(std::future::ready(()), move |()| {
                    let _bomb = bomb;
                    Do::Note(1)
                })
                .unwrap();
            }),
            ("item", |cx| {
                let stream = Source::new([Some(1)], &Log::default(), None);
                cx.attach_stream(stream, |_| panic!("beside"), || None)
                    .unwrap();
            }),
            ("end of a stream", |cx| {
                let stream = Source::new([None], &Log::default(), None);
                cx.attach_stream(stream, Do::Note, || panic!("beside"))
                    .unwrap();
            }),
            ("tick", |cx| {
                let timer = Timer::fixed_rate_with(Duration::from_millis(1), || panic!("beside"));
                cx.start_timer(1, timer).unwrap();
            }),
            ("receive timeout", |cx| {
                let after = Duration::from_millis(1);
                cx.set_receive_timeout(after, || panic!("beside")).unwrap();
            }),
        ];
        check_seeds(40, |sim| {
            for (what, give) in cases {
                // Also while a handler is pending, which is dropped.
                for busy in [false, true] {
                    let (log, never) = (Log::default(), Gate::default());
                    let actor = sim.spawn_with(mortal(), Puppet::factory("", &log)).unwrap();
                    // Handed over after the handler, or asked of the actor itself.
                    let waits = ["tick", "receive timeout", "map of an ask"].contains(&what);
                    if busy && !waits {
                        let run = Do::run(move |cx| {
                            give(cx);
                            async move { never.pass().await }
                        });
                        assert!(actor.tell(run).is_ok());
                        assert!(actor.tell(Do::Note(5)).is_ok());
                        sim.run_until_idle();
                    } else {
                        turn(sim, &actor, give);
                    }
                    sim.advance(Duration::from_millis(1));
                    sim.run_until_idle();
                    let cause = sim.block_on(actor.stopped());
                    let StopCause::Failed(failure) = cause else {
                        panic!("{what}: {cause:?}");
                    };
                    assert!(failure.to_string().contains("beside"), "{what}: {failure}");
                }
            }
            assert_eq!(sim.metrics().live_actors, 0);
        });
    }

    /// Orders and system messages that came together with the wake of a future that panics are not lost.
    #[test]
    fn row64_row25_orders_survive_a_panic_beside_the_actor() {
        check_seeds(200, |sim| {
            let (log, gate) = (Log::default(), Gate::default());
            let actor = sim.spawn(Puppet::factory("p", &log)).unwrap();
            let (closed, told) = (gate.clone(), log.clone());
            let children = Arc::new(Mutex::new(Vec::new()));
            let born = children.clone();
            turn(sim, &actor, move |cx| {
                for _ in 0..2 {
                    let child = cx.spawn(Puppet::factory("c", &told)).unwrap();
                    born.lock().unwrap().push(child);
                }
                let panics = async move {
                    closed.pass().await;
                    panic!("beside");
                };
                cx.pipe_to_self(panics, |()| Do::Note(1)).unwrap();
            });
            log.take();
            // The end of a child, a watch, an order and the wake, in any order.
            let watch = sim.spawn_task({
                let actor = actor.clone();
                async move { actor.stopped().await }
            });
            let mut left = vec![0, 1, 2, 3];
            while !left.is_empty() {
                match left.remove(sim.below(left.len())) {
                    0 => children.lock().unwrap()[0].stop(),
                    1 => gate.open(),
                    2 => actor.stop_gracefully(),
                    _ => children.lock().unwrap()[1].kill(),
                }
                let steps = sim.below(3);
                sim.run_steps(steps);
            }
            sim.run_until_idle();
            assert!(
                watch.is_done(),
                "the actor waits for children that are gone"
            );
            assert_eq!(sim.metrics().live_actors, 0);
        });
    }

    /// A message that was put back for a tick that panics becomes a dead letter.
    #[test]
    fn row09_row70_a_panic_of_a_tick_loses_no_message() {
        check_seeds(100, |sim| {
            let log = Log::default();
            let actor = sim.spawn_with(mortal(), Puppet::factory("", &log)).unwrap();
            turn(sim, &actor, |cx| {
                let timer = Timer::fixed_rate_with(Duration::from_millis(1), || panic!("beside"));
                cx.start_timer(1, timer).unwrap();
            });
            let count = Count::default();
            assert!(actor.tell(Do::Carry(1, count.one())).is_ok());
            assert!(actor.tell(Do::Carry(2, count.one())).is_ok());
            sim.advance(Duration::from_millis(1));
            sim.run_until_idle();
            let handled = log
                .take()
                .iter()
                .filter(|line| ["1", "2"].contains(&&***line))
                .count();
            assert_eq!(sim.metrics().dead_letters + handled, 2);
            assert_eq!(count.alive(), 0);
        });
    }
}

// === streams ===

/// A stream of given items, with pauses where there is none. It logs when it is asked.
struct Source {
    items: VecDeque<Option<u64>>,
    log: Log,
    waker: Arc<Mutex<Option<Waker>>>,
    _counted: Option<Counted>,
}

impl Source {
    fn new(
        items: impl IntoIterator<Item = Option<u64>>,
        log: &Log,
        counted: Option<Counted>,
    ) -> Self {
        Self {
            items: items.into_iter().collect(),
            log: log.clone(),
            waker: Arc::default(),
            _counted: counted,
        }
    }
}

impl futures_core::Stream for Source {
    type Item = u64;

    /// `Some(0)` is a pause, `None` the end; behind the last item nothing comes any more.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Option<u64>> {
        self.log.push("?");
        match self.items.pop_front() {
            Some(Some(0)) | None => {
                *self.waker.lock().unwrap() = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(item) => Poll::Ready(item),
        }
    }
}

/// The next item is asked for when the message of the last one has been handled, and not before.
#[test]
fn row64_a_stream_waits_for_its_actor() {
    check_seeds(100, |sim| {
        let log = Log::default();
        let actor = sim.spawn(Puppet::factory("", &log)).unwrap();
        let gates = [1, 2, 3].map(|_| Gate::default());
        let source = Source::new([Some(1), Some(2), Some(0), Some(3), None], &log, None);
        let waker = source.waker.clone();
        let closed = gates.clone();
        turn(sim, &actor, move |cx| {
            let map = move |n| Do::Pass(n, closed[n as usize - 1].clone());
            cx.attach_stream(source, map, || Some(Do::Note(100)))
                .unwrap();
        });
        assert_eq!(log.line(), "+ ? <1");
        // A wake meanwhile does not hurry it.
        if let Some(waker) = waker.lock().unwrap().take() {
            waker.wake();
        }
        sim.run_until_idle();
        assert_eq!(log.line(), "");
        gates[0].open();
        sim.run_until_idle();
        assert_eq!(log.line(), "1> ? <2");
        gates[1].open();
        sim.run_until_idle();
        assert_eq!(log.line(), "2> ?");
        waker.lock().unwrap().take().unwrap().wake();
        sim.run_until_idle();
        assert_eq!(log.line(), "? <3");
        gates[2].open();
        sim.run_until_idle();
        assert_eq!(log.line(), "3> ? 100");
    });
}

/// A stream that is always ready and the mailbox have their turns, and a graceful stop comes through.
#[test]
fn row64_row16_an_endless_stream_leaves_room_for_messages() {
    struct Endless;
    impl futures_core::Stream for Endless {
        type Item = ();
        fn poll_next(self: Pin<&mut Self>, _: &mut Poller<'_>) -> Poll<Option<()>> {
            Poll::Ready(Some(()))
        }
    }
    check_seeds(60, |sim| {
        let throughput = [1, 2, 7][sim.below(3)];
        let mut sim = Sim::builder(sim.seed()).throughput(throughput).build();
        let log = Log::default();
        let actor = sim.spawn(Puppet::factory("", &log)).unwrap();
        let other = sim.spawn(Puppet::factory("other", &log)).unwrap();
        sim.run_until_idle();
        log.take();
        let attach = Do::call(|cx| {
            cx.attach_stream(Endless, |()| Do::Yield(0, 7), || None)
                .unwrap();
        });
        assert!(actor.tell(attach).is_ok());
        sim.run_steps(30);
        for n in 1..=3 {
            assert!(actor.tell(Do::Note(n)).is_ok());
            assert!(other.tell(Do::Note(n)).is_ok());
        }
        sim.run_steps(200);
        let lines = log.take();
        for wanted in ["1", "2", "3", "other1", "other2", "other3"] {
            assert_eq!(lines.iter().filter(|line| *line == wanted).count(), 1);
        }
        assert!(actor.tell(Do::Note(4)).is_ok());
        actor.stop_gracefully();
        sim.run_until_idle();
        let lines = log.take();
        assert_eq!(lines.iter().filter(|line| *line == "4").count(), 1);
        assert_eq!(lines.last().unwrap(), "-");
    });
}

#[test]
fn row64_the_end_of_a_stream_may_be_silent() {
    check_seeds(30, |sim| {
        let (log, count) = (Log::default(), Count::default());
        let actor = sim.spawn(Puppet::factory("", &log)).unwrap();
        let source = Source::new([Some(1), None], &Log::default(), Some(count.one()));
        turn(sim, &actor, |cx| {
            cx.attach_stream(source, Do::Note, || None).unwrap()
        });
        assert_eq!(log.line(), "+ 1");
        assert_eq!(count.alive(), 0);
    });
}

// === functions that block ===

/// Keeps the jobs for the test to run.
#[derive(Clone, Default)]
struct Pool(Arc<Mutex<Vec<Job>>>, bool);

impl BlockingPool for Pool {
    fn run(&self, job: Job) -> Result<(), Job> {
        if self.1 {
            return Err(job);
        }
        self.0.lock().unwrap().push(job);
        Ok(())
    }
}

#[test]
fn row64_a_function_that_blocks_gives_its_result_to_the_actor() {
    // (the system has threads, it takes jobs, what becomes of the job, what comes)
    let cases = [
        (true, true, "run", "7"),
        (true, true, "drop", "dropped"),
        #[cfg(feature = "std")]
        (true, true, "panic", "dropped"),
        (true, false, "", "no pool"),
        (false, false, "", "no pool"),
    ];
    for (threads, takes, fate, wanted) in cases {
        let (log, pool) = (Log::default(), Pool(Arc::default(), !takes));
        let mut builder = System::builder("blocks")
            .clock(VirtualClock::new())
            .tick_driver(ManualDriver::new());
        if threads {
            builder = builder.blocking(pool.clone());
        }
        let (system, mut workers) = builder.build().unwrap();
        let mut rest = || while workers[0].poll(100, Waker::noop()) == Turn::Ready {};
        let actor = system.spawn(Puppet::factory("", &Log::default())).unwrap();
        let told = log.clone();
        let call = Do::call(move |cx| {
            let blocking: Blocking<u64> = cx.blocking(move || {
                assert_ne!(fate, "panic");
                7
            });
            // One that nobody waits for.
            drop(cx.blocking(|| ()));
            cx.pipe_to_self(blocking, move |result| {
                told.push(match result {
                    Ok(n) => n.to_string(),
                    Err(BlockingError::NoPool) => "no pool".into(),
                    Err(BlockingError::Dropped) => "dropped".into(),
                    Err(other) => other.to_string(),
                });
                Do::Note(0)
            })
            .unwrap();
        });
        assert!(actor.tell(call).is_ok());
        rest();
        for job in std::mem::take(&mut *pool.0.lock().unwrap()) {
            match fate {
                "drop" => drop(job),
                #[cfg(feature = "std")]
                "panic" => drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job))),
                _ => job(),
            }
        }
        rest();
        assert_eq!(log.line(), wanted);
    }
}
