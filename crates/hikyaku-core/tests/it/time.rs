//! Timers, receive timeouts, sleeping, and who drives them.

use crate::puppet::{Count, Do, Gate, Log, Puppet, QUIET};
use hikyaku_core::{
    Actor, ActorRef, BuildError, Context, Failure, MailboxOptions, ManualDriver, NextTick, PileUp,
    SleepError, SpawnOptions, StopToken, System, TickDriver, TickHandle, Timer, TimerError,
    TimerKey, Turn, Worker, ticks_of_time, time_of_ticks,
};
use hikyaku_testkit::{Sim, VirtualClock, check_seeds};
use std::error::Error;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as Poller, Poll, Waker};
use std::time::Duration;

type Cx<'a> = Context<'a, Puppet>;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Makes messages that log a name and the time.
fn stamp(log: &Log, name: &str) -> impl FnMut() -> Do + Send + 'static {
    let (log, name) = (log.clone(), name.to_string());
    move || {
        let (log, name) = (log.clone(), name.clone());
        Do::call(move |cx| log.push(format!("{name}@{}", cx.now().as_millis())))
    }
}

fn puppet(sim: &Sim) -> ActorRef<Do> {
    sim.spawn(Puppet::factory("", &Log::default())).unwrap()
}

/// Lets the actor do something in a handler of its own, and everything come to rest.
fn turn(sim: &mut Sim, actor: &ActorRef<Do>, call: impl FnOnce(&mut Cx<'_>) + Send + 'static) {
    assert!(actor.tell(Do::call(call)).is_ok());
    sim.run_until_idle();
}

/// Moves the clock in steps of a millisecond; everything comes to rest after each.
fn pass(sim: &mut Sim, millis: u64) {
    for _ in 0..millis {
        jump(sim, 1);
    }
}

/// Moves the clock at once.
fn jump(sim: &mut Sim, millis: u64) {
    sim.advance(ms(millis));
    sim.run_until_idle();
}

// === kinds of timers ===

#[test]
fn row65_each_kind_of_timer_has_its_rhythm() {
    type Make = fn(&Log) -> Timer<Do>;
    let cases: [(&str, Make, &str, &str); 7] = [
        (
            "once",
            |log| Timer::once(ms(10), stamp(log, "t")()),
            "t@10",
            "t@35",
        ),
        (
            "fixed rate",
            |log| Timer::fixed_rate_with(ms(10), stamp(log, "t")),
            "t@10 t@20 t@30 t@40 t@50 t@60 t@70",
            "t@35 t@35 t@35 t@70 t@70 t@70 t@70",
        ),
        (
            "fixed rate, earlier first",
            |log| Timer::fixed_rate_with(ms(10), stamp(log, "t")).after(ms(3)),
            "t@3 t@13 t@23 t@33 t@43 t@53 t@63",
            "t@35 t@35 t@35 t@35 t@70 t@70 t@70",
        ),
        (
            "fixed rate, later first",
            |log| Timer::fixed_rate_with(ms(10), stamp(log, "t")).after(ms(25)),
            "t@25 t@35 t@45 t@55 t@65",
            "t@35 t@35 t@70 t@70 t@70",
        ),
        (
            "fixed rate, first at once",
            |log| Timer::fixed_rate_with(ms(30), stamp(log, "t")).after(Duration::ZERO),
            "t@1 t@30 t@60",
            "t@35 t@35 t@70",
        ),
        (
            "fixed delay",
            |log| Timer::fixed_delay_with(ms(10), stamp(log, "t")),
            "t@10 t@20 t@30 t@40 t@50 t@60 t@70",
            "t@35 t@70",
        ),
        (
            "fixed delay, earlier first",
            |log| Timer::fixed_delay_with(ms(10), stamp(log, "t")).after(ms(3)),
            "t@3 t@13 t@23 t@33 t@43 t@53 t@63",
            "t@35 t@70",
        ),
    ];
    check_seeds(30, |sim| {
        for (what, make, on_time, late) in cases {
            for (step, wanted) in [(1, on_time), (35, late)] {
                let log = Log::default();
                let mut fresh = Sim::new(sim.seed());
                let actor = puppet(&fresh);
                let timer = make(&log);
                turn(&mut fresh, &actor, |cx| {
                    cx.start_timer("t", timer).unwrap();
                    assert!(cx.has_timer("t"));
                });
                for _ in 0..70 / step {
                    jump(&mut fresh, step);
                }
                assert_eq!(log.line(), wanted, "{what}, in steps of {step} ms");
                let goes_on = what != "once";
                turn(&mut fresh, &actor, move |cx| {
                    assert_eq!(cx.has_timer("t"), goes_on);
                    assert_eq!(cx.cancel_timer("t"), goes_on);
                });
            }
        }
    });
}

/// With a handler that takes time, a rate keeps to its due times, and a delay its distance.
#[test]
fn row65_a_rate_catches_up_and_a_delay_keeps_its_distance() {
    check_seeds(50, |sim| {
        for (rate, wanted) in [(true, "a@10 a@25 a@30 a@40"), (false, "a@10 a@35")] {
            let mut sim = Sim::new(sim.seed());
            let (log, gate) = (Log::default(), Gate::default());
            let actor = puppet(&sim);
            let (told, closed) = (log.clone(), gate.clone());
            let make = move || {
                let (told, closed) = (told.clone(), closed.clone());
                Do::run(move |cx| {
                    told.push(format!("a@{}", cx.now().as_millis()));
                    async move { closed.pass().await }
                })
            };
            turn(&mut sim, &actor, move |cx| {
                let timer = if rate {
                    Timer::fixed_rate_with(ms(10), make)
                } else {
                    Timer::fixed_delay_with(ms(10), make)
                };
                cx.start_timer(1, timer).unwrap();
            });
            pass(&mut sim, 25);
            gate.open();
            sim.run_until_idle();
            pass(&mut sim, 15);
            assert_eq!(log.line(), wanted);
        }
    });
}

/// Messages that are cloned, and kept by value until they are due.
#[test]
fn row65_messages_are_cloned_made_or_moved() {
    #[derive(Clone)]
    struct Word(&'static str);
    struct Listener(Log);
    impl Actor for Listener {
        type Msg = Word;
        async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
            cx.start_timer("rate", Timer::fixed_rate(ms(10), Word("rate")))?;
            cx.start_timer("delay", Timer::fixed_delay(ms(15), Word("delay")))?;
            cx.start_timer(3, Timer::once(ms(20), Word("once")))?;
            Ok(())
        }
        async fn handle(
            &mut self,
            Word(word): Word,
            _: &mut Context<'_, Self>,
        ) -> Result<(), Failure> {
            self.0.push(word);
            Ok(())
        }
    }
    check_seeds(30, |sim| {
        let log = Log::default();
        let told = log.clone();
        let _actor = sim.spawn(move || Listener(told.clone())).unwrap();
        sim.run_until_idle();
        pass(sim, 30);
        let mut words = log.take();
        // What is due at one time comes in the order in which it was set.
        assert_eq!(words[..2], ["rate", "delay"]);
        words.sort_unstable();
        assert_eq!(words, ["delay", "delay", "once", "rate", "rate", "rate"]);
    });
}

#[test]
fn row65_row72_impossible_durations_are_refused() {
    const CENTURY: Duration = Duration::from_secs(100 * 366 * 24 * 3600);
    let beyond = CENTURY + Duration::from_nanos(1);
    let cases: Vec<(Timer<Do>, Result<(), TimerError>)> = vec![
        (
            Timer::once(Duration::ZERO, Do::Note(0)),
            Err(TimerError::Zero),
        ),
        (
            Timer::fixed_rate_with(Duration::ZERO, || Do::Note(0)),
            Err(TimerError::Zero),
        ),
        (
            Timer::fixed_delay_with(Duration::ZERO, || Do::Note(0)),
            Err(TimerError::Zero),
        ),
        (
            Timer::fixed_delay_with(Duration::ZERO, || Do::Note(0)).after(ms(1)),
            Err(TimerError::Zero),
        ),
        (Timer::once(beyond, Do::Note(0)), Err(TimerError::TooFar)),
        (
            Timer::once(Duration::MAX, Do::Note(0)),
            Err(TimerError::TooFar),
        ),
        (
            Timer::fixed_rate_with(beyond, || Do::Note(0)),
            Err(TimerError::TooFar),
        ),
        (
            Timer::fixed_rate_with(ms(1), || Do::Note(0)).after(beyond),
            Err(TimerError::TooFar),
        ),
        (Timer::once(CENTURY, Do::Note(0)), Ok(())),
        (
            Timer::fixed_rate_with(CENTURY, || Do::Note(0)).after(CENTURY),
            Ok(()),
        ),
        (Timer::once(Duration::from_nanos(1), Do::Note(0)), Ok(())),
    ];
    let cases = Arc::new(Mutex::new(Some(cases)));
    let mut sim = Sim::new(1);
    let log = Log::default();
    let actor = sim.spawn(Puppet::factory("", &log)).unwrap();
    let old = stamp(&log, "old")();
    turn(&mut sim, &actor, move |cx| {
        cx.start_timer("t", Timer::once(ms(5), old)).unwrap();
        let cases = cases.lock().unwrap().take().unwrap();
        for (number, (timer, wanted)) in cases.into_iter().enumerate() {
            let what = format!("{timer:?}");
            // One that is refused for its durations leaves the old one alone.
            let key = if wanted.is_err() {
                TimerKey::from("t")
            } else {
                TimerKey::from(number as u64)
            };
            assert_eq!(cx.start_timer(key, timer), wanted, "{what}");
        }
        for (after, wanted) in [
            (Duration::ZERO, Err(TimerError::Zero)),
            (beyond, Err(TimerError::TooFar)),
            (Duration::MAX, Err(TimerError::TooFar)),
            (CENTURY, Ok(())),
        ] {
            assert_eq!(cx.set_receive_timeout(after, || Do::Note(0)), wanted);
        }
        assert!(cx.cancel_receive_timeout());
    });
    log.take();
    pass(&mut sim, 5);
    assert_eq!(log.line(), "0 old@5");
    for (error, text) in [
        (TimerError::Zero, "the duration is zero"),
        (TimerError::TooFar, "the duration is above a hundred years"),
        (
            TimerError::NoTime,
            "the system was built without a tick driver",
        ),
        (TimerError::Capacity, "there is no room for another timer"),
        (TimerError::Stopping, "the actor is stopping"),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

// === due times ===

/// Whatever the delays and however the clock moves, each fires at the first look after its tick, and
/// they come in the order of their ticks.
#[test]
fn row66_nothing_fires_early_and_a_late_driver_fires_all_in_order() {
    /// Around the sizes of a wheel's levels.
    const EDGES: [u64; 5] = [1, 64, 4096, 262_144, 16_777_216];
    check_seeds(60, |sim| {
        let actor = puppet(sim);
        let fired = Arc::new(Mutex::new(Vec::new()));
        let mut clock = Duration::ZERO;
        let mut due = Vec::new();
        for round in 0..6 {
            let mut timers = Vec::new();
            for number in 0..20 {
                let edge = EDGES[sim.below(EDGES.len())];
                let millis = edge * (1 + sim.below(3) as u64) + sim.below(3) as u64 - 1;
                let after = ms(millis) + Duration::from_nanos(sim.below(1_000_000) as u64 + 1);
                let id = round * 100 + number;
                due.push((id, clock + after));
                let fired = fired.clone();
                let note = Do::call(move |cx| fired.lock().unwrap().push((id, cx.now())));
                timers.push((id, Timer::once(after, note)));
            }
            turn(sim, &actor, move |cx| {
                for (id, timer) in timers {
                    cx.start_timer(id, timer).unwrap();
                }
            });
            let edge = EDGES[sim.below(EDGES.len())];
            let steps = sim.below(8);
            for _ in 0..steps {
                let step = Duration::from_micros(edge * (sim.below(2000) as u64));
                sim.advance(step);
                clock += step;
                sim.run_until_idle();
                let now_fired = std::mem::take(&mut *fired.lock().unwrap());
                let tick = |due: Duration| due.as_nanos().div_ceil(1_000_000);
                let (mut wanted, rest): (Vec<_>, Vec<_>) = due
                    .into_iter()
                    .partition(|(_, due)| tick(*due) <= clock.as_millis());
                due = rest;
                // Stable: those of one tick stay in the order in which they were set.
                wanted.sort_by_key(|(_, due)| tick(*due));
                assert!(now_fired.iter().all(|(_, at)| *at == clock));
                let ids = |list: &[(u64, Duration)]| -> Vec<_> {
                    list.iter().map(|(id, _)| *id).collect()
                };
                assert_eq!(ids(&now_fired), ids(&wanted));
            }
        }
    });
}

/// A driver that overslept: the ticks of several timers come in the order of their due times.
#[test]
fn row66_repeated_and_single_timers_come_in_order_after_a_long_sleep() {
    check_seeds(50, |sim| {
        let log = Log::default();
        let actor = puppet(sim);
        let (a, b) = (stamp(&log, "rate"), stamp(&log, "once")());
        turn(sim, &actor, move |cx| {
            cx.start_timer(1, Timer::fixed_rate_with(ms(10), a))
                .unwrap();
            cx.start_timer(2, Timer::once(ms(15), b)).unwrap();
        });
        jump(sim, 35);
        assert_eq!(log.line(), "rate@35 once@35 rate@35 rate@35");
    });
}

/// More ticks are missed than fit into 32 bits. Each is counted once.
#[test]
fn row65_row66_missed_ticks_are_counted_however_many() {
    check_seeds(4, |sim| {
        let log = Log::default();
        let actor = puppet(sim);
        for (pile_up, wanted) in [(PileUp::Skip, 1), (PileUp::Coalesce, 2)] {
            let tick = stamp(&log, "t");
            turn(sim, &actor, move |cx| {
                let timer = Timer::fixed_rate_with(Duration::from_nanos(1), tick);
                cx.start_timer(1, timer.pile_up(pile_up)).unwrap();
            });
            sim.advance(Duration::from_secs(3600));
            for _ in 0..3 {
                sim.run_until_idle();
                sim.advance(Duration::ZERO);
            }
            assert_eq!(log.len(), wanted, "{pile_up:?}");
            turn(sim, &actor, |cx| assert!(cx.cancel_timer(1)));
            log.take();
        }
    });
}

// === cancelling ===

#[test]
fn row67_a_cancelled_timer_never_fires() {
    type Make = fn(&Log) -> Timer<Do>;
    let kinds: [Make; 4] = [
        |log| Timer::once(ms(10), stamp(log, "t")()),
        |log| Timer::fixed_rate_with(ms(10), stamp(log, "t")),
        |log| Timer::fixed_rate_with(ms(10), stamp(log, "t")).after(ms(50)),
        |log| Timer::fixed_delay_with(ms(10), stamp(log, "t")),
    ];
    check_seeds(60, |sim| {
        for kind in kinds {
            // So long after its start it is cancelled; the third kind is still in its first delay.
            for wait in [0, 1, 9, 10, 25] {
                let log = Log::default();
                let actor = puppet(sim);
                let timer = kind(&log);
                turn(sim, &actor, |cx| cx.start_timer("t", timer).unwrap());
                pass(sim, wait);
                let before = log.len();
                let runs = Arc::new(Mutex::new(false));
                let seen = runs.clone();
                turn(sim, &actor, move |cx| {
                    let there = cx.has_timer("t");
                    *seen.lock().unwrap() = there;
                    assert_eq!(cx.cancel_timer("t"), there);
                    // Twice is once, and another name is another timer.
                    assert!(!cx.cancel_timer("t"));
                    assert!(!cx.cancel_timer("u"));
                    assert!(!cx.has_timer("t"));
                });
                pass(sim, 80);
                assert_eq!(log.len(), before);
                let once_and_over = before == 1 && !*runs.lock().unwrap();
                assert!(once_and_over || *runs.lock().unwrap());
            }
        }
    });
}

/// A system stepped by hand, with the driver at hand.
struct Bench {
    clock: VirtualClock,
    driver: ManualDriver,
    system: System,
    worker: Worker,
}

impl Bench {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(more: impl FnOnce(hikyaku_core::SystemBuilder) -> hikyaku_core::SystemBuilder) -> Self {
        let (clock, driver) = (VirtualClock::new(), ManualDriver::new());
        let builder = System::builder("bench").clock(clock.clone());
        let (system, mut workers) = more(builder.tick_driver(driver.clone())).build().unwrap();
        Self {
            clock,
            driver,
            system,
            worker: workers.pop().unwrap(),
        }
    }

    fn rest(&mut self) {
        while self.worker.poll(1000, Waker::noop()) == Turn::Ready {}
    }

    fn next(&self) -> NextTick {
        self.driver.tick().unwrap()
    }
}

#[test]
fn row67_a_hundred_thousand_cancelled_timers_leave_nothing() {
    const TIMERS: u64 = if cfg!(miri) { 50 } else { 100_000 };
    // Without `std` timers are in a list, which is looked through for each of them.
    const AT_ONCE: u64 = match cfg!(any(miri, feature = "std")) {
        true => TIMERS,
        false => 500,
    };
    let mut bench = Bench::new();
    let count = Count::default();
    let actor = bench
        .system
        .spawn(Puppet::factory("", &Log::default()))
        .unwrap();
    let carried = count.clone();
    let all = Do::call(move |cx| {
        // Many at a time, then one after the other.
        for _ in 0..TIMERS / AT_ONCE {
            for key in 0..AT_ONCE {
                let message = Do::Carry(0, carried.one());
                cx.start_timer(key, Timer::once(ms(key % 5000 + 1), message))
                    .unwrap();
            }
            assert_eq!(carried.alive(), AT_ONCE as isize);
            for key in 0..AT_ONCE {
                assert!(cx.cancel_timer(key));
            }
        }
        for _ in 0..TIMERS {
            let message = Do::Carry(0, carried.one());
            cx.start_timer("one", Timer::once(ms(10), message)).unwrap();
        }
        assert!(cx.cancel_timer("one"));
    });
    assert!(actor.tell(all).is_ok());
    bench.rest();
    assert_eq!(count.alive(), 0);
    assert_eq!(bench.next(), NextTick::Never);
    let handled = bench.system.metrics().handled;
    bench.clock.advance(ms(10_000));
    assert_eq!(bench.next(), NextTick::Never);
    bench.rest();
    assert_eq!(bench.system.metrics().handled, handled);
}

// === keys ===

#[test]
fn row68_a_key_names_one_timer() {
    check_seeds(50, |sim| {
        let log = Log::default();
        let actor = puppet(sim);
        let mut stamps: Vec<Box<dyn FnMut() -> Do + Send>> = ["a", "b", "c", "d"]
            .iter()
            .map(|name| -> Box<dyn FnMut() -> Do + Send> { Box::new(stamp(&log, name)) })
            .collect();
        let mut next = move || stamps.remove(0);
        turn(sim, &actor, move |cx| {
            cx.start_timer("x", Timer::fixed_rate_with(ms(10), next()))
                .unwrap();
            // A number and a name are never the same, nor is either the receive timeout.
            cx.start_timer(0, Timer::once(ms(25), next()())).unwrap();
            cx.set_receive_timeout(ms(30), next()).unwrap();
            cx.start_timer("x", Timer::fixed_rate_with(ms(20), next()))
                .unwrap();
            assert!(cx.has_timer("x") && cx.has_timer(0) && !cx.has_timer("y"));
        });
        pass(sim, 45);
        assert_eq!(log.line(), "d@20 b@25 c@30 d@40");
        turn(sim, &actor, |cx| {
            assert!(cx.cancel_timer("x"));
            assert!(!cx.cancel_timer(0));
        });
        pass(sim, 30);
        assert_eq!(log.line(), "c@75");
    });
}

/// Ticks that have come to the actor and wait for the handler in hand, which takes the timer back.
#[test]
fn row68_waiting_ticks_of_the_old_timer_are_dropped() {
    check_seeds(80, |sim| {
        for (replace, wanted) in [(false, ""), (true, "new@45")] {
            let mut sim = Sim::new(sim.seed());
            let (log, gate) = (Log::default(), Gate::default());
            let actor = puppet(&sim);
            let old = stamp(&log, "old");
            turn(&mut sim, &actor, |cx| {
                cx.start_timer("t", Timer::fixed_rate_with(ms(10), old))
                    .unwrap();
            });
            let new = stamp(&log, "new")();
            let take = Do::call(move |cx| {
                if replace {
                    cx.start_timer("t", Timer::once(ms(10), new)).unwrap();
                } else {
                    assert!(cx.cancel_timer("t"));
                }
            });
            assert!(actor.tell(Do::After(gate.clone(), Box::new(take))).is_ok());
            sim.run_until_idle();
            pass(&mut sim, 35);
            gate.open();
            sim.run_until_idle();
            pass(&mut sim, 25);
            assert_eq!(log.line(), wanted);
        }
    });
}

/// The same for a burst of which a part has been handed over: its handler takes the rest back.
#[test]
fn row68_row70_a_handler_takes_back_the_rest_of_a_burst() {
    check_seeds(50, |sim| {
        let log = Log::default();
        let actor = puppet(sim);
        let told = log.clone();
        let tick = move || {
            let told = told.clone();
            Do::call(move |cx| {
                told.push("t");
                if told.len() == 3 {
                    assert!(cx.cancel_timer("t"));
                }
            })
        };
        turn(sim, &actor, |cx| {
            cx.start_timer("t", Timer::fixed_rate_with(ms(1), tick))
                .unwrap();
        });
        jump(sim, 100);
        jump(sim, 100);
        assert_eq!(log.len(), 3);
    });
}

/// A tick with a fixed delay whose own handler cancels or replaces the timer.
#[test]
fn row68_a_fixed_delay_ends_or_begins_anew_in_its_own_handler() {
    check_seeds(50, |sim| {
        for (replace, wanted) in [(false, "old@10"), (true, "old@10 new@15 new@20")] {
            let mut sim = Sim::new(sim.seed());
            let log = Log::default();
            let actor = puppet(&sim);
            let told = log.clone();
            let tick = move || {
                let (new, told) = (stamp(&told, "new"), told.clone());
                Do::call(move |cx| {
                    told.push(format!("old@{}", cx.now().as_millis()));
                    if replace {
                        cx.start_timer("t", Timer::fixed_delay_with(ms(5), new))
                            .unwrap();
                    } else {
                        assert!(cx.cancel_timer("t"));
                    }
                })
            };
            turn(&mut sim, &actor, |cx| {
                cx.start_timer("t", Timer::fixed_delay_with(ms(10), tick))
                    .unwrap();
            });
            pass(&mut sim, 22);
            assert_eq!(log.line(), wanted);
        }
    });
}

// === the end of an actor ===

#[test]
fn row69_row72_timers_end_with_their_actor() {
    type End = fn(&mut Sim, &ActorRef<Do>);
    let ends: [(&str, End); 6] = [
        ("stop", |_, actor| actor.stop()),
        ("graceful stop", |_, actor| actor.stop_gracefully()),
        ("kill", |_, actor| actor.kill()),
        ("failure", |_, actor| {
            assert!(actor.tell(Do::Fail("x")).is_ok());
        }),
        ("shutdown", |sim, _| drop(sim.graceful_shutdown())),
        ("forced stop", |sim, _| sim.force_stop()),
    ];
    check_seeds(60, |sim| {
        for (what, end) in ends {
            let mut sim = Sim::new(sim.seed());
            let (log, count) = (Log::default(), Count::default());
            let actor = puppet(&sim);
            let make = || {
                let (carried, mut stamp) = (count.one(), stamp(&log, "t"));
                move || {
                    let _ = &carried;
                    stamp()
                }
            };
            let (rate, delay, idle) = (make(), make(), make());
            let once = Do::Carry(1, count.one());
            turn(&mut sim, &actor, move |cx| {
                cx.start_timer(1, Timer::fixed_rate_with(ms(10), rate))
                    .unwrap();
                cx.start_timer(2, Timer::fixed_delay_with(ms(10), delay))
                    .unwrap();
                cx.start_timer(3, Timer::once(ms(30), once)).unwrap();
                cx.set_receive_timeout(ms(15), idle).unwrap();
            });
            // Some are due and not handed over yet.
            pass(&mut sim, 9);
            let steps = sim.below(6);
            sim.advance(ms(11));
            sim.run_steps(steps);
            end(&mut sim, &actor);
            sim.run_until_idle();
            assert_eq!(count.alive(), 0, "{what}");
            log.take();
            pass(&mut sim, 50);
            assert_eq!(log.len(), 0, "{what}");
        }
    });
}

/// A graceful stop handles the messages that are queued, not the ticks that pile up.
#[test]
fn row69_a_graceful_stop_does_not_wait_for_a_pile_of_ticks() {
    check_seeds(50, |sim| {
        let (log, gate) = (Log::default(), Gate::default());
        let told = log.clone();
        let actor = sim.spawn(Puppet::factory("", &log)).unwrap();
        let (tick, idle) = (stamp(&told, "t"), stamp(&told, "idle"));
        turn(sim, &actor, |cx| {
            cx.start_timer("t", Timer::fixed_rate_with(ms(1), tick))
                .unwrap();
            cx.set_receive_timeout(ms(1), idle).unwrap();
        });
        assert!(actor.tell(Do::Pass(1, gate.clone())).is_ok());
        sim.run_until_idle();
        assert!(actor.tell(Do::Note(2)).is_ok());
        jump(sim, 1000);
        actor.stop_gracefully();
        sim.run_until_idle();
        gate.open();
        sim.run_until_idle();
        assert_eq!(log.line(), "+ <1 1> 2 -");
        assert!(!actor.is_alive());
    });
}

/// What is started when the actor is on its way out is refused.
#[test]
fn row69_row64_the_last_hook_starts_nothing() {
    struct Late(Log);
    impl Actor for Late {
        type Msg = ();
        async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
            Ok(())
        }
        async fn stopped(&mut self, cx: &mut Context<'_, Self>) {
            let refused = Err(TimerError::Stopping);
            assert_eq!(cx.start_timer(1, Timer::once(ms(1), ())), refused);
            assert_eq!(cx.set_receive_timeout(ms(1), || ()), refused);
            assert_eq!(cx.pipe_to_self(async {}, |()| ()), refused);
            assert_eq!(cx.attach_stream(Nothing, |()| (), || None), refused);
            assert!(!cx.cancel_timer(1) && !cx.has_timer(1) && !cx.cancel_receive_timeout());
            // Waiting for a while is allowed.
            assert_eq!(cx.sleep(ms(5)).await, Ok(()));
            self.0.push("stopped");
        }
    }
    struct Nothing;
    impl futures_core::Stream for Nothing {
        type Item = ();
        fn poll_next(
            self: std::pin::Pin<&mut Self>,
            _: &mut Poller<'_>,
        ) -> Poll<Option<Self::Item>> {
            Poll::Ready(None)
        }
    }
    check_seeds(30, |sim| {
        let log = Log::default();
        let told = log.clone();
        let actor = sim.spawn(move || Late(told.clone())).unwrap();
        sim.run_until_idle();
        actor.stop();
        sim.run_until_idle();
        assert_eq!(log.len(), 0);
        pass(sim, 5);
        assert_eq!(log.line(), "stopped");
    });
}

// === busy actors ===

/// Busy from 5 to 38: the tick of 10 waits; those of 20 and 30 come after it.
#[test]
fn row70_piled_up_ticks_are_delivered_merged_or_skipped() {
    let cases = [
        (PileUp::Burst, "t@38 t@38 t@38 t@40 t@50"),
        (PileUp::Coalesce, "t@38 t@38 t@40 t@50"),
        (PileUp::Skip, "t@38 t@40 t@50"),
    ];
    check_seeds(50, |sim| {
        for (pile_up, wanted) in cases {
            // Without a backlog they are all the same.
            for (busy, wanted) in [(true, wanted), (false, "t@10 t@20 t@30 t@40 t@50")] {
                let mut sim = Sim::new(sim.seed());
                let (log, gate) = (Log::default(), Gate::default());
                let actor = puppet(&sim);
                let tick = stamp(&log, "t");
                turn(&mut sim, &actor, move |cx| {
                    let timer = Timer::fixed_rate_with(ms(10), tick);
                    cx.start_timer("t", timer.pile_up(pile_up)).unwrap();
                });
                pass(&mut sim, 5);
                if busy {
                    assert!(actor.tell(Do::Pass(0, gate.clone())).is_ok());
                    sim.run_until_idle();
                }
                pass(&mut sim, 33);
                gate.open();
                sim.run_until_idle();
                pass(&mut sim, 14);
                assert_eq!(log.line(), wanted, "{pile_up:?}");
            }
        }
    });
}

/// An idle actor whose first message waits where the handler's future goes, while a tick is due: the
/// tick is handled first, and the message is neither lost nor moved behind others.
#[test]
fn row70_row01_a_tick_beside_the_first_message_of_an_idle_actor() {
    /// Small messages lie in the queue's place, large ones in the future's.
    struct Sized<const N: usize>(Log);
    impl<const N: usize> Actor for Sized<N> {
        type Msg = [u64; N];
        async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
            cx.start_timer("t", Timer::fixed_rate(ms(10), [99; N]))?;
            Ok(())
        }
        async fn handle(
            &mut self,
            message: [u64; N],
            cx: &mut Context<'_, Self>,
        ) -> Result<(), Failure> {
            let first = message[0];
            if first == 99 {
                cx.yield_now().await;
            }
            assert_eq!(message, [first; N]);
            self.0.push(first.to_string());
            Ok(())
        }
    }
    fn case<const N: usize>(sim: &mut Sim, options: SpawnOptions) {
        let log = Log::default();
        let told = log.clone();
        let actor = sim
            .spawn_with(options, move || Sized::<N>(told.clone()))
            .unwrap();
        sim.run_until_idle();
        for sent in [1, 3] {
            // The message first and then the tick, or the other way round.
            let tick_first = sim.below(2) == 0;
            if tick_first {
                sim.advance(ms(10));
            }
            for n in 0..sent {
                actor.tell([n; N]).unwrap();
            }
            if !tick_first {
                sim.advance(ms(10));
            }
            sim.run_until_idle();
            let mut handled = log.take();
            let tick = handled.iter().position(|n| n == "99").unwrap();
            handled.remove(tick);
            let wanted: Vec<_> = (0..sent).map(|n| n.to_string()).collect();
            assert_eq!(handled, wanted);
        }
        // Left in the queue by a failure of the tick's message: a dead letter, once.
        actor.stop();
        sim.run_until_idle();
    }
    check_seeds(200, |sim| {
        let bounded = || SpawnOptions::new().mailbox(MailboxOptions::bounded(4));
        case::<1>(sim, SpawnOptions::new());
        case::<40>(sim, SpawnOptions::new());
        case::<1>(sim, bounded());
        case::<40>(sim, bounded());
        assert_eq!(sim.metrics().dead_letters, 0);
    });
}

// === drivers ===

#[test]
fn row71_the_end_of_a_system_ends_its_timers() {
    check_seeds(60, |sim| {
        let stopped = sim.below(2) == 0;
        let sleeps: Vec<_> = [5, 20, 1000]
            .into_iter()
            .map(|n| {
                let sleep = sim.sleep(ms(n));
                sim.spawn_task(sleep)
            })
            .collect();
        let _actor = puppet(sim);
        sim.run_until_idle();
        pass(sim, 10);
        assert_eq!(sleeps[0].take(), Some(Ok(())));
        assert!(!sleeps[1].is_done());
        if stopped {
            sim.force_stop();
        } else {
            drop(sim.graceful_shutdown());
        }
        sim.run_until_idle();
        for sleep in &sleeps[1..] {
            assert_eq!(sleep.take(), Some(Err(SleepError::Stopped)));
        }
        // Whoever comes later is refused at once, unless there is nothing to wait for.
        let (late, now) = (sim.sleep(ms(1)), sim.sleep(Duration::ZERO));
        assert_eq!(sim.block_on(late), Err(SleepError::Stopped));
        assert_eq!(sim.block_on(now), Ok(()));
    });
}

/// A driver that keeps what it was given.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Option<(TickHandle, StopToken)>>>);

impl TickDriver for Kept {
    fn start(self: Box<Self>, handle: TickHandle, stop: StopToken) -> Result<(), Failure> {
        *self.0.lock().unwrap() = Some((handle, stop));
        Ok(())
    }
}

#[test]
fn row71_a_driver_is_woken_for_earlier_timers_and_at_the_end() {
    for first_tick in [true, false] {
        let (kept, clock, log) = (Kept::default(), VirtualClock::new(), Log::default());
        let (system, workers) = System::builder("kept")
            .clock(clock.clone())
            .tick_driver(kept.clone())
            .build()
            .unwrap();
        let (handle, stop) = kept.0.lock().unwrap().take().unwrap();
        assert!(!stop.is_stopped() && !handle.stop_token().is_stopped());
        assert_eq!(handle.now(), Duration::ZERO);
        let mut cx = Poller::from_waker(Waker::noop());
        if first_tick {
            let waker = log.waker("woken");
            assert_eq!(handle.tick(&waker), NextTick::Never);
            // (The sleep, is the driver woken, what it is told then)
            for (millis, woken, next) in [(50, true, 50), (80, false, 50), (20, true, 20)] {
                let mut sleep = Box::pin(system.sleep(ms(millis)));
                assert!(sleep.as_mut().poll(&mut cx).is_pending());
                assert_eq!(log.take().len(), usize::from(woken), "{millis}");
                assert_eq!(handle.tick(&waker), NextTick::At(ms(next)));
                // It stays for the next ones.
                std::mem::forget(sleep);
            }
            // Woken once, until it is back.
            let mut sleeps = [(); 3].map(|()| Box::pin(system.sleep(ms(5))));
            for sleep in &mut sleeps {
                assert!(sleep.as_mut().poll(&mut cx).is_pending());
            }
            assert_eq!(log.line(), "woken");
            // Cancelled: the driver is back in vain, and hears of the next one.
            drop(sleeps);
            clock.advance(ms(5));
            assert_eq!(handle.tick(&waker), NextTick::At(ms(20)));
            assert_eq!(log.line(), "");
        }
        drop(workers);
        drop(system);
        if first_tick {
            assert_eq!(log.line(), "woken");
        }
        assert!(stop.is_stopped());
        // One that looked before and ticks after the end does not sleep for ever.
        assert_eq!(handle.tick(&log.waker("late")), NextTick::Never);
        assert_eq!(log.line(), "late");
    }
}

#[test]
fn row71_a_system_is_built_with_a_clock_and_a_driver_or_with_neither() {
    struct Broken;
    impl TickDriver for Broken {
        fn start(self: Box<Self>, _: TickHandle, _: StopToken) -> Result<(), Failure> {
            Err(std::io::Error::other("no timer on this board").into())
        }
    }
    let new = || System::builder("x");
    let no_driver = new().clock(VirtualClock::new()).build().unwrap_err();
    assert!(matches!(no_driver, BuildError::NoTickDriver));
    assert_eq!(
        no_driver.to_string(),
        "the system has a clock and no tick driver: its timers would never fire"
    );
    let no_clock = new().tick_driver(ManualDriver::new()).build().unwrap_err();
    assert!(matches!(no_clock, BuildError::NoClock));
    let broken = new().clock(VirtualClock::new()).tick_driver(Broken).build();
    let broken = broken.unwrap_err();
    assert_eq!(
        broken.to_string(),
        "the tick driver did not start: no timer on this board"
    );
    assert!(broken.source().is_some());
    // A manual driver belongs to one system.
    let driver = ManualDriver::new();
    assert_eq!(driver.tick(), None);
    let one = new().clock(VirtualClock::new()).tick_driver(driver.clone());
    let one = one.build().unwrap();
    assert_eq!(driver.tick(), Some(NextTick::Never));
    let two = new().clock(VirtualClock::new()).tick_driver(driver).build();
    assert!(matches!(two, Err(BuildError::TickDriver(_))));
    drop(one);
}

/// Without time everything that needs it says so, and the rest works.
#[test]
fn row71_a_system_without_time_refuses_timers() {
    let (system, mut workers) = System::builder("timeless").build().unwrap();
    let log = Log::default();
    let actor = system.spawn(Puppet::factory("", &log)).unwrap();
    let call = Do::call(|cx| {
        let refused = Err(TimerError::NoTime);
        assert_eq!(cx.start_timer(1, Timer::once(ms(1), Do::Note(1))), refused);
        assert_eq!(cx.set_receive_timeout(ms(1), || Do::Note(1)), refused);
        assert!(!cx.cancel_timer(1) && !cx.cancel_receive_timeout());
        assert_eq!(cx.now(), Duration::ZERO);
        cx.pipe_to_self(async { 7 }, Do::Note).unwrap();
    });
    assert!(actor.tell(call).is_ok());
    while workers[0].poll(1000, Waker::noop()) == Turn::Ready {}
    assert_eq!(log.line(), "+ 7");
    let mut cx = Poller::from_waker(Waker::noop());
    let sleep = pin!(system.sleep(ms(1)));
    assert_eq!(sleep.poll(&mut cx), Poll::Ready(Err(SleepError::NoTime)));
    for (error, text) in [
        (
            SleepError::NoTime,
            "the system was built without a tick driver",
        ),
        (SleepError::Capacity, "there is no room for another timer"),
        (SleepError::Stopped, "the system has stopped"),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn row66_due_times_are_rounded_up_to_the_resolution() {
    for (resolution, wanted) in [(ms(10), 20), (ms(1), 12), (Duration::ZERO, 11)] {
        let bench = Bench::with(|builder| builder.resolution(resolution));
        let mut cx = Poller::from_waker(Waker::noop());
        let mut sleep = pin!(bench.system.sleep(Duration::from_micros(11_000)));
        if wanted == 12 {
            sleep.set(bench.system.sleep(Duration::from_nanos(11_000_001)));
        }
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        assert_eq!(bench.next(), NextTick::At(ms(wanted)));
    }
}

// === sleeping ===

#[test]
fn row66_a_sleep_lasts_as_long_as_it_was_told() {
    check_seeds(60, |sim| {
        let actor = puppet(sim);
        let log = Log::default();
        let told = log.clone();
        let sleeper = Do::run(move |cx| {
            let (short, long) = (cx.sleep(ms(10)), cx.sleep(Duration::MAX));
            async move {
                assert_eq!(short.await, Ok(()));
                told.push("short");
                assert_eq!(long.await, Err(SleepError::Stopped));
                told.push("long");
            }
        });
        assert!(actor.tell(sleeper).is_ok());
        sim.run_until_idle();
        // The time before the first poll counts.
        let early = sim.sleep(ms(10));
        pass(sim, 9);
        let mut cx = Poller::from_waker(Waker::noop());
        let mut early = Box::pin(early);
        assert!(early.as_mut().poll(&mut cx).is_pending());
        assert_eq!(log.len(), 0);
        pass(sim, 1);
        assert_eq!(log.line(), "short");
        assert_eq!(early.as_mut().poll(&mut cx), Poll::Ready(Ok(())));
        drop(sim.graceful_shutdown());
        sim.run_until_idle();
        // An actor that sleeps holds the shutdown up, as any handler that waits.
        assert_eq!(log.len(), 0);
        sim.force_stop();
        sim.run_until_idle();
    });
}

#[test]
fn row67_a_dropped_sleep_leaves_nothing_and_a_moved_one_wakes_the_last_waker() {
    let bench = Bench::new();
    let log = Log::default();
    let mut sleep = Box::pin(bench.system.sleep(ms(10)));
    for name in ["a", "b", "b", "c"] {
        let waker = log.waker(name);
        assert!(
            sleep
                .as_mut()
                .poll(&mut Poller::from_waker(&waker))
                .is_pending()
        );
    }
    assert_eq!(bench.next(), NextTick::At(ms(10)));
    bench.clock.advance(ms(10));
    assert_eq!(bench.next(), NextTick::Never);
    assert_eq!(log.line(), "c");
    let mut cx = Poller::from_waker(Waker::noop());
    assert_eq!(sleep.as_mut().poll(&mut cx), Poll::Ready(Ok(())));
    let mut sleep = Box::pin(bench.system.sleep(ms(10)));
    assert!(sleep.as_mut().poll(&mut cx).is_pending());
    assert_eq!(bench.next(), NextTick::At(ms(20)));
    drop(sleep);
    assert_eq!(bench.next(), NextTick::Never);
}

// === receive timeout ===

#[test]
fn row72_only_what_counts_starts_the_receive_timeout_anew() {
    type Event = fn(&mut Sim, &ActorRef<Do>);
    fn tell(sim: &mut Sim, actor: &ActorRef<Do>, message: Do) {
        assert!(actor.tell(message).is_ok());
        sim.run_until_idle();
    }
    // What happens at 6, and whether it counts.
    let events: [(&str, Event, bool); 6] = [
        ("nothing", |_, _| {}, false),
        ("a message", |sim, a| tell(sim, a, Do::Note(1)), true),
        (
            "a quiet message",
            |sim, a| tell(sim, a, Do::Note(QUIET)),
            false,
        ),
        (
            "a quiet message, then another",
            |sim, a| {
                tell(sim, a, Do::Note(QUIET));
                tell(sim, a, Do::Note(1));
                tell(sim, a, Do::Note(QUIET));
            },
            true,
        ),
        (
            "an order",
            |sim, a| {
                let waits = a.clone();
                drop(sim.spawn_task(async move { waits.started().await.unwrap() }));
                sim.run_until_idle();
            },
            false,
        ),
        ("a late wake", |sim, _| sim.run_until_idle(), false),
    ];
    check_seeds(60, |sim| {
        for (what, event, counts) in events {
            for all_count in [false, true] {
                let mut sim = Sim::new(sim.seed());
                let log = Log::default();
                let actor = puppet(&sim);
                let (idle, tick) = (stamp(&log, "idle"), || Do::Note(7));
                turn(&mut sim, &actor, move |cx| {
                    if all_count {
                        cx.set_receive_timeout(ms(10), idle).unwrap();
                    } else {
                        cx.set_receive_timeout_unless(ms(10), idle).unwrap();
                    }
                    // Neither ticks nor what was piped count.
                    cx.start_timer(1, Timer::fixed_rate_with(ms(3), tick))
                        .unwrap();
                    let sleep = cx.sleep(ms(4));
                    cx.pipe_to_self(sleep, |_| Do::Note(8)).unwrap();
                });
                pass(&mut sim, 6);
                event(&mut sim, &actor);
                pass(&mut sim, 24);
                let quiet = what.starts_with("a quiet");
                let wanted = if counts || all_count && quiet {
                    "idle@16 idle@26"
                } else {
                    // It goes on and on.
                    "idle@10 idle@20 idle@30"
                };
                assert_eq!(log.line(), wanted, "{what}, all count: {all_count}");
            }
        }
    });
}

#[test]
fn row72_the_receive_timeout_is_changed_and_turned_off_within_a_handler() {
    check_seeds(60, |sim| {
        let log = Log::default();
        let actor = puppet(sim);
        let (a, b, c) = (stamp(&log, "a"), stamp(&log, "b"), stamp(&log, "c"));
        turn(sim, &actor, |cx| cx.set_receive_timeout(ms(10), a).unwrap());
        pass(sim, 5);
        // Longer; counted from this handler.
        turn(sim, &actor, |cx| cx.set_receive_timeout(ms(20), b).unwrap());
        pass(sim, 24);
        assert_eq!(log.line(), "b@25");
        // Off within the message of the timeout itself, and on again later.
        let told = log.clone();
        let last = move || {
            let told = told.clone();
            Do::call(move |cx| {
                told.push("last");
                assert!(cx.cancel_receive_timeout());
                assert!(!cx.cancel_receive_timeout());
            })
        };
        turn(sim, &actor, |cx| {
            cx.set_receive_timeout(ms(3), last).unwrap()
        });
        pass(sim, 20);
        assert_eq!(log.line(), "last");
        turn(sim, &actor, |cx| cx.set_receive_timeout(ms(3), c).unwrap());
        pass(sim, 3);
        assert_eq!(log.line(), "c@52");
    });
}

/// The time is over while a handler awaits. Whatever that handler does, the old timeout is stale
/// when it is through.
#[test]
fn row72_a_stale_receive_timeout_is_discarded() {
    type Last = fn(&mut Cx<'_>, &Log);
    let cases: [(&str, Last, &str); 3] = [
        ("it counts", |_, _| {}, "idle@40"),
        (
            "turned off",
            |cx, _| assert!(cx.cancel_receive_timeout()),
            "",
        ),
        (
            "replaced",
            |cx, log| cx.set_receive_timeout(ms(4), stamp(log, "new")).unwrap(),
            "new@34 new@38 new@42",
        ),
    ];
    check_seeds(60, |sim| {
        for (what, last, wanted) in cases {
            let mut sim = Sim::new(sim.seed());
            let (log, gate) = (Log::default(), Gate::default());
            let actor = puppet(&sim);
            let idle = stamp(&log, "idle");
            turn(&mut sim, &actor, |cx| {
                cx.set_receive_timeout(ms(10), idle).unwrap()
            });
            pass(&mut sim, 5);
            let told = log.clone();
            let last = Do::call(move |cx| last(cx, &told));
            assert!(actor.tell(Do::After(gate.clone(), Box::new(last))).is_ok());
            sim.run_until_idle();
            // Nothing comes while the handler is pending.
            pass(&mut sim, 25);
            assert_eq!(log.line(), "", "{what}");
            gate.open();
            sim.run_until_idle();
            assert_eq!(log.line(), "", "{what}");
            pass(&mut sim, 14);
            assert_eq!(log.line(), wanted, "{what}");
        }
    });
}

/// A quiet message that awaits longer than the timeout does not hold it back for good.
#[test]
fn row72_a_quiet_handler_does_not_make_the_timeout_stale() {
    check_seeds(60, |sim| {
        let (log, gate) = (Log::default(), Gate::default());
        let actor = puppet(sim);
        let idle = stamp(&log, "idle");
        turn(sim, &actor, |cx| {
            cx.set_receive_timeout_unless(ms(10), idle).unwrap()
        });
        assert!(actor.tell(Do::Pass(QUIET, gate.clone())).is_ok());
        sim.run_until_idle();
        pass(sim, 15);
        assert_eq!(log.line(), "");
        gate.open();
        sim.run_until_idle();
        assert_eq!(log.line(), "idle@15");
        pass(sim, 10);
        assert_eq!(log.line(), "idle@25");
    });
}

/// The message of a timeout takes longer than the timeout: others have their turn all the same.
#[test]
fn row72_a_slow_handler_of_the_timeout_does_not_keep_messages_back() {
    let mut bench = Bench::new();
    let log = Log::default();
    let actor = bench.system.spawn(Puppet::factory("", &log)).unwrap();
    let (clock, driver, told) = (bench.clock.clone(), bench.driver.clone(), log.clone());
    let slow = move || {
        let (clock, driver, told) = (clock.clone(), driver.clone(), told.clone());
        Do::call(move |cx| {
            told.push("idle");
            clock.advance(ms(3));
            let _ = driver.tick();
            // A guard against going in circles.
            if told.len() > 20 {
                cx.cancel_receive_timeout();
            }
        })
    };
    let set = Do::call(move |cx| cx.set_receive_timeout(ms(1), slow).unwrap());
    assert!(actor.tell(set).is_ok());
    bench.rest();
    bench.clock.advance(ms(2));
    let _ = bench.driver.tick();
    assert!(actor.tell(Do::Note(1)).is_ok());
    assert!(actor.tell(Do::Note(2)).is_ok());
    bench.rest();
    assert_eq!(log.line(), "+ idle 1 2");
}

#[test]
fn row72_the_receive_timeout_may_be_tiny_or_enormous() {
    check_seeds(20, |sim| {
        let log = Log::default();
        let actor = puppet(sim);
        let tiny = stamp(&log, "tiny");
        turn(sim, &actor, |cx| {
            cx.set_receive_timeout(Duration::from_nanos(1), tiny)
                .unwrap();
        });
        pass(sim, 3);
        assert_eq!(log.line(), "tiny@1 tiny@2 tiny@3");
        let enormous = stamp(&log, "enormous");
        let years = Duration::from_secs(99 * 366 * 24 * 3600);
        turn(sim, &actor, move |cx| {
            cx.set_receive_timeout(years, enormous).unwrap();
        });
        sim.advance(years - ms(1));
        sim.run_until_idle();
        assert_eq!(log.len(), 0);
        pass(sim, 1);
        assert_eq!(log.len(), 1);
    });
}

/// However many messages come, the wheel is not told of each.
#[test]
fn row72_messages_do_not_touch_the_wheel() {
    let mut bench = Bench::new();
    let actor = bench
        .system
        .spawn(Puppet::factory("", &Log::default()))
        .unwrap();
    let set = Do::call(|cx| cx.set_receive_timeout(ms(10), || Do::Note(0)).unwrap());
    assert!(actor.tell(set).is_ok());
    bench.rest();
    for _ in 0..9 {
        bench.clock.advance(ms(1));
        assert!(actor.tell(Do::Note(1)).is_ok());
        bench.rest();
        assert_eq!(bench.next(), NextTick::At(ms(10)));
    }
    bench.clock.advance(ms(1));
    let _ = bench.driver.tick();
    bench.rest();
    assert_eq!(bench.next(), NextTick::At(ms(19)));
}

// === names and numbers ===

/// Each state of an actor has a timer of its own name; leaving the state takes it back.
#[test]
fn row73_timers_of_states_are_never_mixed_up() {
    check_seeds(100, |sim| {
        let log = Log::default();
        let actor = puppet(sim);
        let mut state = 0;
        let mut since = [None; 3];
        let (mut now, mut wanted) = (0, Vec::new());
        for _ in 0..30 {
            // Enter another state: its timer begins, that of the last one ends.
            let (old, new) = (state, sim.below(3) as u64);
            let name = stamp(&log, &format!("s{new}"));
            turn(sim, &actor, move |cx| {
                cx.cancel_timer(old);
                cx.start_timer(new, Timer::fixed_rate_with(ms(4), name))
                    .unwrap();
            });
            since[old as usize] = None;
            since[new as usize] = Some(now);
            state = new;
            let wait = sim.below(10) as u64;
            for _ in 0..wait {
                now += 1;
                pass(sim, 1);
                for (state, since) in since.iter().enumerate() {
                    if since.is_some_and(|since| (now - since) % 4 == 0) {
                        wanted.push(format!("s{state}@{now}"));
                    }
                }
            }
            assert_eq!(log.take(), std::mem::take(&mut wanted));
        }
    });
}

#[test]
fn a_due_time_is_reached_at_its_tick_and_not_before() {
    const SECOND: u64 = 1_000_000_000;
    for frequency in [
        1,
        3,
        1000,
        32_768,
        1_000_000,
        SECOND - 1,
        SECOND,
        5_242_880_000,
        u64::MAX / SECOND,
    ] {
        for due in [
            0,
            1,
            999,
            1_000_000,
            1_000_001,
            SECOND - 1,
            86_400 * SECOND + 7,
        ] {
            let due = Duration::from_nanos(due);
            let tick = ticks_of_time(due, frequency);
            assert!(
                time_of_ticks(tick, frequency) >= due,
                "{due:?}, {frequency}"
            );
            let before = tick.checked_sub(1);
            assert!(
                before.is_none_or(|before| time_of_ticks(before, frequency) < due),
                "{due:?}, {frequency}"
            );
        }
        // Beyond the ticks is their end.
        assert_eq!(ticks_of_time(Duration::MAX, frequency), u64::MAX);
    }
}
