//! What the scenarios have in common: systems in tasks, and what is checked around each.

use board::{heap, print, println, stack};
use core::sync::atomic::Ordering;
use embassy_executor::Spawner;
use hikyaku_core::{MailboxOptions, SpawnOptions, System, SystemBuilder, SystemState, Worker};
use hikyaku_embassy::{EmbassyClock, EmbassyDriver};
use portable_atomic::AtomicUsize;

/// Tasks of the scenario in hand that have not ended.
static TASKS: AtomicUsize = AtomicUsize::new(0);

#[embassy_executor::task]
async fn work(worker: Worker) {
    hikyaku_embassy::run(worker).await;
    TASKS.fetch_sub(1, Ordering::Relaxed);
}

/// The alarm of one that has ended may wake it once more, and until that is over its place is taken.
#[embassy_executor::task(pool_size = 2)]
async fn drive(driver: EmbassyDriver) {
    driver.run().await;
    TASKS.fetch_sub(1, Ordering::Relaxed);
}

pub(crate) struct Bench {
    spawner: Spawner,
    /// Bytes in use before the scenario.
    used: usize,
}

impl Bench {
    pub(crate) fn new(spawner: Spawner) -> Self {
        Self { spawner, used: 0 }
    }

    pub(crate) fn begin(&mut self, scenario: &str) {
        print!("scenario {scenario} ");
        self.used = heap::used();
    }

    pub(crate) async fn end(&self) {
        while TASKS.load(Ordering::Relaxed) != 0 {
            embassy_futures::yield_now().await;
        }
        assert_eq!(heap::used(), self.used, "bytes in use after and before");
        assert!(stack::most() < stack::size(), "it has run into the statics");
        println!("ok");
    }

    /// A system without timers, in a task. Not inlined, as what follows: its frame is gone before the actors run.
    #[inline(never)]
    pub(crate) fn start(&self, builder: SystemBuilder) -> System {
        let (system, mut workers) = builder.build().unwrap();
        TASKS.fetch_add(1, Ordering::Relaxed);
        self.spawner.spawn(work(workers.remove(0)).unwrap());
        system
    }

    /// A system with timers, in two tasks.
    #[inline(never)]
    pub(crate) fn start_timed(&self, builder: SystemBuilder) -> System {
        let driver = EmbassyDriver::new();
        let system = self.start(builder.clock(EmbassyClock).tick_driver(driver.clone()));
        TASKS.fetch_add(1, Ordering::Relaxed);
        self.spawner.spawn(drive(driver).unwrap());
        system
    }
}

/// A builder for so many actors.
#[inline(never)]
pub(crate) fn small(actors: u32) -> SystemBuilder {
    System::builder("small").max_actors(actors)
}

/// An actor with room for so many messages.
pub(crate) fn room(messages: usize) -> SpawnOptions {
    SpawnOptions::new().mailbox(MailboxOptions::bounded(messages))
}

/// Ends a system, which has to end in order.
pub(crate) async fn end(system: System) {
    system.graceful_shutdown().await;
    assert_eq!(system.state(), SystemState::Stopped);
    assert_eq!(system.metrics().live_actors, 0);
}
