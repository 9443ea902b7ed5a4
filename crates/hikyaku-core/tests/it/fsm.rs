//! State machines.

use crate::puppet::Log;
use hikyaku_core::{
    Actor, Context, DeadLetterReason, Failure, Fsm, SpawnOptions, Timer, TransitionListener,
};
use hikyaku_testkit::Sim;
use std::time::Duration;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Idle,
    Busy(u32),
    Paused,
}

#[derive(Debug)]
enum Msg {
    Goto(State),
    Stay,
    Enter(State),
    Back,
    /// After so many ms.
    Timeout(u64),
    TimeIsOver,
    /// A timer of the actor's own.
    Other(u64),
    OtherIsOver,
    Forget,
    Unknown,
    Fail,
}

struct Machine {
    fsm: Fsm<State>,
    listener: TransitionListener,
    log: Log,
}

impl Machine {
    fn new(log: &Log) -> Self {
        let mut fsm = Fsm::new(State::Idle);
        let seen = log.clone();
        let listener = fsm.on_transition(move |from, to| seen.push(format!("{from:?}>{to:?}")));
        Self {
            fsm,
            listener,
            log: log.clone(),
        }
    }
}

impl Actor for Machine {
    type Msg = Msg;

    async fn handle(&mut self, msg: Msg, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        match (self.fsm.state(), msg) {
            (_, Msg::Goto(state)) => self.fsm.goto(state, cx),
            (State::Busy(_), Msg::Stay) => {
                if let State::Busy(n) = self.fsm.state_mut() {
                    *n += 1;
                }
            }
            (_, Msg::Enter(state)) => self.fsm.enter(state, cx),
            (_, Msg::Back) => {
                if !self.fsm.back(cx) {
                    self.log.push("bottom");
                }
            }
            (_, Msg::Timeout(after)) => self.fsm.timeout(ms(after), Msg::TimeIsOver, cx)?,
            (state, Msg::TimeIsOver) => self.log.push(format!("over in {state:?}")),
            (_, Msg::Other(after)) => {
                cx.start_timer("other", Timer::once(ms(after), Msg::OtherIsOver))?;
            }
            (_, Msg::OtherIsOver) => self.log.push("other"),
            (_, Msg::Forget) => {
                assert!(self.fsm.forget(self.listener));
                assert!(!self.fsm.forget(self.listener));
            }
            (_, Msg::Fail) => return Err(Failure::msg("as asked")),
            (_, msg @ (Msg::Unknown | Msg::Stay)) => cx.unhandled(msg),
        }
        Ok(())
    }

    async fn stopped(&mut self, _: &mut Context<'_, Self>) {
        self.log.push(format!("stopped in {:?}", self.fsm.state()));
    }
}

#[test]
fn row77_row78_transitions_time_outs_and_the_way_back() {
    use State::{Busy, Idle, Paused};
    let cases: [(&str, Vec<Msg>, &str); 15] = [
        (
            "goto",
            vec![Msg::Goto(Busy(1))],
            "Idle>Busy(1) stopped in Busy(1)",
        ),
        (
            "goto the same",
            vec![Msg::Goto(Idle)],
            "Idle>Idle stopped in Idle",
        ),
        (
            "stay",
            vec![Msg::Goto(Busy(1)), Msg::Stay],
            "Idle>Busy(1) stopped in Busy(2)",
        ),
        (
            "unhandled",
            vec![Msg::Unknown, Msg::Stay],
            "unhandled unhandled stopped in Idle",
        ),
        (
            "a listener is taken back",
            vec![Msg::Forget, Msg::Goto(Paused)],
            "stopped in Paused",
        ),
        (
            "time-out",
            vec![Msg::Goto(Busy(1)), Msg::Timeout(5)],
            "Idle>Busy(1) over in Busy(1) stopped in Busy(1)",
        ),
        (
            "time-out in the first state",
            vec![Msg::Timeout(5)],
            "over in Idle stopped in Idle",
        ),
        (
            "a transition ends it",
            vec![Msg::Timeout(5), Msg::Goto(Paused)],
            "Idle>Paused stopped in Paused",
        ),
        (
            "also to the same state",
            vec![Msg::Timeout(5), Msg::Goto(Idle)],
            "Idle>Idle stopped in Idle",
        ),
        (
            "to stay does not",
            vec![Msg::Goto(Busy(1)), Msg::Timeout(5), Msg::Stay],
            "Idle>Busy(1) over in Busy(2) stopped in Busy(2)",
        ),
        (
            "the second time-out replaces the first",
            vec![Msg::Timeout(5), Msg::Timeout(7)],
            "over in Idle stopped in Idle",
        ),
        (
            "other timers go on",
            vec![Msg::Other(5), Msg::Goto(Paused)],
            "Idle>Paused other stopped in Paused",
        ),
        (
            "in and back",
            vec![
                Msg::Enter(Busy(1)),
                Msg::Enter(Paused),
                Msg::Back,
                Msg::Back,
                Msg::Back,
            ],
            "Idle>Busy(1) Busy(1)>Paused Paused>Busy(1) Busy(1)>Idle bottom stopped in Idle",
        ),
        (
            "goto leaves the way back",
            vec![Msg::Enter(Busy(1)), Msg::Goto(Paused), Msg::Back],
            "Idle>Busy(1) Busy(1)>Paused Paused>Idle stopped in Idle",
        ),
        (
            "a restart begins anew, without time-outs",
            vec![Msg::Enter(Busy(1)), Msg::Timeout(5), Msg::Fail, Msg::Back],
            "Idle>Busy(1) bottom stopped in Idle",
        ),
    ];
    for (name, messages, expected) in cases {
        let fails = messages.iter().any(|message| matches!(message, Msg::Fail));
        if fails && !cfg!(feature = "supervision") {
            continue;
        }
        let log = Log::default();
        let dead = log.clone();
        let mut sim = Sim::builder(7)
            .on_dead_letter(move |letter| {
                assert_eq!(letter.reason, DeadLetterReason::Unhandled);
                dead.push("unhandled");
            })
            .build();
        let made = log.clone();
        let machine = sim
            .spawn_with(SpawnOptions::new(), move || Machine::new(&made))
            .unwrap();
        for message in messages {
            machine.tell(message).unwrap();
        }
        sim.run_for(ms(20));
        machine.stop();
        sim.run_until_idle();
        assert_eq!(log.line(), expected, "{name}");
    }
}
