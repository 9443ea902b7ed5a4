//! What becomes of actors that fail where supervision is not built in.

use crate::puppet::{Do, Hook, Log, Puppet, child_of, mortal, within};
use hikyaku_core::{
    Actor, BuildError, Context, Escalation, Failure, RestartPolicy, SpawnError, SpawnOptions,
    StopCause, Supervision, System, SystemState,
};
use hikyaku_testkit::{Sim, check_seeds};

#[test]
fn one_that_fails_is_stopped_after_its_children() {
    check_seeds(50, |sim| {
        let log = Log::default();
        let parent = sim.spawn(Puppet::factory("p", &log)).unwrap();
        let other = sim.spawn(Puppet::factory("o", &log)).unwrap();
        for name in ["a", "b"] {
            child_of(sim, &parent, mortal(), Puppet::factory(name, &log));
        }
        sim.run_until_idle();
        log.take();
        assert!(parent.tell(Do::Fail("as asked")).is_ok());
        assert!(parent.tell(Do::Note(1)).is_ok());
        sim.run_until_idle();
        assert_eq!(log.line(), "b- a- p-");
        let cause = sim.block_on(parent.stopped());
        assert!(matches!(cause, StopCause::Failed(failure) if failure.to_string() == "as asked"));
        let metrics = sim.system().metrics();
        assert_eq!((metrics.failures, metrics.restarts), (1, 0));
        assert_eq!((metrics.live_actors, metrics.dead_letters), (1, 1));
        assert!(within(sim, &other, |cx| cx.children()).is_some());
    });
}

#[test]
fn one_whose_start_fails_ends_and_its_parent_goes_on() {
    check_seeds(50, |sim| {
        let log = Log::default();
        let parent = sim.spawn(Puppet::factory("p", &log)).unwrap();
        let its = log.clone();
        let factory = move || Puppet::new("c", &its).started(&Hook::Fail);
        let child = child_of(sim, &parent, SpawnOptions::new(), factory);
        sim.run_until_idle();
        assert!(!child.is_alive());
        assert_eq!(within(sim, &parent, |cx| cx.children()), Some(0));
    });
}

#[test]
fn a_failure_breaks_links() {
    check_seeds(50, |sim| {
        let log = Log::default();
        let [a, b] = ["a", "b"].map(|name| sim.spawn(Puppet::factory(name, &log)).unwrap());
        let other = b.clone();
        within(sim, &a, move |cx| cx.link(&other).unwrap());
        sim.run_until_idle();
        assert!(b.tell(Do::Fail("as asked")).is_ok());
        sim.run_until_idle();
        assert!(!a.is_alive() && !b.is_alive());
        assert_eq!(sim.system().metrics().failures, 2);
    });
}

/// Finds that there is no ground to go on.
struct Ruined;

impl Actor for Ruined {
    type Msg = ();

    async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
        Err(Failure::msg("no ground").fatal())
    }
}

#[test]
fn a_fatal_failure_stops_the_system_unless_told_otherwise() {
    for (escalation, state) in [
        (Escalation::StopSystem, SystemState::Stopped),
        (Escalation::StopActor, SystemState::Running),
    ] {
        let mut sim = Sim::builder(7).escalation(escalation).build();
        let parent = sim.spawn(Puppet::factory("p", &Log::default())).unwrap();
        let child = within(&mut sim, &parent, |cx| cx.spawn(|| Ruined).unwrap()).unwrap();
        assert!(child.tell(()).is_ok());
        sim.run_until_idle();
        assert!(!child.is_alive());
        assert_eq!(sim.system().state(), state);
    }
}

#[test]
fn what_needs_supervision_is_refused() {
    let (system, _workers) = System::builder("test").build().unwrap();
    let log = Log::default();
    let plain = SpawnOptions::new();
    let refused = [
        plain.clone().supervision(Supervision::one_for_one()),
        plain.clone().restart(RestartPolicy::Permanent),
        plain.clone().restart(RestartPolicy::Transient),
        plain.clone().significant(),
    ];
    for options in refused {
        let spawned = system.spawn_with(options, Puppet::factory("a", &log));
        assert!(matches!(spawned, Err(SpawnError::InvalidOptions(_))));
    }
    for options in [plain, mortal()] {
        assert!(
            system
                .spawn_with(options, Puppet::factory("a", &log))
                .is_ok()
        );
    }
    let builder = System::builder("test").supervision(Supervision::one_for_one());
    assert!(matches!(builder.build(), Err(BuildError::NoSupervision)));
}

#[test]
fn no_child_is_made_anew() {
    check_seeds(20, |sim| {
        let log = Log::default();
        let parent = sim.spawn(Puppet::factory("p", &log)).unwrap();
        let factory = Puppet::factory("c", &log);
        let child = child_of(sim, &parent, SpawnOptions::new(), factory);
        let index = child.index();
        assert_eq!(
            within(sim, &parent, move |cx| cx.restart_child(index)),
            Some(false)
        );
        assert!(child.is_alive());
    });
}
