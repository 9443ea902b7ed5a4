//! Values attached to a system.

use crate::puppet::{Count, Counted, Log, Puppet};
use hikyaku_core::System;
use hikyaku_testkit::{Sim, check_seeds};

struct Settings(u32);

/// Holds the system that holds it.
struct Pool {
    _system: System,
    _counted: Counted,
}

#[test]
fn an_extension_is_made_once_and_found_by_its_type() {
    let sim = Sim::new(1);
    assert!(sim.find_extension::<Settings>().is_none());
    assert_eq!(sim.extension(|| Settings(1)).0, 1);
    assert_eq!(sim.extension(|| Settings(2)).0, 1);
    assert_eq!(sim.find_extension::<Settings>().unwrap().0, 1);
    assert_eq!(*sim.extension(|| 7_u32), 7);
    assert!(sim.find_extension::<u64>().is_none());
}

#[test]
fn an_extension_that_is_made_while_it_is_made_is_the_first_one() {
    let sim = Sim::new(1);
    let outer = sim.extension(|| {
        assert_eq!(sim.extension(|| Settings(1)).0, 1);
        Settings(2)
    });
    assert_eq!(outer.0, 1);
}

#[test]
fn an_extension_ends_with_its_system_though_it_holds_it() {
    check_seeds(10, |sim| {
        let count = Count::default();
        let make = |sim: &Sim| Pool {
            _system: sim.system().clone(),
            _counted: count.one(),
        };
        drop(sim.extension(|| make(sim)));
        sim.spawn(Puppet::factory("a", &Log::default())).unwrap();
        assert_eq!(count.alive(), 1);
        let terminated = sim.graceful_shutdown();
        sim.block_on(terminated);
        assert_eq!(count.alive(), 0);
        assert!(sim.find_extension::<Pool>().is_none());
        let late = sim.extension(|| make(sim));
        assert_eq!(count.alive(), 1);
        drop(late);
        assert_eq!(count.alive(), 0);
    });
}
