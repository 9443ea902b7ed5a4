//! Runs are recorded, replayed and shortened.

use hikyaku_core::{Actor, ActorRef, Context, Failure, Reply};
use hikyaku_testkit::{Recording, RecordingError, Sim, check_seeds, explore, replay, search};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Money that must not go below zero.
struct Account(i64);

enum AccountMsg {
    Balance(Reply<i64>),
    Withdraw(i64),
}

impl Actor for Account {
    type Msg = AccountMsg;

    async fn handle(&mut self, msg: AccountMsg, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        match msg {
            AccountMsg::Balance(reply) => {
                let _ = reply.send(self.0);
            }
            AccountMsg::Withdraw(amount) => self.0 -= amount,
        }
        Ok(())
    }
}

/// Asks whether there is enough, and then takes it: another may have come in between.
struct Teller(ActorRef<AccountMsg>);

impl Actor for Teller {
    type Msg = (i64, Reply<()>);

    async fn handle(
        &mut self,
        (amount, done): Self::Msg,
        _: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        if self.0.ask(AccountMsg::Balance).await? >= amount {
            let _ = self.0.tell(AccountMsg::Withdraw(amount));
        }
        let _ = done.send(());
        Ok(())
    }
}

/// Chooses whether the test below fails.
const PLANT: &str = "HIKYAKU_TESTKIT_PLANT";

/// Three customers with a teller each, who come one after the other, by and large.
fn bank(sim: &mut Sim) -> i64 {
    let account = sim.spawn(|| Account(100)).unwrap();
    let tellers: Vec<_> = (0..3)
        .map(|_| {
            let account = account.clone();
            sim.spawn(move || Teller(account.clone())).unwrap()
        })
        .collect();
    for (teller, amount) in tellers.into_iter().zip([10, 80, 70]) {
        sim.spawn_task(async move { teller.ask(|done| (amount, done)).await });
    }
    sim.run_until_idle();
    sim.block_on(account.ask(AccountMsg::Balance)).unwrap()
}

#[test]
fn row89_a_planted_race_is_found_shortened_and_replayed() {
    let last = Cell::new(0);
    let test = |seed: u64| {
        let mut sim = Sim::builder(seed).workers(2).build();
        let balance = bank(&mut sim);
        last.set(sim.trace_hash());
        assert!(balance >= 0, "overdrawn: {balance}");
    };
    let found = search(0..1000, test).expect("one of so many runs has the race");
    assert!(found.repeats());
    assert_eq!(found.message(), "overdrawn: -60");
    let (before, after) = (found.recording().len(), found.shortest().len());
    assert!(after < before, "{found:?}");
    let surprises = |recording: &Recording| {
        let text = recording.to_string();
        let decisions = text.split_once(':').unwrap().1.split(',');
        decisions.filter(|it| !it.starts_with(['z', '0'])).count()
    };
    assert!(surprises(found.shortest()) <= 3, "{found:?}");

    // From its text, as from the command line; and each time the same.
    for recording in [found.recording(), found.shortest()] {
        let again: Recording = recording.to_string().parse().unwrap();
        assert_eq!(again, *recording);
        let mut hashes = Vec::new();
        for _ in 0..2 {
            let panic = catch_unwind(AssertUnwindSafe(|| replay(&again, test))).unwrap_err();
            let text = panic.downcast::<String>().unwrap();
            assert_eq!(*text, "overdrawn: -60");
            hashes.push(last.get());
        }
        assert_eq!(hashes[0], hashes[1]);
    }

    // Without any surprise there is no race.
    let plain = format!("{}:", found.seed()).parse().unwrap();
    replay(&plain, test);
}

/// Fails when the next test runs it in a process of its own.
#[test]
fn planted() {
    let planted = std::env::var_os(PLANT).is_some();
    check_seeds(if planted { 1000 } else { 1 }, |sim| {
        let balance = bank(sim);
        assert!(balance >= 0 || !planted, "overdrawn: {balance}");
    });
}

#[test]
#[cfg(not(miri))]
fn row89_the_commands_that_are_printed_run_the_failure_again() {
    let run = |variable: Option<&str>| {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "replay::planted", "--nocapture"]);
        for name in ["SEED", "SEEDS", "TRACE"] {
            command.env_remove(format!("HIKYAKU_{name}"));
        }
        command.env(PLANT, "");
        command.envs(variable.and_then(|it| it.split_once('=')));
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), text)
    };
    let printed = |text: &str, name: &str| {
        let variable = text.split_whitespace().find(|it| it.starts_with(name));
        variable
            .unwrap_or_else(|| panic!("{name} in {text}"))
            .to_owned()
    };
    let (passed, text) = run(None);
    assert!(
        !passed && text.contains("--exact replay::planted"),
        "{text}"
    );
    let (seed, trace) = (
        printed(&text, "HIKYAKU_SEED="),
        printed(&text, "HIKYAKU_TRACE="),
    );
    for variable in [&seed, &trace] {
        let (passed, text) = run(Some(variable));
        assert!(
            !passed && text.contains("overdrawn: "),
            "{variable}: {text}"
        );
    }
    assert_eq!(printed(&run(Some(&seed)).1, "HIKYAKU_TRACE="), trace);
    assert!(run(Some("HIKYAKU_TRACE=0:")).0);
    let (passed, text) = run(Some("HIKYAKU_TRACE=0:x"));
    assert!(
        !passed && text.contains("HIKYAKU_TRACE=0:x: part 0"),
        "{text}"
    );
}

#[test]
fn row89_a_recording_replays_to_the_same_trace() {
    explore(50, |seed| {
        let mut sim = Sim::new(seed);
        let balance = bank(&mut sim);
        // Another simulation of the same test writes to the same tape, after this.
        let recording = sim.recording();
        let mut again = Sim::replay(&recording).build();
        assert_eq!(bank(&mut again), balance);
        assert_eq!(again.trace_hash(), sim.trace_hash());
        assert_eq!(again.recording(), recording);
    });
}

#[test]
fn what_does_not_fail_is_not_found() {
    assert!(search(0..20, |seed| drop(Sim::new(seed))).is_none());
}

#[test]
fn a_test_that_fails_by_chance_of_its_own_is_told() {
    let runs = Cell::new(0);
    let found = search(0..20, |seed| {
        let mut sim = Sim::new(seed);
        sim.run_until_idle();
        runs.set(runs.get() + 1);
        assert!(runs.get() != 5, "only once");
    })
    .unwrap();
    assert_eq!((found.seed(), found.repeats()), (4, false));
    assert_eq!(found.shortest(), found.recording());
    assert_eq!(found.message(), "only once");
}

#[test]
fn a_run_that_fails_elsewhere_is_not_a_shorter_one() {
    // Small numbers fail too, but at another line.
    let test = |seed: u64| {
        let mut sim = Sim::new(seed);
        match sim.below(100) {
            60.. => panic!("large"),
            20.. => {}
            _ => panic!("small"),
        }
    };
    let seed = (0..).find(|seed| Sim::new(*seed).below(100) >= 60).unwrap();
    let found = search([seed], test).unwrap();
    assert_eq!(found.message(), "large");
    // The shape of the system is decided first.
    assert_eq!(found.shortest().to_string(), format!("{seed}:z2,60"));
}

#[test]
fn a_replay_that_goes_in_circles_is_given_up() {
    // With plain decisions a task does not end.
    let test = |seed: u64| {
        let mut sim = Sim::builder(seed).build();
        let lucky = sim.below(2);
        if lucky == 0 {
            sim.spawn_task(std::future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                std::task::Poll::<()>::Pending
            }));
        }
        sim.run_until_idle();
        panic!("as planned");
    };
    let seed = (0..).find(|seed| Sim::new(*seed).below(2) == 1).unwrap();
    let found = search([seed], test).unwrap();
    assert_eq!(found.message(), "as planned");
    assert_eq!(found.shortest().to_string(), format!("{seed}:z2,1"));
}

#[test]
fn a_text_that_is_no_recording_is_refused() {
    let decision = |place| Err(RecordingError::Decision { place });
    let cases = [
        ("7:z4,1,0,3", Ok("7:z4,1,0,3")),
        ("7:0,0,0,1,0,0", Ok("7:z3,1")),
        ("7:", Ok("7:")),
        (" 7:z99\n", Ok("7:")),
        ("18446744073709551615:1", Ok("18446744073709551615:1")),
        ("", Err(RecordingError::Seed)),
        ("7", Err(RecordingError::Seed)),
        ("x:1", Err(RecordingError::Seed)),
        ("-1:1", Err(RecordingError::Seed)),
        ("7:1,", decision(1)),
        ("7:1,y", decision(1)),
        ("7:-1", decision(0)),
        ("7:4294967296", decision(0)),
        ("7:3,z", decision(1)),
        ("7:3,z99999999999", decision(1)),
    ];
    for (text, expected) in cases {
        let recording = text.parse::<Recording>();
        let shown = recording.map(|recording| recording.to_string());
        assert_eq!(shown, expected.map(str::to_owned), "{text:?}");
    }
}
