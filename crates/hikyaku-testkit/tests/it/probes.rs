//! Probes: what they expect, and what they say when it does not come.

use hikyaku_core::{Actor, ActorRef, Clock, Context, Failure, Reply};
use hikyaku_testkit::{Probe, Sim, check_seeds};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn probe_with(sim: &mut Sim, numbers: &[u32]) -> Probe<u32> {
    let probe = sim.probe();
    let actor = probe.actor();
    let numbers = numbers.to_vec();
    sim.spawn_task(async move {
        for n in numbers {
            actor.send(n).await.unwrap();
        }
    });
    probe
}

#[test]
fn row89_probes_take_what_they_expect() {
    check_seeds(50, |sim| {
        let mut probe = probe_with(sim, &[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(probe.expect(sim), 1);
        assert_eq!(probe.expect_where(sim, |n| *n < 5), 2);
        assert_eq!(probe.fish(sim, |n| *n == 4), 4);
        assert_eq!(probe.expect_n(sim, 2), [5, 6]);
        probe.expect_all(sim, [8, 7]);
        probe.expect_none(sim);
    });
}

type Expectation = fn(&mut Probe<u32>, &mut Sim);

/// What is sent, what is expected, and what the failure says.
const FAILURES: [(&str, &[u32], Expectation, &str); 11] = [
    (
        "nothing comes",
        &[],
        |probe, sim| _ = probe.expect(sim),
        "a message was expected and none arrived; this probe of u32 has received nothing\n",
    ),
    (
        "nothing more comes",
        &[7],
        |probe, sim| _ = (probe.expect(sim), probe.expect(sim)),
        "a message was expected and none arrived; this probe of u32 has received\n    taken   7\n",
    ),
    (
        "another comes",
        &[7, 8],
        |probe, sim| _ = probe.expect_where(sim, |n| *n == 8),
        "7 is not the message expected; this probe",
    ),
    (
        "it is not among them",
        &[7, 8],
        |probe, sim| _ = probe.fish(sim, |n| *n == 9),
        "the message fished for did not arrive; this probe of u32 has received\n    taken   7\n    taken   8\n",
    ),
    (
        "too few come",
        &[7, 8],
        |probe, sim| drop(probe.expect_n(sim, 3)),
        "3 messages were expected and 2 arrived",
    ),
    (
        "others come",
        &[7, 9],
        |probe, sim| probe.expect_all(sim, [7, 8]),
        "9 is not among the messages expected, [8]",
    ),
    (
        "one of them comes twice",
        &[7, 7],
        |probe, sim| probe.expect_all(sim, [7, 8]),
        "7 is not among the messages expected, [8]",
    ),
    (
        "fewer come",
        &[7],
        |probe, sim| probe.expect_all(sim, [7, 8]),
        "2 messages were expected and 1 arrived",
    ),
    (
        "something comes",
        &[7],
        |probe, sim| probe.expect_none(sim),
        "nothing was expected, and 7 came",
    ),
    (
        "time passes",
        &[],
        |probe, sim| _ = probe.within(SECOND).expect(sim),
        "a message was expected and none arrived",
    ),
    (
        "something comes in the time",
        &[7],
        |probe, sim| probe.within(SECOND).expect_none(sim),
        "nothing was expected, and 7 came",
    ),
];

#[test]
fn row89_probes_say_what_they_have_received() {
    for (name, messages, expectation, text) in FAILURES {
        check_seeds(10, |sim| {
            let mut probe = probe_with(sim, messages);
            let panic = catch_unwind(AssertUnwindSafe(|| expectation(&mut probe, sim)));
            let panic = panic.expect_err(name).downcast::<String>().unwrap();
            let start = format!("seed {}: {text}", sim.seed());
            assert!(panic.starts_with(&start), "{name}: {panic}");
        });
    }
}

#[test]
fn row89_within_moves_the_clock_until_the_message_is_there() {
    check_seeds(50, |sim| {
        let mut probe = sim.probe();
        for n in [3, 1, 2] {
            let (system, actor) = (sim.system().clone(), probe.actor());
            sim.spawn_task(async move {
                system.sleep(SECOND * n).await.unwrap();
                actor.send(n).await.unwrap();
            });
        }
        probe.expect_none(sim);
        assert_eq!(probe.within(SECOND * 2).expect(sim), 1);
        assert_eq!(sim.clock().now(), SECOND);
        // The time is for all that are expected together.
        assert_eq!(probe.within(SECOND * 2).expect_n(sim, 2), [2, 3]);
        assert_eq!(sim.clock().now(), SECOND * 3);
        // The clock stands where it has to, also if nothing comes.
        probe.within(SECOND / 2).expect_none(sim);
        assert_eq!(sim.clock().now(), SECOND * 7 / 2);
    });
}

#[test]
fn row89_time_stands_still_until_it_is_needed() {
    check_seeds(20, |sim| {
        let mut probe = probe_with(sim, &[1]);
        assert_eq!(probe.within(SECOND).expect(sim), 1);
        assert_eq!(sim.clock().now(), Duration::ZERO);
        probe.within(SECOND).expect_none(sim);
        assert_eq!(sim.clock().now(), SECOND);
        // It was for that expectation alone.
        probe.expect_none(sim);
        assert_eq!(sim.clock().now(), SECOND);
        probe.within(Duration::from_nanos(7)).expect_none(sim);
        assert_eq!(sim.clock().now(), SECOND + Duration::from_nanos(7));
    });
}

#[derive(Debug)]
enum Query {
    Price(Reply<u32>),
    Note(u32),
}

struct Shop(ActorRef<Query>);

impl Actor for Shop {
    type Msg = Reply<u32>;

    async fn handle(
        &mut self,
        reply: Reply<u32>,
        _: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        let price = self.0.ask(Query::Price).await?;
        let _ = self.0.tell(Query::Note(price));
        let _ = reply.send(price);
        Ok(())
    }
}

#[test]
fn row89_a_probe_answers_in_the_place_of_an_actor() {
    check_seeds(50, |sim| {
        let mut probe = sim.probe();
        probe.reply_with(|query| match query {
            Query::Price(reply) => {
                let _ = reply.send(3);
                None
            }
            Query::Note(_) => Some(query),
        });
        let prices = probe.actor();
        let shop = sim.spawn(move || Shop(prices.clone())).unwrap();
        assert_eq!(sim.block_on(shop.ask(|reply| reply)), Ok(3));
        assert!(matches!(probe.expect(sim), Query::Note(3)));
        probe.expect_none(sim);

        // Or the test answers by hand.
        probe.reply_with(Some);
        let answer = sim.spawn_task({
            let shop = shop.clone();
            async move { shop.ask(|reply| reply).await }
        });
        match probe.expect(sim) {
            Query::Price(reply) => reply.send(4).unwrap(),
            Query::Note(_) => panic!("asked first"),
        }
        assert!(matches!(probe.expect(sim), Query::Note(4)));
        assert_eq!(sim.block_on(answer), Ok(4));
    });
}
