//! The actors that are measured.

use embassy_executor::Spawner;
use hikyaku_core::{
    Actor, ActorRef, Context, Failure, MailboxOptions, SpawnOptions, System, Worker,
};

struct Adder(u32);

impl Actor for Adder {
    type Msg = u32;

    async fn handle(&mut self, n: u32, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.0 += n;
        if self.0 > 1000 {
            cx.stop();
        }
        Ok(())
    }
}

#[embassy_executor::task]
async fn work(worker: Worker) {
    hikyaku_embassy::run(worker).await;
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

pub(crate) fn start(spawner: Spawner) {
    let builder = System::builder("size");
    let (system, mut workers) = builder.build().unwrap();
    let options = SpawnOptions::new().mailbox(MailboxOptions::bounded(4));
    let adder = system.spawn_with(options, || Adder(0)).unwrap();
    spawner.spawn(work(workers.remove(0)).unwrap());
    spawner.spawn(feed(adder).unwrap());
}
