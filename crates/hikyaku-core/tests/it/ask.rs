//! Questions and answers.

use crate::puppet::{Count, Do, Gate, Hook, Log, Puppet};
use hikyaku_core::{
    Actor, ActorRef, AskError, Context, Failure, MailboxOptions, Reply, SpawnOptions,
};
use hikyaku_testkit::check_seeds;
use std::sync::{Arc, Mutex};
use std::task::{Context as Poller, Poll, Waker};
use std::time::Duration;

fn answer(n: u64) -> impl FnOnce(Reply<u64>) -> Do {
    move |reply| Do::Answer(reply, n)
}

#[test]
fn row58_the_reply_arrives() {
    check_seeds(150, |sim| {
        let (log, gate) = (Log::default(), Gate::default());
        let actor = sim.spawn(Puppet::factory("", &log)).unwrap();
        // At once, after an await of the actor, and asked by another actor.
        assert_eq!(sim.block_on(actor.ask(answer(1))), Ok(1));
        let later = actor.ask(|reply| Do::After(gate.clone(), Box::new(Do::Answer(reply, 2))));
        sim.run_until_idle();
        gate.open();
        assert_eq!(sim.block_on(later), Ok(2));
        let asker = sim.spawn(|| Asker).unwrap();
        let target = actor.clone();
        assert_eq!(
            sim.block_on(asker.ask(|reply| (target, 3, reply))),
            Ok(Ok(3))
        );
        // The question is sent when it is asked, not when the answer is awaited.
        let unpolled = actor.ask(answer(4));
        sim.run_until_idle();
        let mut unpolled = Box::pin(unpolled);
        let poll = unpolled
            .as_mut()
            .poll(&mut Poller::from_waker(Waker::noop()));
        assert_eq!(poll, Poll::Ready(Ok(4)));
    });
}

/// Asks others.
struct Asker;

type Question = (ActorRef<Do>, u64, Reply<Result<u64, AskError>>);

impl Actor for Asker {
    type Msg = Question;

    async fn handle(
        &mut self,
        (target, n, reply): Question,
        _: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        let _ = reply.send(target.ask(answer(n)).await);
        Ok(())
    }
}

#[test]
fn row58_row59_each_kind_of_error_comes_at_once() {
    check_seeds(100, |sim| {
        let log = Log::default();
        let mut cx = Poller::from_waker(Waker::noop());
        let bounded = SpawnOptions::new().mailbox(MailboxOptions::bounded(1));
        let actor = sim.spawn_with(bounded, Puppet::factory("", &log)).unwrap();
        assert!(actor.tell(Do::Note(1)).is_ok());
        // No step is done between question and answer.
        let full = Box::pin(actor.ask(answer(1))).as_mut().poll(&mut cx);
        assert_eq!(full, Poll::Ready(Err(AskError::Full)));
        actor.stop();
        let closed = Box::pin(actor.ask(answer(1))).as_mut().poll(&mut cx);
        assert_eq!(closed, Poll::Ready(Err(AskError::Closed)));
        sim.run_until_idle();
        let dead = Box::pin(actor.ask(answer(1))).as_mut().poll(&mut cx);
        assert_eq!(dead, Poll::Ready(Err(AskError::Closed)));
        for (error, text) in [
            (AskError::Full, "the mailbox is full"),
            (AskError::Closed, "the actor takes no more messages"),
            (
                AskError::Dropped,
                "the question was dropped without an answer",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
    });
}

/// Whoever asks the dead, from wherever, is told.
#[test]
fn row59_a_dead_or_dying_target_fails_the_question() {
    check_seeds(300, |sim| {
        let log = Log::default();
        let actor = sim.spawn(Puppet::factory("", &log)).unwrap();
        let asker = sim.spawn(|| Asker).unwrap();
        let tasks: Vec<_> = (0..6)
            .map(|n| {
                let (actor, asker) = (actor.clone(), asker.clone());
                sim.spawn_task(async move {
                    if n % 2 == 0 {
                        actor.ask(answer(n)).await
                    } else {
                        asker.ask(|reply| (actor, n, reply)).await.unwrap()
                    }
                })
            })
            .collect();
        let steps = sim.below(30);
        sim.run_steps(steps);
        if sim.below(2) == 0 {
            actor.stop();
        } else {
            actor.kill();
        }
        sim.run_until_idle();
        for (n, task) in (0..).zip(tasks) {
            let result = task.take().expect("left without an answer");
            assert!(
                result == Ok(n) || matches!(result, Err(AskError::Closed | AskError::Dropped)),
                "{result:?}"
            );
        }
    });
}

/// A late answer is handed back to the one who answers, also when the slot could be in use again.
#[test]
fn row59_a_late_reply_never_reaches_a_later_question() {
    struct Slow(Vec<Reply<String>>);
    enum Ask {
        Keep(Reply<String>),
        /// Answers all that are kept; tells how many were handed back.
        Flush(Reply<usize>),
    }
    impl Actor for Slow {
        type Msg = Ask;
        async fn handle(&mut self, msg: Ask, _: &mut Context<'_, Self>) -> Result<(), Failure> {
            match msg {
                Ask::Keep(reply) => self.0.push(reply),
                Ask::Flush(reply) => {
                    let mut back = 0;
                    for late in self.0.drain(..) {
                        assert!(late.is_cancelled());
                        back += usize::from(late.send("late".into()) == Err("late".into()));
                    }
                    let _ = reply.send(back);
                }
            }
            Ok(())
        }
    }
    check_seeds(100, |sim| {
        let slow = sim.spawn(|| Slow(Vec::new())).unwrap();
        let other = sim.spawn(|| Slow(Vec::new())).unwrap();
        for _ in 0..4 {
            let mut given_up = Vec::new();
            for n in 0..5 {
                let mut ask = Box::pin(slow.ask(Ask::Keep));
                if n % 2 == 0 {
                    assert!(
                        ask.as_mut()
                            .poll(&mut Poller::from_waker(Waker::noop()))
                            .is_pending()
                    );
                }
                given_up.push(ask);
            }
            sim.run_until_idle();
            drop(given_up);
            // These take what memory is free.
            let pending: Vec<_> = (0..5).map(|_| other.ask(Ask::Keep)).collect();
            sim.run_until_idle();
            assert_eq!(sim.block_on(slow.ask(Ask::Flush)), Ok(5));
            let mut cx = Poller::from_waker(Waker::noop());
            for ask in pending {
                assert!(Box::pin(ask).as_mut().poll(&mut cx).is_pending());
            }
            assert_eq!(sim.block_on(other.ask(Ask::Flush)), Ok(5));
        }
    });
}

#[test]
fn row60_replies_come_in_the_order_of_the_requests() {
    check_seeds(200, |sim| {
        for mailbox in [MailboxOptions::unbounded(), MailboxOptions::bounded(8)] {
            let (log, told) = (Log::default(), Log::default());
            let options = SpawnOptions::new().mailbox(mailbox);
            let actor = sim.spawn_with(options, Puppet::factory("", &log)).unwrap();
            let mut asks = Vec::new();
            for n in 0..8 {
                let mut ask = Box::pin(actor.ask(answer(n)));
                let waker = told.waker(n.to_string());
                assert!(
                    ask.as_mut()
                        .poll(&mut Poller::from_waker(&waker))
                        .is_pending()
                );
                asks.push(ask);
            }
            sim.run_until_idle();
            assert_eq!(told.line(), "0 1 2 3 4 5 6 7");
            let mut cx = Poller::from_waker(Waker::noop());
            for (n, ask) in (0..).zip(&mut asks) {
                assert_eq!(ask.as_mut().poll(&mut cx), Poll::Ready(Ok(n)));
            }
        }
    });
}

/// The pair are two actors, which run on several workers; one asks without waiting.
#[test]
fn row60_replies_between_two_actors_come_in_order() {
    struct Many(ActorRef<Do>, Arc<Mutex<Vec<u64>>>);
    impl Actor for Many {
        type Msg = ();
        async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
            let asks: Vec<_> = (0..6).map(|n| self.0.ask(answer(n))).collect();
            for ask in asks {
                let reply = ask.await?;
                self.1.lock().unwrap().push(reply);
            }
            Ok(())
        }
    }
    check_seeds(200, |sim| {
        let got = Arc::new(Mutex::new(Vec::new()));
        let target = sim.spawn(Puppet::factory("", &Log::default())).unwrap();
        let many = {
            let got = got.clone();
            sim.spawn(move || Many(target.clone(), got.clone()))
                .unwrap()
        };
        many.tell(()).unwrap();
        sim.run_until_idle();
        assert_eq!(*got.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
    });
}

#[test]
fn row61_a_lost_reply_handle_is_an_error_for_the_asker() {
    type Lose = fn(&ActorRef<Do>, &Gate, Reply<u64>) -> Do;
    type End = fn(&ActorRef<Do>);
    let mut cases: Vec<(&str, Lose, End)> = vec![
        (
            "dropped by the handler",
            |_, _, reply| Do::call(move |_| drop(reply)),
            |_| {},
        ),
        (
            "handler fails",
            |_, _, reply| {
                Do::call(move |cx| {
                    drop(reply);
                    cx.stop();
                })
            },
            |_| {},
        ),
        (
            "dropped after an await",
            |_, gate, reply| Do::After(gate.clone(), Box::new(Do::call(move |_| drop(reply)))),
            |_| {},
        ),
        (
            "kept, then stopped",
            |_, _, reply| Do::Keep(reply),
            |a| a.stop(),
        ),
        (
            "kept, then killed",
            |_, _, reply| Do::Keep(reply),
            |a| a.kill(),
        ),
        (
            "kept, then failed",
            |_, _, reply| Do::Keep(reply),
            |a| assert!(a.tell(Do::Fail("x")).is_ok()),
        ),
        (
            "killed in an await",
            |_, _, reply| Do::After(Gate::default(), Box::new(Do::Answer(reply, 1))),
            |a| a.kill(),
        ),
        (
            "queued when it stops",
            |a, _, reply| {
                a.stop();
                Do::Answer(reply, 1)
            },
            |_| {},
        ),
    ];
    #[cfg(feature = "std")]
    cases.extend([
        (
            "panic",
            (|_, _, reply| {
                Do::call(move |_| {
                    let _reply = reply;
                    panic!("lost")
                })
            }) as Lose,
            (|_| {}) as End,
        ),
        (
            "kept, then panic",
            |_, _, reply| Do::Keep(reply),
            |a| assert!(a.tell(Do::Panic("lost")).is_ok()),
        ),
    ]);
    check_seeds(100, |sim| {
        for (what, lose, end) in &cases {
            let (log, gate) = (Log::default(), Gate::default());
            let actor = sim.spawn(Puppet::factory("", &log)).unwrap();
            let steps = sim.below(5);
            sim.run_steps(steps);
            let ask = actor.ask(|reply| lose(&actor, &gate, reply));
            sim.run_until_idle();
            end(&actor);
            gate.open();
            let result = sim.block_on(ask);
            let wanted = match *what {
                "queued when it stops" => AskError::Closed,
                // Without `std` nobody knows who runs.
                "kept, then failed" | "panic" | "kept, then panic" if cfg!(feature = "std") => {
                    AskError::Restarted
                }
                _ => AskError::Dropped,
            };
            assert_eq!(result, Err(wanted), "{what}");
            actor.kill();
            sim.run_until_idle();
        }
    });
}

/// The queue of an actor that ends: the question becomes a dead letter and the asker is told.
#[test]
fn row61_a_question_that_dies_in_the_queue_is_an_error_for_the_asker() {
    check_seeds(100, |sim| {
        let actor = {
            let hook = Hook::Wait(Gate::default());
            sim.spawn(move || Puppet::new("", &Log::default()).started(&hook))
                .unwrap()
        };
        let asks: Vec<_> = (0..3).map(|n| actor.ask(answer(n))).collect();
        sim.run_until_idle();
        actor.kill();
        for ask in asks {
            assert_eq!(sim.block_on(ask), Err(AskError::Dropped));
        }
        assert_eq!(sim.metrics().dead_letters, 3);
    });
}

/// Actors that await each other's answers in a circle wait until one of them is killed, or one's time is over. A stop
/// lets the handler in hand finish, which it does not.
#[test]
fn row26_a_circle_of_questions_ends_by_force_or_by_time() {
    type End = fn(&ActorRef<Do>);
    let ends: [(&str, End, bool); 5] = [
        ("stop", |a| a.stop(), false),
        ("gently", |a| a.stop_gracefully(), false),
        ("within", |a| drop(a.stop_within(LIMIT)), true),
        (
            "gently within",
            |a| drop(a.stop_gracefully_within(LIMIT)),
            true,
        ),
        ("kill", |a| a.kill(), true),
    ];
    const LIMIT: Duration = Duration::from_millis(100);
    check_seeds(40, |sim| {
        for (what, end, opens) in ends {
            for size in [1, 2, 3] {
                let log = Log::default();
                let circle: Vec<_> = (0..size)
                    .map(|_| sim.spawn(Puppet::factory("", &log)).unwrap())
                    .collect();
                for (place, actor) in circle.iter().enumerate() {
                    let next = circle[(place + 1) % size].clone();
                    let heard = log.clone();
                    let ask = Do::run(move |_| async move {
                        let answer = next.ask(answer(place as u64)).await;
                        heard.push(format!("{answer:?}"));
                    });
                    assert!(actor.tell(ask).is_ok());
                }
                sim.run_until_idle();
                assert_eq!(log.line(), "+ ".repeat(size).trim());
                end(&circle[0]);
                sim.run_for(LIMIT / 2);
                assert_eq!(
                    log.take().is_empty(),
                    what != "kill" || size == 1,
                    "{what} {size}"
                );
                sim.run_for(LIMIT);
                let others = circle[1..].iter();
                if opens {
                    // Its own answer nobody waits for, and its question's asker is told.
                    assert!(sim.block_on(circle[0].stopped()).to_string() == "killed");
                    others.for_each(|other| other.stop());
                } else {
                    assert_eq!(log.len(), 0, "{what} {size}");
                    circle.iter().for_each(ActorRef::kill);
                }
                sim.run_until_idle();
                assert!(
                    circle.iter().all(|actor| !actor.is_alive()),
                    "{what} {size}"
                );
            }
        }
        // With a limit, a circle opens by itself.
        let log = Log::default();
        let pair = [(); 2].map(|()| sim.spawn(Puppet::factory("", &log)).unwrap());
        for (place, actor) in pair.iter().enumerate() {
            let (next, heard) = (pair[1 - place].clone(), log.clone());
            let ask = Do::run(move |_| async move {
                let answer = next.ask(answer(1)).within(LIMIT).await;
                heard.push(if answer.is_ok() { "answer" } else { "late" });
            });
            assert!(actor.tell(ask).is_ok());
        }
        sim.run_for(2 * LIMIT);
        sim.run_until_idle();
        let heard = log.take();
        assert!(heard.iter().any(|entry| entry == "late"), "{heard:?}");
        assert_eq!(heard.len(), 4);
    });
}

/// Dropped at whatever moment, an ask leaves nothing behind, and the question is handled all the same.
#[test]
fn row61_an_ask_can_be_dropped_at_any_moment() {
    struct Echo(Log);
    struct Value(Reply<crate::puppet::Counted>, Count);
    impl Actor for Echo {
        type Msg = Value;
        async fn handle(
            &mut self,
            Value(reply, count): Value,
            cx: &mut Context<'_, Self>,
        ) -> Result<(), Failure> {
            cx.yield_now().await;
            self.0.push("handled");
            let _ = reply.send(count.one());
            Ok(())
        }
    }
    check_seeds(400, |sim| {
        let (log, count) = (Log::default(), Count::default());
        let echo = {
            let log = log.clone();
            sim.spawn(move || Echo(log.clone())).unwrap()
        };
        let tasks: Vec<_> = (0..5)
            .map(|_| {
                let (echo, count) = (echo.clone(), count.clone());
                sim.spawn_task(async move { drop(echo.ask(|reply| Value(reply, count)).await) })
            })
            .collect();
        let mut asked = 0;
        for task in &tasks {
            let steps = sim.below(8);
            sim.run_steps(steps);
            if sim.below(3) != 0 {
                task.cancel();
            }
            asked += 1;
        }
        sim.run_until_idle();
        assert!(log.len() <= asked);
        assert!(tasks.iter().all(hikyaku_testkit::Task::is_done));
        assert_eq!(count.alive(), 0);
        // Never polled; polled and dropped; answered and dropped.
        drop(echo.ask(|reply| Value(reply, count.clone())));
        let mut ask = Box::pin(echo.ask(|reply| Value(reply, count.clone())));
        assert!(
            ask.as_mut()
                .poll(&mut Poller::from_waker(Waker::noop()))
                .is_pending()
        );
        let unpolled = echo.ask(|reply| Value(reply, count.clone()));
        sim.run_until_idle();
        assert_eq!(count.alive(), 2);
        drop((ask, unpolled));
        assert_eq!(count.alive(), 0);
    });
}
