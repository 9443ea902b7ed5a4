//! The suite of scenarios, and what is Embassy's own, on Embassy's executor for operating systems.

use embassy_executor::{Executor, SendSpawner};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use embassy_time::Timer as Alarm;
use hikyaku_core::{
    Actor, Context, Failure, Reply, SpawnOptions, System, SystemState, Timer, Worker,
};
use hikyaku_embassy::{EmbassyClock, EmbassyDriver};
use hikyaku_testkit::conformance_suite;
use hikyaku_testkit::suite::Runtime;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, OnceLock, mpsc};
use std::task::{Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

#[embassy_executor::task(pool_size = 64)]
async fn work(worker: Worker, ended: mpsc::Sender<()>) {
    hikyaku_embassy::run(worker).await;
    let _ = ended.send(());
}

#[embassy_executor::task(pool_size = 64)]
async fn drive(driver: EmbassyDriver, ended: mpsc::Sender<()>) {
    driver.run().await;
    let _ = ended.send(());
}

/// One executor for all tests: it never returns.
fn executor() -> SendSpawner {
    static SPAWNER: OnceLock<SendSpawner> = OnceLock::new();
    *SPAWNER.get_or_init(|| {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let executor = Box::leak(Box::new(Executor::new()));
            executor.run(|spawner| sender.send(spawner.make_send()).unwrap());
        });
        receiver.recv().unwrap()
    })
}

/// A system in tasks of the executor.
struct InEmbassy {
    system: System,
    /// Hangs up when both tasks have ended.
    ended: mpsc::Receiver<()>,
}

impl InEmbassy {
    fn new() -> Self {
        let driver = EmbassyDriver::new();
        let (system, mut workers) = System::builder("embassy")
            .clock(EmbassyClock)
            .tick_driver(driver.clone())
            .build()
            .unwrap();
        let (sender, ended) = mpsc::channel();
        executor().spawn(work(workers.remove(0), sender.clone()).unwrap());
        executor().spawn(drive(driver, sender).unwrap());
        Self { system, ended }
    }
}

impl Runtime for InEmbassy {
    fn system(&self) -> &System {
        &self.system
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        block_on(future)
    }

    fn shutdown(self) {
        assert_eq!(self.ended.iter().count(), 2);
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future
            .as_mut()
            .poll(&mut std::task::Context::from_waker(&waker))
        {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

conformance_suite!(on_embassy, InEmbassy::new);

/// Answers when something that it was told to wait for has come.
struct Waiter {
    asked: Option<Reply<&'static str>>,
    inbox: &'static Channel<CriticalSectionRawMutex, u32, 2>,
}

enum WaiterMsg {
    ByTimer(Reply<&'static str>),
    ByTimeout(Reply<&'static str>),
    Fired(&'static str),
    AwaitAlarm(Reply<&'static str>),
    AwaitChannel(Reply<u32>),
}

impl Actor for Waiter {
    type Msg = WaiterMsg;

    async fn handle(&mut self, msg: WaiterMsg, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        const SOON: Duration = Duration::from_millis(3);
        match msg {
            WaiterMsg::ByTimer(reply) => {
                self.asked = Some(reply);
                cx.start_timer("soon", Timer::once(SOON, WaiterMsg::Fired("timer")))?;
            }
            WaiterMsg::ByTimeout(reply) => {
                self.asked = Some(reply);
                cx.set_receive_timeout(SOON, || WaiterMsg::Fired("timeout"))?;
            }
            WaiterMsg::Fired(what) => {
                cx.cancel_receive_timeout();
                if let Some(reply) = self.asked.take() {
                    let _ = reply.send(what);
                }
            }
            WaiterMsg::AwaitAlarm(reply) => {
                Alarm::after_millis(3).await;
                let _ = reply.send("alarm");
            }
            WaiterMsg::AwaitChannel(reply) => {
                let _ = reply.send(self.inbox.receive().await);
            }
        }
        Ok(())
    }
}

#[test]
fn actors_wait_by_their_own_timers_and_by_those_of_embassy() {
    static INBOX: Channel<CriticalSectionRawMutex, u32, 2> = Channel::new();
    let embassy = InEmbassy::new();
    let waiter = embassy
        .system
        .spawn(|| Waiter {
            asked: None,
            inbox: &INBOX,
        })
        .unwrap();
    for (question, answer) in [
        (WaiterMsg::ByTimer as fn(_) -> _, "timer"),
        (WaiterMsg::ByTimeout, "timeout"),
        (WaiterMsg::AwaitAlarm, "alarm"),
    ] {
        assert_eq!(block_on(waiter.ask(question)), Ok(answer));
    }
    let answer = waiter.ask(WaiterMsg::AwaitChannel);
    INBOX.try_send(7).unwrap();
    assert_eq!(block_on(answer), Ok(7));
    block_on(embassy.system.sleep(Duration::from_millis(1))).unwrap();

    block_on(embassy.system.graceful_shutdown());
    embassy.shutdown();
}

#[test]
fn timers_are_in_the_order_of_their_due_times() {
    struct Log(Vec<u64>, Option<Reply<Vec<u64>>>);
    enum LogMsg {
        Start(Reply<Vec<u64>>),
        Fired(u64),
    }
    impl Actor for Log {
        type Msg = LogMsg;
        async fn handle(&mut self, msg: LogMsg, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
            match msg {
                LogMsg::Start(reply) => {
                    self.1 = Some(reply);
                    // The earlier ones come in later, so the driver has to be woken for each.
                    for millis in [5_u64, 3, 1] {
                        let timer =
                            Timer::once(Duration::from_millis(millis), LogMsg::Fired(millis));
                        cx.start_timer(millis, timer)?;
                    }
                }
                LogMsg::Fired(millis) => {
                    self.0.push(millis);
                    if self.0.len() == 3
                        && let Some(reply) = self.1.take()
                    {
                        let _ = reply.send(std::mem::take(&mut self.0));
                    }
                }
            }
            Ok(())
        }
    }
    let embassy = InEmbassy::new();
    let log = embassy.system.spawn(|| Log(Vec::new(), None)).unwrap();
    assert_eq!(block_on(log.ask(LogMsg::Start)), Ok(vec![1, 3, 5]));
    block_on(embassy.system.graceful_shutdown());
    embassy.shutdown();
}

#[test]
fn a_driver_that_belongs_to_no_system_ends_at_once() {
    block_on(EmbassyDriver::new().run());
}

#[test]
fn a_worker_that_is_dropped_ends_its_actors() {
    struct Idle;
    impl Actor for Idle {
        type Msg = ();
        async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
            Ok(())
        }
    }
    let (system, mut workers) = System::builder("dropped").build().unwrap();
    let _idle = system.spawn_with(SpawnOptions::new(), || Idle).unwrap();
    drop(hikyaku_embassy::run(workers.remove(0)));
    assert_eq!(system.state(), SystemState::Stopped);
}
