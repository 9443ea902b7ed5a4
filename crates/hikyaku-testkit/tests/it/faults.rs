//! Faults are injected where and as often as the seed says, and are part of the recording.

use hikyaku_core::{Actor, ActorRef, Context, Failure, RestartPolicy, SpawnOptions, StopCause};
use hikyaku_testkit::{Effect, Faults, Sim, check_seeds, explore, search};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

/// Passes on what it gets, if nothing goes wrong.
struct Relay {
    faults: Faults,
    to: ActorRef<u32>,
}

impl Actor for Relay {
    type Msg = u32;

    async fn handle(&mut self, n: u32, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.faults.point().await?;
        let _ = self.to.tell(n);
        Ok(())
    }
}

fn relay(sim: &Sim, faults: Faults, to: ActorRef<u32>) -> ActorRef<u32> {
    let factory = move || Relay {
        faults: faults.clone(),
        to: to.clone(),
    };
    let options = SpawnOptions::new().restart(RestartPolicy::Temporary);
    sim.spawn_with(options, factory).unwrap()
}

fn is_failure(effect: &Effect, text: &str) -> bool {
    matches!(effect, Effect::Failed { failure, .. } if failure == text)
}

#[test]
fn row89_handlers_fail_at_fault_points() {
    type Kind = fn(Faults) -> Faults;
    let kinds: [(&str, Kind, &str); 5] = [
        ("never", |faults| faults, ""),
        ("pauses", |faults| faults.pausing(2), ""),
        ("failures", |faults| faults.failing(8), "injected failure"),
        (
            "both",
            |faults| faults.failing(8).pausing(2),
            "injected failure",
        ),
        (
            "panics",
            |faults| faults.panicking(8),
            "panicked: injected panic",
        ),
    ];
    for (name, kind, text) in kinds {
        let lengths = RefCell::new(BTreeSet::new());
        check_seeds(60, |sim| {
            let mut probe = sim.probe();
            let relay = relay(sim, kind(sim.faults()), probe.actor());
            relay.tell_all(0..8).unwrap();
            sim.run_until_idle();
            let failed = sim.metrics().failures;
            let effects = sim.take_effects();
            let (first, letters) = effects
                .split_first()
                .map_or((None, &[][..]), |(first, rest)| (Some(first), rest));
            assert_eq!(
                first.is_some_and(|first| is_failure(first, text)),
                failed == 1,
                "{name}: {effects:?}"
            );
            let arrived = 8 - failed - letters.len();
            assert_eq!(
                probe.expect_n(sim, arrived),
                (0..arrived as u32).collect::<Vec<_>>()
            );
            probe.expect_none(sim);
            lengths.borrow_mut().insert(arrived);
        });
        let lengths = lengths.into_inner();
        if text.is_empty() {
            assert_eq!(lengths, [8].into(), "{name}");
        } else {
            assert!(cfg!(miri) || lengths.len() > 4, "{name}: {lengths:?}");
        }
    }
}

#[test]
fn row89_a_delayed_way_keeps_its_order_and_is_overtaken() {
    let overtaken = Cell::new(0);
    check_seeds(100, |sim| {
        let mut probe = sim.probe();
        let slow = sim.delayed(&probe.actor(), 20).unwrap();
        slow.tell_all(0..5).unwrap();
        drop(slow);
        let fast = probe.actor();
        sim.spawn_task(async move {
            for n in 10..15 {
                fast.send(n).await.unwrap();
            }
        });
        let arrived = probe.expect_n(sim, 10);
        let of = |sender: u32| arrived.iter().copied().filter(move |n| n / 10 == sender);
        assert!(of(0).eq(0..5) && of(1).eq(10..15), "{arrived:?}");
        overtaken.set(overtaken.get() + usize::from(!arrived.starts_with(&[0, 1, 2, 3, 4])));
        // The way ends with its last reference.
        sim.finish();
    });
    assert!(cfg!(miri) || overtaken.get() > 20, "{overtaken:?}");
}

#[test]
fn a_delayed_way_ends_when_its_target_has() {
    check_seeds(50, |sim| {
        let probe = sim.probe::<u32>();
        let slow = sim.delayed(&probe.actor(), 3).unwrap();
        probe.actor().stop();
        sim.run_until_idle();
        assert!(slow.tell(1).is_ok());
        sim.run_until_idle();
        assert!(slow.tell(2).is_err());
    });
}

#[test]
fn row89_actors_are_killed_within_so_many_steps() {
    let (killed, spared) = (Cell::new(0), Cell::new(0));
    check_seeds(200, |sim| {
        let mut probe = sim.probe();
        let name = SpawnOptions::new().name("victim");
        let (faults, to) = (sim.faults().pausing(1), probe.actor());
        let factory = move || Relay {
            faults: faults.clone(),
            to: to.clone(),
        };
        let victim = sim.spawn_with(name, factory).unwrap();
        victim.tell_all(0..8).unwrap();
        sim.kill_within(&victim, 80);
        sim.run_until_idle();
        let effects = sim.take_effects();
        let kill = Effect::Killed {
            actor: victim.index(),
        };
        if !effects.contains(&kill) {
            spared.set(spared.get() + 1);
            assert_eq!(probe.expect_n(sim, 8), [0, 1, 2, 3, 4, 5, 6, 7]);
            return;
        }
        killed.set(killed.get() + 1);
        assert!(matches!(sim.block_on(victim.stopped()), StopCause::Killed));
        let letters = effects.len() - 1;
        let arrived = 8 - letters;
        // The message in hand is lost with its handler.
        let read = probe.expect_n(sim, arrived.saturating_sub(1));
        assert!(read.into_iter().eq(0..arrived.saturating_sub(1) as u32));
    });
    assert!(
        cfg!(miri) || (killed.get() > 50 && spared.get() > 5),
        "{killed:?} {spared:?}"
    );
}

#[test]
fn row89_a_shortened_run_has_no_fault_that_it_does_not_need() {
    // Wrong if any message is lost, which takes a failure; pauses and kills of others do not matter.
    let test = |seed: u64| {
        let mut sim = Sim::new(seed);
        let probe = sim.probe();
        let faults = sim.faults().pausing(3).failing(20);
        let other = relay(&sim, faults.clone(), probe.actor());
        sim.kill_within(&other, 20);
        other.tell_all(0..5).unwrap();
        let relay = relay(&sim, faults, probe.actor());
        relay.tell_all(10..20).unwrap();
        sim.run_until_idle();
        assert!(relay.is_alive(), "a relay has failed");
    };
    let found = search(0..500, test).expect("one in twenty points fails");
    assert!(
        found.shortest().len() < found.recording().len(),
        "{found:?}"
    );
    let text = found.shortest().to_string();
    let decisions = text.split_once(':').unwrap().1;
    let surprises: Vec<&str> = decisions
        .split(',')
        .filter(|it| !it.starts_with(['z', '0']))
        .collect();
    assert_eq!(surprises, ["5"], "{found:?}");
}

#[test]
fn faults_are_the_same_when_they_are_replayed() {
    explore(30, |seed| {
        let run = |mut sim: Sim| {
            let probe = sim.probe();
            let relay = relay(&sim, sim.faults().pausing(2).failing(9), probe.actor());
            let slow = sim.delayed(&relay, 4).unwrap();
            sim.kill_within(&relay, 60);
            slow.tell_all(0..10).unwrap();
            sim.run_until_idle();
            (sim.take_effects(), sim.trace_hash(), sim.recording())
        };
        let first = run(Sim::new(seed));
        assert_eq!(run(Sim::replay(&first.2).build()), first);
    });
}
