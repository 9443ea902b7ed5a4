//! The stash.

use crate::puppet::{Count, Counted, Log};
use hikyaku_core::{
    Actor, Context, DeadLetterReason, Failure, MailboxOptions, ResumeCondition, SpawnOptions,
    StashFull, SuspendReason,
};
use hikyaku_testkit::{Sim, check_seeds};
use std::time::Duration;

/// Handles numbers when it is open, and stashes them when it is not.
struct Door {
    open: bool,
    log: Log,
}

enum Msg {
    Pass(u64, Option<Counted>),
    Open(bool),
    Unstash(usize),
    /// Stashes what it gets, even when open.
    Again(u64),
    Clear,
    Fail,
    /// Unstashes all, and fails.
    FailMidway,
    /// Unstashes all, and stops.
    StopMidway,
    Suspend,
}

impl Actor for Door {
    type Msg = Msg;

    async fn handle(&mut self, msg: Msg, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        match msg {
            Msg::Pass(n, counted) if !self.open => {
                if let Err(StashFull(Msg::Pass(n, _))) = cx.stash(Msg::Pass(n, counted)) {
                    self.log.push(format!("full:{n}"));
                }
            }
            Msg::Pass(n, _) => self.log.push(n.to_string()),
            Msg::Open(open) => self.open = open,
            Msg::Unstash(most) => {
                let count = cx.unstash(most);
                self.log.push(format!("[{count}|{}]", cx.stashed()));
            }
            Msg::Again(0) => self.log.push("again"),
            Msg::Again(n) => cx.stash(Msg::Again(n - 1))?,
            Msg::Clear => {
                let left: Vec<_> = cx.clear_stash().collect();
                self.log.push(format!("cleared:{}", left.len()));
            }
            Msg::Fail => return Err(Failure::msg("as asked")),
            Msg::FailMidway => {
                cx.unstash_all();
                return Err(Failure::msg("as asked"));
            }
            Msg::StopMidway => {
                cx.unstash_all();
                cx.stop();
            }
            Msg::Suspend => {
                cx.unstash_all();
                cx.suspend(SuspendReason::UserDefined, ResumeCondition::Explicit)?;
            }
        }
        Ok(())
    }
}

enum Step {
    /// Numbers to pass.
    Pass(&'static [u64]),
    Tell(fn() -> Msg),
    Stop,
    Drain,
    Kill,
    Resume,
    Expect(&'static str),
    /// Dead letters so far.
    Dead(&'static str),
}
use Step::{Dead, Drain, Expect, Kill, Pass, Resume, Stop, Tell};

#[test]
fn row40_row74_row75_row76_stashed_messages() {
    let open = || Tell(|| Msg::Open(true));
    let close = || Tell(|| Msg::Open(false));
    let all = || Tell(|| Msg::Unstash(usize::MAX));
    let cases: [(&str, Vec<Step>); 20] = [
        (
            "all, in order",
            vec![Pass(&[1, 2, 3]), open(), all(), Expect("[3|0] 1 2 3")],
        ),
        (
            "before what is queued",
            vec![
                Pass(&[1, 2]),
                open(),
                all(),
                Pass(&[3]),
                Expect("[2|0] 1 2 3"),
            ],
        ),
        (
            "some: the oldest",
            vec![
                Pass(&[1, 2, 3]),
                open(),
                Tell(|| Msg::Unstash(2)),
                Expect("[2|1] 1 2"),
                all(),
                Expect("[1|0] 3"),
            ],
        ),
        (
            "none",
            vec![
                open(),
                all(),
                Expect("[0|0]"),
                Pass(&[1]),
                Tell(|| Msg::Unstash(0)),
                Expect("1 [0|0]"),
            ],
        ),
        (
            "no more than there are",
            vec![
                Pass(&[1]),
                open(),
                Tell(|| Msg::Unstash(9)),
                Expect("[1|0] 1"),
            ],
        ),
        (
            "twice: in order",
            vec![
                Pass(&[1, 2, 3]),
                open(),
                Tell(|| Msg::Unstash(1)),
                Tell(|| Msg::Unstash(1)),
                Expect("[1|2] 1 [1|1] 2"),
            ],
        ),
        (
            "stashed while unstashing: the next time",
            vec![
                Pass(&[1, 2]),
                all(),
                Expect("[2|0]"),
                open(),
                all(),
                Expect("[2|0] 1 2"),
            ],
        ),
        (
            "a message that stashes itself again and again",
            vec![
                Tell(|| Msg::Again(2)),
                all(),
                all(),
                Expect("[1|0] [1|0] again"),
            ],
        ),
        (
            "closed while unstashing",
            vec![
                Pass(&[1, 2]),
                Tell(|| Msg::Open(true)),
                close(),
                Pass(&[3]),
                all(),
                Expect("[3|0]"),
                open(),
                all(),
                Expect("[3|0] 1 2 3"),
            ],
        ),
        (
            "the bound",
            vec![
                Pass(&[1, 2, 3, 4, 5, 6]),
                Expect("full:5 full:6"),
                open(),
                all(),
                Expect("[4|0] 1 2 3 4"),
            ],
        ),
        (
            "the bound is free again",
            vec![
                Pass(&[1, 2, 3, 4]),
                open(),
                all(),
                close(),
                Pass(&[5, 6, 7, 8, 9]),
                Expect("[4|0] 1 2 3 4 full:9"),
            ],
        ),
        (
            "cleared",
            vec![
                Pass(&[1, 2]),
                Tell(|| Msg::Clear),
                open(),
                all(),
                Expect("cleared:2 [0|0]"),
                Dead(""),
            ],
        ),
        (
            "over a restart",
            vec![
                Pass(&[1, 2]),
                Tell(|| Msg::Fail),
                open(),
                all(),
                Expect("[2|0] 1 2"),
                Dead(""),
            ],
        ),
        (
            "a failure in the middle: the rest waits for the new one",
            vec![
                open(),
                close(),
                Pass(&[1, 2]),
                Tell(|| Msg::FailMidway),
                open(),
                Expect(""),
                all(),
                Expect("[2|0] 1 2"),
                Dead(""),
            ],
        ),
        (
            "stopped",
            vec![
                Pass(&[1, 2]),
                Expect(""),
                Stop,
                Pass(&[]),
                Expect(""),
                Dead("1 2"),
            ],
        ),
        (
            "stopped in the middle",
            vec![
                Pass(&[1, 2]),
                Tell(|| Msg::StopMidway),
                Pass(&[3]),
                Expect(""),
                Dead("1 2 3"),
            ],
        ),
        (
            "killed",
            vec![Pass(&[1, 2]), Expect(""), Kill, Expect(""), Dead("1 2")],
        ),
        (
            "drained: what is stashed is not handled",
            vec![
                Pass(&[1, 2]),
                Pass(&[3]),
                Expect(""),
                Drain,
                Expect(""),
                Dead("1 2 3"),
            ],
        ),
        (
            "drained: what was unstashed is",
            vec![
                Pass(&[1, 2]),
                open(),
                all(),
                Drain,
                Expect("[2|0] 1 2"),
                Dead(""),
            ],
        ),
        (
            "suspended in the middle",
            vec![
                Pass(&[1, 2]),
                open(),
                close(),
                open(),
                Tell(|| Msg::Suspend),
                Pass(&[3]),
                Expect(""),
                Resume,
                Expect("1 2 3"),
            ],
        ),
    ];
    for (name, steps) in &cases {
        for mailbox in [MailboxOptions::unbounded(), MailboxOptions::bounded(64)] {
            check_seeds(10, |sim| {
                let (log, dead, count) = (Log::default(), Log::default(), Count::default());
                let letters = dead.clone();
                *sim = Sim::builder(sim.seed())
                    .on_dead_letter(move |letter| {
                        assert_eq!(letter.reason, DeadLetterReason::Stopped);
                        if let Some(Msg::Pass(n, _)) = letter.message.downcast_ref() {
                            letters.push(n.to_string());
                        }
                    })
                    .build();
                let options = SpawnOptions::new().stash_capacity(4).mailbox(mailbox);
                let made = log.clone();
                let door = sim.spawn_with(options, move || Door {
                    open: false,
                    log: made.clone(),
                });
                let door = door.unwrap();
                for (number, step) in steps.iter().enumerate() {
                    match step {
                        Pass(numbers) => {
                            for n in *numbers {
                                door.tell(Msg::Pass(*n, Some(count.one()))).unwrap();
                            }
                        }
                        Tell(make) => door.tell(make()).unwrap(),
                        Stop => door.stop(),
                        Drain => door.stop_gracefully(),
                        Kill => door.kill(),
                        Resume => door.resume(),
                        Expect(expected) => {
                            sim.run_until_idle();
                            assert_eq!(log.line(), *expected, "{name}, step {number}");
                        }
                        Dead(expected) => {
                            assert_eq!(dead.line(), *expected, "{name}, step {number}")
                        }
                    }
                }
                door.kill();
                sim.run_until_idle();
                assert_eq!(count.alive(), 0, "{name}: each message is dropped once");
            });
        }
    }
}

#[test]
fn row74_a_timer_comes_before_what_was_unstashed() {
    struct Ticks(Log);
    #[derive(Clone)]
    enum Tick {
        Begin,
        Stashed,
        Due,
    }
    impl Actor for Ticks {
        type Msg = Tick;
        async fn handle(&mut self, msg: Tick, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
            match msg {
                Tick::Begin => {
                    let tick = hikyaku_core::Timer::once(Duration::from_millis(1), Tick::Due);
                    cx.start_timer("t", tick)?;
                    for _ in 0..2 {
                        cx.stash(Tick::Stashed)?;
                    }
                    cx.suspend(SuspendReason::UserDefined, ResumeCondition::Explicit)?;
                    cx.unstash_all();
                }
                Tick::Stashed => self.0.push("s"),
                Tick::Due => self.0.push("t"),
            }
            Ok(())
        }
    }
    check_seeds(10, |sim| {
        let log = Log::default();
        let made = log.clone();
        let ticks = sim.spawn(move || Ticks(made.clone())).unwrap();
        ticks.tell(Tick::Begin).unwrap();
        sim.run_for(Duration::from_millis(5));
        assert_eq!(log.line(), "");
        ticks.resume();
        sim.run_until_idle();
        assert_eq!(log.line(), "t s s");
    });
}
