//! Stash, suspension, restarts and priorities at once, against a naive model.

use crate::puppet::Log;
use hikyaku_core::{
    Actor, Context, DeadLetterReason, Failure, MailboxOptions, Priority, ResumeCondition,
    SpawnOptions, Supervision, SuspendReason,
};
use hikyaku_testkit::{Sim, check_seeds};
use std::collections::VecDeque;

const CAPACITY: usize = 4;
const PRIORITIES: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Msg {
    number: u64,
    priority: u8,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    /// Log the number.
    Note,
    /// Stash it, to be noted then.
    Stash,
    /// Stash it as it is.
    StashAgain,
    Unstash(usize),
    /// Drop what is stashed.
    Clear,
    Suspend,
    /// Send another note, as urgent as this message.
    Tell,
    /// Suspend, unstash so many, and fail.
    Fail(usize),
}

impl Msg {
    fn note(self) -> Self {
        Self {
            what: What::Note,
            ..self
        }
    }
}

struct Real(Log);

impl Actor for Real {
    type Msg = Msg;

    async fn started(&mut self, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.0.push("+");
        Ok(())
    }

    async fn handle(&mut self, msg: Msg, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        let log = &self.0;
        let mut stash = |msg: Msg| {
            if let Err(full) = cx.stash(msg) {
                assert_eq!(full.0, msg);
                log.push(format!("full:{}", msg.number));
            }
        };
        match msg.what {
            What::Note => log.push(msg.number.to_string()),
            What::Stash => stash(msg.note()),
            What::StashAgain => stash(msg),
            What::Unstash(most) => {
                let count = cx.unstash(most);
                log.push(format!("[{count}|{}]", cx.stashed()));
            }
            What::Clear => {
                let cleared: Vec<_> = cx.clear_stash().map(|msg| msg.number).collect();
                log.push(format!("cleared:{cleared:?}"));
            }
            What::Suspend => cx.suspend(SuspendReason::UserDefined, ResumeCondition::Explicit)?,
            What::Tell => cx.me().tell(msg.note())?,
            What::Fail(most) => {
                cx.suspend(SuspendReason::UserDefined, ResumeCondition::Explicit)?;
                cx.unstash(most);
                return Err(Failure::msg("as asked"));
            }
        }
        Ok(())
    }
}

/// What the actor should do, said as simply as possible.
#[derive(Default)]
struct Model {
    /// In the order in which they were sent.
    queue: Vec<Msg>,
    replay: VecDeque<Msg>,
    stashed: VecDeque<Msg>,
    /// How many suspensions are in force.
    suspended: usize,
    log: Vec<String>,
}

impl Model {
    fn take(&mut self) -> Option<Msg> {
        if self.suspended > 0 {
            return None;
        }
        if let Some(msg) = self.replay.pop_front() {
            return Some(msg);
        }
        let urgent = self.queue.iter().map(|msg| msg.priority).max()?;
        let place = self.queue.iter().position(|msg| msg.priority == urgent)?;
        Some(self.queue.remove(place))
    }

    fn unstash(&mut self, most: usize) -> usize {
        let count = most.min(self.stashed.len());
        self.replay.extend(self.stashed.drain(..count));
        count
    }

    fn stash(&mut self, msg: Msg) {
        if self.stashed.len() < CAPACITY {
            self.stashed.push_back(msg);
        } else {
            self.log.push(format!("full:{}", msg.number));
        }
    }

    fn run(&mut self) {
        while let Some(msg) = self.take() {
            match msg.what {
                What::Note => self.log.push(msg.number.to_string()),
                What::Stash => self.stash(msg.note()),
                What::StashAgain => self.stash(msg),
                What::Unstash(most) => {
                    let count = self.unstash(most);
                    self.log.push(format!("[{count}|{}]", self.stashed.len()));
                }
                What::Clear => {
                    let cleared: Vec<_> = self.stashed.drain(..).map(|msg| msg.number).collect();
                    self.log.push(format!("cleared:{cleared:?}"));
                }
                What::Suspend => self.suspended += 1,
                What::Tell => self.queue.push(msg.note()),
                What::Fail(most) => {
                    // That the old one has suspended itself is over.
                    self.unstash(most);
                    self.log.push("+".into());
                }
            }
        }
    }

    /// The numbers of what nobody has handled.
    fn left(self) -> Vec<u64> {
        let all = self.replay.into_iter().chain(self.stashed);
        let mut left: Vec<_> = all.chain(self.queue).map(|msg| msg.number).collect();
        left.sort_unstable();
        left
    }
}

fn any_message(sim: &mut Sim, number: u64) -> Msg {
    let what = match sim.below(16) {
        0..5 => What::Note,
        5..9 => What::Stash,
        9 => What::StashAgain,
        10 | 11 => What::Unstash(sim.below(CAPACITY + 2)),
        12 => What::Clear,
        13 => What::Suspend,
        14 => What::Tell,
        _ => What::Fail(sim.below(3)),
    };
    let priority = sim.below(PRIORITIES) as u8;
    Msg {
        number,
        priority,
        what,
    }
}

#[test]
fn row07_row15_row40_row74_an_actor_does_as_the_model_says() {
    check_seeds(if cfg!(miri) { 5 } else { 2000 }, |sim| {
        let (log, dead) = (Log::default(), Log::default());
        let letters = dead.clone();
        let mut sim = Sim::builder(sim.seed())
            .supervision(Supervision::one_for_one().unlimited_restarts())
            .on_dead_letter(move |letter| {
                assert_eq!(letter.reason, DeadLetterReason::Stopped);
                let msg: &Msg = letter.message.downcast_ref().unwrap();
                letters.push(msg.number.to_string());
            })
            .build();
        let mailbox = match sim.below(3) {
            0 => MailboxOptions::bounded(1000),
            _ => MailboxOptions::unbounded(),
        };
        let mailbox = mailbox.priority(|msg: &Msg| Priority(msg.priority));
        let options = SpawnOptions::new()
            .mailbox(mailbox)
            .stash_capacity(CAPACITY);
        let made = log.clone();
        let real = sim.spawn_with(options, move || Real(made.clone())).unwrap();
        sim.run_until_idle();
        assert_eq!(log.line(), "+");

        let mut model = Model::default();
        let mut number = 0;
        for _ in 0..12 {
            // All of it is there before the actor runs: suspensions and resumes are seen first, in their order.
            for _ in 0..sim.below(10) {
                match sim.below(8) {
                    0 => {
                        let (reason, until) =
                            (SuspendReason::UserDefined, ResumeCondition::Explicit);
                        real.suspend(reason, until).unwrap();
                        model.suspended += 1;
                    }
                    1 => {
                        real.resume();
                        model.suspended = model.suspended.saturating_sub(1);
                    }
                    2 => {
                        real.resume_all();
                        model.suspended = 0;
                    }
                    _ => {
                        number += 1;
                        let msg = any_message(&mut sim, number);
                        real.tell(msg).unwrap();
                        model.queue.push(msg);
                    }
                }
            }
            sim.run_until_idle();
            model.run();
            assert_eq!(log.line(), std::mem::take(&mut model.log).join(" "));
            let stats = sim.block_on(real.suspension()).unwrap();
            assert_eq!(stats.nesting, model.suspended);
        }
        real.stop();
        sim.run_until_idle();
        let mut dead: Vec<u64> = dead.take().iter().map(|n| n.parse().unwrap()).collect();
        dead.sort_unstable();
        assert_eq!(dead, model.left());
    });
}
