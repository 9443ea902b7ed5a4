//! The circuit breaker: every state, every way out of it.

use crate::puppet::{Do, Log, Puppet};
use hikyaku_core::{
    Actor, ActorRef, AskError, Backoff, BreakerChange, BreakerState, CircuitBreaker, Context,
    Failure, Permit,
};
use hikyaku_testkit::check_seeds;
use std::collections::VecDeque;
use std::time::Duration;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn change(change: BreakerChange) -> String {
    match change {
        BreakerChange::Stays => ".".into(),
        BreakerChange::Opened { retry_after } => format!("O{}", retry_after.as_millis()),
        BreakerChange::Closed => "C".into(),
    }
}

/// Plays a script, and writes down what came of each step.
///
/// `c` check: `p` a permit, `P` a probe, `x` with the time to wait and the change. Of the oldest permit: `s`
/// succeeds, `f` fails, `w` is withdrawn, `d` is dropped; in capitals of the newest. `+n` lets milliseconds pass;
/// `t` trip, `r` reset, `?` the state.
fn play(mut breaker: CircuitBreaker, script: &str) -> String {
    let mut now = ms(1000);
    let mut permits: VecDeque<Permit> = VecDeque::new();
    let mut results = Vec::new();
    for step in script.split_whitespace() {
        if let Some(millis) = step.strip_prefix('+') {
            now += ms(millis.parse().unwrap());
            continue;
        }
        let mut permit = || {
            if step.chars().all(char::is_uppercase) {
                permits.pop_back().unwrap()
            } else {
                permits.pop_front().unwrap()
            }
        };
        results.push(match step {
            "s" | "S" => change(breaker.succeed(permit(), now)),
            "f" | "F" => change(breaker.fail(permit(), now)),
            "w" | "W" => {
                breaker.withdraw(permit());
                "-".into()
            }
            "d" | "D" => {
                drop(permit());
                "-".into()
            }
            "t" => change(breaker.trip(now)),
            "r" => change(breaker.reset()),
            "c" => match breaker.check(now) {
                Ok(permit) => {
                    let kind = if permit.is_probe() { "P" } else { "p" };
                    permits.push_back(permit);
                    kind.into()
                }
                Err(rejected) => format!(
                    "x{}{}",
                    rejected.retry_after.as_millis(),
                    change(rejected.change)
                ),
            },
            "?" => match breaker.state(now) {
                BreakerState::Closed => "closed".into(),
                BreakerState::Open { retry_after } => format!("open{}", retry_after.as_millis()),
                BreakerState::HalfOpen => "half".into(),
            },
            other => panic!("{other}"),
        });
    }
    results.join(" ")
}

#[test]
fn row87_every_state_and_every_way_out_of_it() {
    // Two failures open it, for 100 ms, then 200, 400 and at most 500. Calls have 50 ms, where the name says so.
    let cases = [
        // Closed.
        ("calls are let through", "c c c", "p p p"),
        (
            "successes change nothing",
            "c s c s c s ?",
            "p . p . p . closed",
        ),
        ("one failure is not enough", "c f ?", "p . closed"),
        ("failures in a row open", "c f c f ?", "p . p O100 open100"),
        (
            "failures side by side open",
            "c c f f ?",
            "p p . O100 open100",
        ),
        (
            "a success starts the count anew",
            "c f c s c f ?",
            "p . p . p . closed",
        ),
        (
            "a late success does, too",
            "c c f s c f ?",
            "p p . . p . closed",
        ),
        (
            "what was not made does not count",
            "c w c w c w ?",
            "p - p - p - closed",
        ),
        (
            "nor does it start the count anew",
            "c f c w c f",
            "p . p - p O100",
        ),
        (
            "a dropped permit is a failure",
            "c d c d c",
            "p - p - x100O100",
        ),
        ("dropped and failed add up", "c d c f", "p - p O100"),
        (
            "a success after a drop starts anew",
            "c d c s c f ?",
            "p - p . p . closed",
        ),
        (
            "drops are noticed by a success",
            "c c c d d s",
            "p p p - - O100",
        ),
        // Open.
        (
            "open rejects",
            "c c f f c +40 c +59 c",
            "p p . O100 x100. x60. x1.",
        ),
        ("and says until when", "t +30 ?", "O100 open70"),
        (
            "an old success does not close",
            "c c c f f s ?",
            "p p p . O100 . open100",
        ),
        (
            "an old failure does not lengthen",
            "c c c f f +50 f ?",
            "p p p . O100 . open50",
        ),
        (
            "an old drop neither",
            "c c c f f +50 d c ?",
            "p p p . O100 - x50. open50",
        ),
        ("nor an old withdrawal", "c t w ?", "p O100 - open100"),
        ("after the pause it is half open", "t +100 ?", "O100 half"),
        // Half open.
        ("one probe", "t +100 c c c", "O100 P x100. x100."),
        (
            "later callers do not get one either",
            "t +100 c +999 c",
            "O100 P x100.",
        ),
        (
            "its success closes",
            "t +100 c s ? c c",
            "O100 P C closed p p",
        ),
        (
            "its failure opens, for longer",
            "t +100 c f ? c",
            "O100 P O200 open200 x200.",
        ),
        (
            "again and again, up to the cap",
            "t +100 c f +200 c f +400 c f +500 c f",
            "O100 P O200 P O400 P O500 P O500",
        ),
        (
            "a success starts the pauses anew",
            "t +100 c f +200 c s t",
            "O100 P O200 P C O100",
        ),
        (
            "it starts the count anew",
            "c f t +100 c s c f ?",
            "p . O100 P C p . closed",
        ),
        (
            "a dropped probe is a failure",
            "t +100 c d c",
            "O100 P - x200O200",
        ),
        (
            "a withdrawn one is given to the next",
            "t +100 c w ? c s",
            "O100 P - half P C",
        ),
        (
            "calls from before say nothing",
            "c c t +100 c s s f ?",
            "p p O100 P . . O200 open200",
        ),
        (
            "only the probe does",
            "c t +100 c s S ?",
            "p O100 P . C closed",
        ),
        (
            "a second outcome of a probe before",
            "t +100 c t s ?",
            "O100 P O200 . open200",
        ),
        // By hand.
        ("tripped while closed", "t c", "O100 x100."),
        ("tripped while open", "t +10 t ?", "O100 O200 open200"),
        ("tripped while half open", "t +100 c t f", "O100 P O200 ."),
        (
            "reset while closed forgets failures",
            "c f r c f ?",
            "p . . p . closed",
        ),
        ("reset while open", "t r c ?", "O100 C p closed"),
        (
            "reset while half open",
            "t +100 c r f c f ?",
            "O100 P C . p . closed",
        ),
        (
            "reset starts the pauses anew",
            "t t r t",
            "O100 O200 C O100",
        ),
        // Calls with a time limit.
        ("limited: in time", "c +50 s c +50 s ?", "p . p . closed"),
        (
            "limited: a late success is a failure",
            "c +51 s c +51 s ?",
            "p . p O100 open100",
        ),
        (
            "limited: a late probe counts by itself",
            "t +100 c +50 c +1 c",
            "O100 P x0. x200O200",
        ),
        (
            "limited: its outcome is not counted then",
            "t +100 c +51 c s ?",
            "O100 P x200O200 . open200",
        ),
        (
            "limited: nor if nobody has asked meanwhile",
            "t +100 c +51 s ?",
            "O100 P O200 open200",
        ),
        (
            "limited: a rejected caller waits for the probe",
            "t +100 c +20 c",
            "O100 P x30.",
        ),
    ];
    for (what, script, wanted) in cases {
        let mut breaker = CircuitBreaker::new(2, Backoff::new(ms(100), ms(500)));
        if what.starts_with("limited") {
            breaker = breaker.call_timeout(ms(50));
        }
        assert_eq!(play(breaker, script), wanted, "{what}: {script}");
    }
}

#[test]
fn row87_limits_of_the_settings() {
    let plain = |n| CircuitBreaker::new(n, Backoff::new(ms(100), ms(100)));
    assert_eq!(play(plain(0), "c f ?"), "p O100 open100");
    assert_eq!(
        play(plain(1), "c f +100 c f +100 c f"),
        "p O100 P O100 P O100"
    );
    let none = CircuitBreaker::new(1, Backoff::new(ms(0), ms(0)));
    assert_eq!(play(none, "c f c f c s ?"), "p O0 P O0 P C closed");
    let endless = CircuitBreaker::new(1, Backoff::new(Duration::MAX, Duration::MAX));
    let mut breaker = endless.call_timeout(Duration::MAX);
    let _ = breaker.trip(ms(1));
    assert!(breaker.check(Duration::MAX - ms(1)).is_err());
}

#[test]
fn row87_pauses_are_lengthened_by_the_jitter_only() {
    let mut seen = Vec::new();
    for seed in 0..100 {
        let pause = Backoff::new(ms(100), ms(100)).jitter(20);
        let mut breaker = CircuitBreaker::new(1, pause).seed(seed);
        let BreakerChange::Opened { retry_after } = breaker.trip(ms(0)) else {
            panic!("it opens");
        };
        assert!(ms(100) <= retry_after && retry_after <= ms(120));
        seen.push(retry_after);
    }
    seen.sort();
    seen.dedup();
    assert!(seen.len() > 90);
}

/// Asks another actor, as long as that answers.
struct Caller {
    breaker: CircuitBreaker,
    target: ActorRef<Do>,
    log: Log,
}

enum CallerMsg {
    Call,
    Answer(Permit, Result<u64, AskError>),
}

impl Actor for Caller {
    type Msg = CallerMsg;

    async fn handle(&mut self, msg: CallerMsg, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        match msg {
            CallerMsg::Call => match self.breaker.check(cx.now()) {
                Ok(permit) => {
                    let target = self.target.clone();
                    let call = async move { target.ask(Do::Keep).within(ms(10)).await };
                    cx.pipe_to_self(call, |answer| CallerMsg::Answer(permit, answer))?;
                }
                Err(rejected) => {
                    let wait = rejected.retry_after.as_millis();
                    self.log.push(format!("x{wait}"));
                }
            },
            CallerMsg::Answer(permit, answer) => {
                let changed = match answer {
                    Ok(_) => self.breaker.succeed(permit, cx.now()),
                    Err(_) => self.breaker.fail(permit, cx.now()),
                };
                self.log.push(change(changed));
            }
        }
        Ok(())
    }
}

/// The permit goes with the question, and comes back with the answer.
#[test]
fn row87_time_outs_of_an_actor_that_asks() {
    check_seeds(50, |sim| {
        let log = Log::default();
        let target = sim.spawn(Puppet::factory("", &Log::default())).unwrap();
        let told = log.clone();
        let caller = sim
            .spawn(move || Caller {
                breaker: CircuitBreaker::new(2, Backoff::new(ms(100), ms(100))),
                target: target.clone(),
                log: told.clone(),
            })
            .unwrap();
        let mut call = |times: usize, wait: u64| {
            for _ in 0..times {
                assert!(caller.tell(CallerMsg::Call).is_ok());
            }
            sim.run_until_idle();
            sim.advance(ms(wait));
            sim.run_until_idle();
            log.line()
        };
        assert_eq!(call(3, 11), ". O100 .");
        assert_eq!(call(2, 99), "x100 x100");
        assert_eq!(call(1, 1), "x1");
        assert_eq!(call(2, 11), "x100 O100");
    });
}
