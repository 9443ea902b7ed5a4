//! Answers that are waited for no longer than a time, and questions that are too late.

use crate::puppet::{Count, Counted, Do, Gate, Log, Puppet};
use hikyaku_core::{
    Actor, ActorRef, AskError, Context, Deadline, Failure, Reply, SleepError, System, Turn,
};
use hikyaku_testkit::{Sim, check_seeds};
use std::sync::{Arc, Mutex};
use std::task::{Context as Poller, Poll, Waker};
use std::time::Duration;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn jump(sim: &mut Sim, millis: u64) {
    sim.advance(ms(millis));
    sim.run_until_idle();
}

/// Does what it is asked for as long as that is worth while.
struct Careful {
    log: Log,
    kept: Vec<Reply<u64>>,
}

enum Work {
    Answer(u64, Reply<u64>),
    /// Waits, then answers.
    After(Gate, u64, Reply<u64>),
    Keep(Reply<u64>),
    /// Waits until the asker has given up.
    Watch(Reply<u64>),
    /// Asks another to keep the question, for so long, and logs how that ended.
    Pass(ActorRef<Work>, Duration, Reply<u64>),
    /// The same in a future beside the actor, which is polled whenever the gate opens.
    Pipe(ActorRef<Work>, Duration, Gate),
    Note(String),
    Answered(Result<u64, AskError>),
}

impl Careful {
    fn factory(log: &Log) -> impl FnMut() -> Self + Send + 'static {
        let log = log.clone();
        move || Self {
            log: log.clone(),
            kept: Vec::new(),
        }
    }
}

impl Actor for Careful {
    type Msg = Work;

    fn deadline(msg: &Work) -> Option<Deadline> {
        match msg {
            Work::Answer(_, reply)
            | Work::After(_, _, reply)
            | Work::Keep(reply)
            | Work::Watch(reply)
            | Work::Pass(_, _, reply) => reply.deadline(),
            Work::Pipe(..) | Work::Note(_) | Work::Answered(_) => None,
        }
    }

    async fn handle(&mut self, work: Work, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        let deadline = cx.deadline();
        match work {
            Work::Answer(n, reply) => {
                assert_eq!(deadline, reply.deadline());
                self.log.push(format!("answer {n}"));
                let _ = reply.send(n);
            }
            Work::After(gate, n, reply) => {
                gate.pass().await;
                // The same after an await.
                assert_eq!(cx.deadline(), deadline);
                let refused = reply.send(n);
                self.log.push(format!("{refused:?}"));
            }
            Work::Keep(reply) => self.kept.push(reply),
            Work::Watch(mut reply) => {
                assert!(!reply.is_cancelled());
                reply.cancelled().await;
                assert!(reply.is_cancelled());
                // Again, at once.
                reply.cancelled().await;
                self.log.push(format!("cancelled@{}", cx.now().as_millis()));
                assert_eq!(reply.send(7), Err(7));
            }
            Work::Pass(other, limit, reply) => {
                let answer = other.ask(Work::Keep).within(limit).await;
                self.log.push(outcome(&answer, cx.now()));
                let _ = reply.send(1);
            }
            Work::Pipe(other, limit, gate) => {
                let ask = async move {
                    gate.pass().await;
                    other.ask(Work::Keep).within(limit).await
                };
                cx.pipe_to_self(ask, Work::Answered)?;
            }
            Work::Note(text) => {
                assert_eq!(deadline, None);
                self.log.push(text);
            }
            Work::Answered(answer) => self.log.push(outcome(&answer, cx.now())),
        }
        Ok(())
    }

    async fn stopped(&mut self, cx: &mut Context<'_, Self>) {
        self.log.push(format!("{:?}", cx.deadline()));
    }
}

fn outcome(answer: &Result<u64, AskError>, now: Duration) -> String {
    let now = now.as_millis();
    match answer {
        Ok(n) => format!("{n}@{now}"),
        Err(AskError::Timeout { after, .. }) => format!("waited {after:?}@{now}"),
        Err(error) => format!("{error}@{now}"),
    }
}

#[test]
fn row58_the_timeout_names_target_message_and_time() {
    check_seeds(60, |sim| {
        let log = Log::default();
        let actor = sim.spawn(Puppet::factory("", &log)).unwrap();
        let index = actor.index();
        let ask = {
            let actor = actor.clone();
            async move { actor.ask(Do::Keep).within(ms(50)).await }
        };
        let task = sim.spawn_task(ask);
        sim.run_until_idle();
        jump(sim, 49);
        assert!(!task.is_done());
        jump(sim, 1);
        let error = task.take().unwrap().unwrap_err();
        let wanted = AskError::Timeout {
            target: index,
            message: std::any::type_name::<Do>(),
            after: ms(50),
        };
        assert_eq!(error, wanted);
        let text = error.to_string();
        for part in [&index.to_string(), "::Do", "50ms"] {
            assert!(text.contains(part), "{text}");
        }
    });
}

/// An answer in time is an answer, at whatever moment; the timer is gone afterwards.
#[test]
fn row58_an_answer_in_time_arrives() {
    check_seeds(100, |sim| {
        let (log, gate) = (Log::default(), Gate::default());
        let actor = sim.spawn(Careful::factory(&log)).unwrap();
        let (asked, closed) = (actor.clone(), gate.clone());
        let task = sim.spawn_task(async move {
            let make = |reply| Work::After(closed, 5, reply);
            asked.ask(make).within(ms(20)).await
        });
        sim.run_until_idle();
        jump(sim, 19);
        gate.open();
        let late = sim.below(2) == 0;
        if !late {
            sim.run_until_idle();
        }
        jump(sim, 1);
        // The answer and the end of the time came together: the answer wins if it was there first.
        match task.take().unwrap() {
            Ok(5) => assert_eq!(log.line(), "Ok(())"),
            Err(AskError::Timeout { .. }) if late => {
                assert!(["Err(5)", "Ok(())"].contains(&&*log.line()));
            }
            other => panic!("{other:?}"),
        }
        // Nothing is left of the time limit.
        let steps = sim.metrics().handled;
        jump(sim, 1000);
        assert_eq!(sim.metrics().handled, steps);
    });
}

#[test]
fn row58_a_timeout_of_zero_and_one_without_a_clock_are_refused() {
    check_seeds(30, |sim| {
        let log = Log::default();
        let actor = sim.spawn(Careful::factory(&log)).unwrap();
        let zero = actor
            .ask(|reply| Work::Answer(1, reply))
            .within(Duration::ZERO);
        assert_eq!(sim.block_on(zero), Err(AskError::ZeroTimeout));
        // However long, it is waited for.
        let endless = actor
            .ask(|reply| Work::Answer(2, reply))
            .within(Duration::MAX);
        assert_eq!(sim.block_on(endless), Ok(2));
        // An error that was there before stays.
        actor.stop();
        let closed = actor.ask(|reply| Work::Answer(3, reply)).within(ms(1));
        assert_eq!(sim.block_on(closed), Err(AskError::Closed));
    });
    let (system, mut workers) = System::builder("timeless").build().unwrap();
    let actor = system.spawn(Careful::factory(&Log::default())).unwrap();
    let mut ask = Box::pin(actor.ask(|reply| Work::Answer(1, reply)).within(ms(1)));
    let mut cx = Poller::from_waker(Waker::noop());
    assert_eq!(
        ask.as_mut().poll(&mut cx),
        Poll::Ready(Err(AskError::NoTime))
    );
    while workers[0].poll(100, Waker::noop()) == Turn::Ready {}
    for (error, text) in [
        (
            AskError::ZeroTimeout,
            "the time to wait for an answer is zero",
        ),
        (
            AskError::NoTime,
            "the system has no timer for the time limit",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn row59_a_reply_after_the_timeout_never_reaches_a_later_ask() {
    check_seeds(150, |sim| {
        let log = Log::default();
        let actor = sim.spawn(Careful::factory(&log)).unwrap();
        let gates = [Gate::default(), Gate::default()];
        for (number, gate) in (0..).zip(&gates) {
            // Its slot may be the one that the last question had.
            let (asked, closed) = (actor.clone(), gate.clone());
            let task = sim.spawn_task(async move {
                let make = |reply| Work::After(closed, number, reply);
                asked.ask(make).within(ms(10)).await
            });
            sim.run_until_idle();
            jump(sim, 10);
            let timeout = task.take().unwrap();
            assert!(matches!(timeout, Err(AskError::Timeout { .. })));
            let next = actor.ask(|reply| Work::Answer(100 + number, reply));
            gate.open();
            assert_eq!(sim.block_on(next), Ok(100 + number));
            assert_eq!(log.line(), format!("Err({number}) answer {}", 100 + number));
        }
    });
}

/// The system ends while somebody waits, and the question is kept outside of it.
#[test]
fn row58_row71_a_time_limit_does_not_become_endless_when_the_system_ends() {
    check_seeds(60, |sim| {
        let actor = sim.spawn(Puppet::factory("", &Log::default())).unwrap();
        let kept = Arc::new(Mutex::new(None));
        let (asked, keep) = (actor.clone(), kept.clone());
        let task = sim.spawn_task(async move {
            let make =
                |reply: Reply<u64>| Do::call(move |_| drop(keep.lock().unwrap().replace(reply)));
            asked.ask(make).within(ms(10)).await
        });
        sim.run_until_idle();
        sim.force_stop();
        sim.run_until_idle();
        jump(sim, 20);
        assert_eq!(task.take(), Some(Err(AskError::NoTime)));
        let reply = kept.lock().unwrap().take().unwrap();
        assert_eq!(reply.send(1), Err(1));
    });
}

// === deadlines of messages ===

#[test]
fn row58_questions_that_are_too_late_are_skipped_and_counted() {
    check_seeds(100, |sim| {
        let (log, gate) = (Log::default(), Gate::default());
        let actor = sim.spawn(Careful::factory(&log)).unwrap();
        // The actor is busy.
        let busy = actor.ask(|reply| Work::After(gate.clone(), 0, reply));
        let mut tasks = Vec::new();
        for (number, limit) in [(1, Some(10)), (2, None), (3, Some(30)), (4, Some(10))] {
            let asked = actor.clone();
            tasks.push(sim.spawn_task(async move {
                let ask = asked.ask(|reply| Work::Answer(number, reply));
                match limit {
                    Some(limit) => ask.within(ms(limit)).await,
                    None => ask.await,
                }
            }));
            sim.run_until_idle();
        }
        jump(sim, 10);
        let expired = sim.metrics().expired;
        gate.open();
        assert_eq!(sim.block_on(busy), Ok(0));
        sim.run_until_idle();
        assert_eq!(log.line(), "Ok(()) answer 2 answer 3");
        assert_eq!(sim.metrics().expired - expired, 2);
        let answers: Vec<_> = tasks.iter().map(|task| task.take().unwrap().ok()).collect();
        assert_eq!(answers, [None, Some(2), Some(3), None]);
        // They were not handled, so they do not count as such, nor are they dead letters.
        assert_eq!(sim.metrics().handled, 3);
        assert_eq!(sim.metrics().dead_letters, 0);
    });
}

/// An actor whose questions are all too late makes way for others, and hears its orders.
#[test]
fn row58_row16_late_questions_count_against_the_turn_of_an_actor() {
    struct Late(#[allow(dead_code, reason = "for its drop")] Counted);
    struct Skips;
    impl Actor for Skips {
        type Msg = (Reply<()>, Late);
        fn deadline((reply, _): &Self::Msg) -> Option<Deadline> {
            reply.deadline()
        }
        async fn handle(
            &mut self,
            (reply, _): Self::Msg,
            _: &mut Context<'_, Self>,
        ) -> Result<(), Failure> {
            let _ = reply.send(());
            Ok(())
        }
    }
    check_seeds(60, |sim| {
        let mut sim = Sim::builder(sim.seed()).workers(1).throughput(4).build();
        let count = Count::default();
        let actor = sim.spawn(|| Skips).unwrap();
        sim.run_until_idle();
        for _ in 0..40 {
            let make = |reply| (reply, Late(count.one()));
            let mut ask = Box::pin(actor.ask(make).within(ms(1)));
            let mut cx = Poller::from_waker(Waker::noop());
            assert!(ask.as_mut().poll(&mut cx).is_pending());
        }
        sim.advance(ms(1));
        let mut before = count.alive();
        assert_eq!(before, 40);
        let mut turns = 0;
        while count.alive() > 0 {
            sim.run_steps(1);
            let now = count.alive();
            assert!(before - now <= 4, "{before} {now}");
            before = now;
            turns += 1;
        }
        assert!(turns >= 10);
        assert_eq!(sim.metrics().expired, 40);
        assert_eq!(sim.metrics().handled, 0);
    });
}

/// A question asked while another one is in hand ends no later than that one.
/// Only with `std`: without, nobody knows who runs.
#[cfg(feature = "std")]
#[test]
fn row58_nested_deadlines_are_capped() {
    // (limit of the outer question, of the inner one, how that ends)
    let cases = [
        (Some(30), 100, "waited 30ms@30"),
        (Some(30), 10, "waited 10ms@10"),
        (None, 100, "waited 100ms@100"),
    ];
    check_seeds(60, |sim| {
        for (outer, inner, wanted) in cases {
            let mut sim = Sim::new(sim.seed());
            let log = Log::default();
            let (a, b) = (
                sim.spawn(Careful::factory(&log)).unwrap(),
                sim.spawn(Careful::factory(&Log::default())).unwrap(),
            );
            let asked = a.clone();
            let task = sim.spawn_task(async move {
                let ask = asked.ask(|reply| Work::Pass(b, ms(inner), reply));
                match outer {
                    Some(outer) => ask.within(ms(outer)).await,
                    None => ask.await,
                }
            });
            sim.run_until_idle();
            for _ in 0..110 {
                jump(&mut sim, 1);
            }
            assert!(task.is_done());
            assert_eq!(log.line(), wanted);
            // The next message has no deadline, nor has the last hook.
            assert!(a.tell(Work::Note("next".into())).is_ok());
            sim.run_until_idle();
            assert_eq!(log.line(), "next");
        }
    });
}

/// The deadline is that of the message in hand, not of what runs beside the actor meanwhile.
#[test]
fn row58_row64_a_future_beside_the_actor_does_not_inherit_the_deadline_in_hand() {
    check_seeds(100, |sim| {
        // The future is polled while the other handler awaits, or right after it.
        let after = sim.below(2) == 0;
        let (log, gate, busy) = (Log::default(), Gate::default(), Gate::default());
        let (a, b) = (
            sim.spawn(Careful::factory(&log)).unwrap(),
            sim.spawn(Careful::factory(&Log::default())).unwrap(),
        );
        assert!(a.tell(Work::Pipe(b, ms(50), gate.clone())).is_ok());
        sim.run_until_idle();
        let (asked, closed) = (a.clone(), busy.clone());
        let task = sim.spawn_task(async move {
            let make = |reply| Work::After(closed, 3, reply);
            asked.ask(make).within(ms(10)).await
        });
        sim.run_until_idle();
        if after {
            busy.open();
            gate.open();
        } else {
            gate.open();
            sim.run_until_idle();
            busy.open();
        }
        sim.run_until_idle();
        assert_eq!(task.take(), Some(Ok(3)));
        for _ in 0..60 {
            jump(sim, 1);
        }
        assert_eq!(log.line(), "Ok(()) waited 50ms@50");
    });
}

#[test]
fn row58_the_last_hook_has_no_deadline() {
    check_seeds(60, |sim| {
        let (log, gate) = (Log::default(), Gate::default());
        let actor = sim.spawn(Careful::factory(&log)).unwrap();
        let (asked, closed) = (actor.clone(), gate.clone());
        let _task = sim.spawn_task(async move {
            let make = |reply| Work::After(closed, 3, reply);
            asked.ask(make).within(ms(10)).await
        });
        sim.run_until_idle();
        actor.stop();
        gate.open();
        sim.run_until_idle();
        assert_eq!(log.line(), "Ok(()) None");
    });
}

// === giving up ===

#[test]
fn row59_the_one_who_answers_is_told_when_the_asker_gives_up() {
    check_seeds(150, |sim| {
        let log = Log::default();
        let actor = sim.spawn(Careful::factory(&log)).unwrap();
        let asked = actor.clone();
        let task = sim.spawn_task(async move { asked.ask(Work::Watch).await });
        let steps = sim.below(8);
        sim.run_steps(steps);
        jump(sim, 5);
        assert_eq!(log.len(), 0);
        task.cancel();
        sim.run_until_idle();
        // The future is dropped by the driver of the test, at once.
        assert_eq!(log.line(), "cancelled@5");
    });
}

#[test]
fn row59_the_one_who_answers_is_told_of_a_timeout() {
    check_seeds(100, |sim| {
        let log = Log::default();
        let actor = sim.spawn(Careful::factory(&log)).unwrap();
        let asked = actor.clone();
        let task = sim.spawn_task(async move { asked.ask(Work::Watch).within(ms(10)).await });
        sim.run_until_idle();
        jump(sim, 10);
        assert!(matches!(task.take(), Some(Err(AskError::Timeout { .. }))));
        assert_eq!(log.line(), "cancelled@10");
    });
}

/// Watching for the end of the asker changes nothing about the answer.
#[test]
fn row58_row61_work_that_is_raced_against_the_asker() {
    struct Racer;
    struct Race(Reply<u64>, Duration);
    impl Actor for Racer {
        type Msg = Race;
        async fn handle(
            &mut self,
            Race(mut reply, work): Race,
            cx: &mut Context<'_, Self>,
        ) -> Result<(), Failure> {
            let mut sleep = Box::pin(cx.sleep(work));
            let done: Option<Result<(), SleepError>> = {
                let mut cancelled = Box::pin(reply.cancelled());
                std::future::poll_fn(|cx| {
                    if let Poll::Ready(done) = sleep.as_mut().poll(cx) {
                        return Poll::Ready(Some(done));
                    }
                    cancelled.as_mut().poll(cx).map(|()| None)
                })
                .await
            };
            if done.is_some() {
                let _ = reply.send(1);
            }
            Ok(())
        }
    }
    use std::future::Future;
    check_seeds(100, |sim| {
        let racer = sim.spawn(|| Racer).unwrap();
        for (work, limit, wanted) in [(5, 10, Some(1)), (20, 10, None), (5, 10, Some(1))] {
            let asked = racer.clone();
            let task = sim.spawn_task(async move {
                asked
                    .ask(|reply| Race(reply, ms(work)))
                    .within(ms(limit))
                    .await
            });
            sim.run_until_idle();
            for _ in 0..10 {
                jump(sim, 1);
            }
            // The one that was given up keeps nobody waiting.
            assert_eq!(task.take().unwrap().ok(), wanted);
        }
    });
}
