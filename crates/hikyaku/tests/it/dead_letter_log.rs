//! The log of dead letters.

use hikyaku::{Actor, Context, DeadLetterLog, Failure};
use hikyaku_testkit::Sim;
use std::sync::{Arc, Mutex};
use std::time::Duration;

struct Deaf;

impl Actor for Deaf {
    type Msg = u32;

    async fn handle(&mut self, _: u32, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        Ok(())
    }
}

/// Loses so many messages.
fn lose(sim: &mut Sim, letters: u32) {
    let actor = sim.spawn(|| Deaf).unwrap();
    actor.tell_all(0..letters).unwrap();
    actor.stop();
    sim.run_until_idle();
    sim.take_effects();
}

#[test]
fn row80_the_log_is_throttled_and_starts_again() {
    struct Case {
        what: &'static str,
        most: usize,
        /// Letters, then seconds.
        acts: &'static [(u32, u64)],
        lines: &'static str,
    }
    let cases = [
        Case {
            what: "fewer than allowed",
            most: 3,
            acts: &[(2, 0)],
            lines: "letter letter",
        },
        Case {
            what: "as many as allowed",
            most: 2,
            acts: &[(2, 0)],
            lines: "letter letter rest:10s",
        },
        Case {
            what: "more than allowed; the rest is told at the end",
            most: 1,
            acts: &[(5, 3), (2, 3)],
            lines: "letter rest:10s left:6",
        },
        Case {
            what: "the next window",
            most: 1,
            acts: &[(3, 10), (3, 10), (1, 0)],
            lines: "letter rest:10s left:2 letter rest:10s left:2 letter rest:10s",
        },
        Case {
            what: "the next window, when nothing was left out",
            most: 2,
            acts: &[(1, 9), (1, 1), (2, 0)],
            lines: "letter letter rest:1s letter letter rest:10s",
        },
        Case {
            what: "only what was left out",
            most: 0,
            acts: &[(3, 10), (1, 0)],
            lines: "left:3 left:1",
        },
    ];
    for Case {
        what,
        most,
        acts,
        lines,
    } in cases
    {
        let mut sim = Sim::new(1);
        let written = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&written);
        DeadLetterLog::new(move |line| {
            let short = match line.split_once(" more dead letters are logged for ") {
                Some((_, rest)) => format!("rest:{rest}"),
                None if line.starts_with("dead letter for actor ") => "letter".into(),
                None => line
                    .split_once(" more dead letters were not logged")
                    .map_or(line.into(), |(n, _)| format!("left:{n}")),
            };
            to.lock().unwrap().push(short);
        })
        .at_most(most, Duration::from_secs(10))
        .clock(sim.clock().clone())
        .attach(&sim);
        for &(letters, seconds) in acts {
            lose(&mut sim, letters);
            sim.advance(Duration::from_secs(seconds));
        }
        let end = sim.graceful_shutdown();
        sim.block_on(end);
        assert_eq!(written.lock().unwrap().join(" "), lines, "{what}");
    }
}
