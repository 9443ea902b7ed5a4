//! The suite on the seeded driver, with either kind of coordinator.

use hikyaku_core::System;
use hikyaku_testkit::suite::Runtime;
use hikyaku_testkit::{Sim, SimBuilder, conformance_suite};
use std::cell::RefCell;
use std::future::Future;

struct Simulated {
    system: System,
    sim: RefCell<Sim>,
}

impl Simulated {
    fn new(builder: SimBuilder) -> Self {
        let sim = builder.build();
        Self {
            system: sim.system().clone(),
            sim: RefCell::new(sim),
        }
    }

    fn stealing(seed: u64) -> Self {
        let workers = 1 + usize::try_from(seed % 4).expect("a small number");
        Self::new(Sim::builder(seed).workers(workers))
    }

    fn single_core(seed: u64) -> Self {
        Self::new(Sim::builder(seed).single_core())
    }
}

impl Runtime for Simulated {
    fn system(&self) -> &System {
        &self.system
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.sim.borrow_mut().block_on(future)
    }

    /// Nothing that was sent or woken is left over.
    fn shutdown(self) {
        self.sim.into_inner().run_until_idle();
    }
}

conformance_suite!(simulated_stealing, Simulated::stealing, seeds = 20);
conformance_suite!(simulated_single_core, Simulated::single_core, seeds = 20);
