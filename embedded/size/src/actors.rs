//! The actors that are measured. Each variant adds one thing to `one`.

use embassy_executor::Spawner;
use hikyaku_core::{
    Actor, ActorRef, Context, Failure, MailboxOptions, SpawnOptions, System, Worker,
};

struct Adder(u32);

impl Actor for Adder {
    type Msg = u32;

    #[cfg(feature = "timers")]
    async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        let beat = hikyaku_core::Timer::fixed_rate(core::time::Duration::from_secs(1), 1);
        cx.start_timer("beat", beat)?;
        Ok(())
    }

    async fn handle(&mut self, n: u32, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.0 += n;
        if self.0 > 1000 {
            cx.stop();
        }
        Ok(())
    }
}

/// Another state, another message.
#[cfg(feature = "two")]
struct Blinker {
    on: bool,
    left: u16,
}

#[cfg(feature = "two")]
impl Actor for Blinker {
    type Msg = bool;

    async fn handle(&mut self, on: bool, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.on = on;
        self.left -= 1;
        if self.left == 0 {
            cx.stop();
        }
        Ok(())
    }
}

#[embassy_executor::task]
async fn work(worker: Worker) {
    hikyaku_embassy::run(worker).await;
}

#[cfg(feature = "timers")]
#[embassy_executor::task]
async fn drive(driver: hikyaku_embassy::EmbassyDriver) {
    driver.run().await;
}

/// So that something sends.
#[embassy_executor::task]
async fn feed(adder: ActorRef<u32>) {
    loop {
        embassy_time::Timer::after_millis(100).await;
        if adder.try_send(1).is_err() {
            return;
        }
    }
}

fn room() -> SpawnOptions {
    SpawnOptions::new().mailbox(MailboxOptions::bounded(4))
}

pub(crate) fn start(spawner: Spawner) {
    let builder = System::builder("size").max_actors(4);
    #[cfg(feature = "timers")]
    let builder = {
        let driver = hikyaku_embassy::EmbassyDriver::new();
        spawner.spawn(drive(driver.clone()).unwrap());
        builder
            .clock(hikyaku_embassy::EmbassyClock)
            .tick_driver(driver)
            .max_timers(4)
    };
    #[cfg(feature = "supervision")]
    let builder = builder.supervision(
        hikyaku_core::Supervision::one_for_one()
            .decider(|failure| match failure.is_start() {
                true => hikyaku_core::SupervisionDirective::Stop,
                false => hikyaku_core::SupervisionDirective::Restart,
            })
            .max_restarts(3, core::time::Duration::from_secs(60)),
    );
    let (system, mut workers) = builder.build().unwrap();
    let adder = system.spawn_with(room(), || Adder(0)).unwrap();
    #[cfg(feature = "two")]
    {
        let blinker = system.spawn_with(room(), || Blinker { on: false, left: 9 });
        let _ = blinker.unwrap().try_send(true);
    }
    spawner.spawn(work(workers.remove(0)).unwrap());
    spawner.spawn(feed(adder).unwrap());
}
