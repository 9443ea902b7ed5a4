//! Tokio: workers that are tasks of a runtime, or threads that have entered one; its timers as ticks.

use crate::builder::{BuildError, Builder};
use crate::crew::{Crew, Enter, Shift};
use crate::system::ActorSystem;
use crate::threads::WATCH;
use ::tokio::runtime::{Handle, Runtime, RuntimeFlavor};
use ::tokio::time::{self, Sleep};
use hikyaku_core::{Failure, NextTick, StopToken, TickDriver, TickHandle, Turn, Worker};
use std::future::Future;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A runtime that is shut down in the background by whoever drops this.
#[derive(Debug)]
pub(crate) struct OwnedRuntime(Option<Runtime>);

impl OwnedRuntime {
    pub(crate) fn new(runtime: Runtime) -> Self {
        Self(Some(runtime))
    }

    pub(crate) fn handle(&self) -> Option<Handle> {
        self.0.as_ref().map(|runtime| runtime.handle().clone())
    }
}

impl Drop for OwnedRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Unlike a drop it neither waits nor panics in async code.
            runtime.shutdown_background();
        }
    }
}

/// What a thread has to do to be inside the runtime.
pub(crate) fn entering(runtime: Handle) -> Enter {
    Arc::new(move |run| {
        let _entered = runtime.enter();
        run();
    })
}

/// Makes the workers tasks of the runtime.
pub(crate) fn build(
    builder: Builder,
    runtime: &Handle,
    owned: Option<OwnedRuntime>,
) -> Result<ActorSystem, BuildError> {
    let single = runtime.runtime_flavor() == RuntimeFlavor::CurrentThread;
    let workers = match (builder.requested(), single) {
        (None, true) => 1,
        (None, false) => runtime.metrics().num_workers(),
        (Some(workers), true) if workers > 1 => return Err(BuildError::TooManyWorkers(workers)),
        (Some(workers), _) => workers,
    };
    if (workers > 1 || !builder.has_driver()) && !has_time(runtime) {
        return Err(BuildError::NoTimeDriver);
    }
    let crew = Crew::new(builder.name(), Some(entering(runtime.clone())));
    let driver = TokioDriver(runtime.clone());
    let (mut system, workers) = builder.assemble(&crew, (workers, workers), driver)?;
    for worker in workers {
        runtime.spawn(WorkerTask {
            worker,
            look_again: None,
            shift: crew.shift(),
        });
    }
    system.tasks_of_one_thread = single;
    system.runtime = owned;
    Ok(ActorSystem::of(system))
}

/// Does the runtime have timers? There is no other way to ask it.
fn has_time(runtime: &Handle) -> bool {
    let _entered = runtime.enter();
    catch_unwind(|| drop(time::sleep(Duration::ZERO))).is_ok()
}

/// So many steps before the runtime's other tasks have their turn.
const BUDGET: usize = 64;

/// A worker as a task. Dropped with its runtime, it ends its actors.
struct WorkerTask {
    worker: Worker,
    /// While it is on watch.
    look_again: Option<Pin<Box<Sleep>>>,
    /// After the worker, so that it is counted out when that has ended.
    shift: Shift,
}

impl Future for WorkerTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let _at_work = this.shift.at_work();
        match this.worker.poll(BUDGET, cx.waker()) {
            Turn::Stopped => return Poll::Ready(()),
            Turn::Ready => cx.waker().wake_by_ref(),
            Turn::Idle { on_watch: false } => {}
            Turn::Idle { on_watch: true } => {
                let due = time::Instant::now() + WATCH;
                let sleep = this
                    .look_again
                    .get_or_insert_with(|| Box::pin(time::sleep_until(due)));
                sleep.as_mut().reset(due);
                if sleep.as_mut().poll(cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
            }
        }
        Poll::Pending
    }
}

/// Drives the timers of a system by a task of a Tokio runtime: the default where the workers are its tasks. It
/// sleeps until the next timer is due.
///
/// If the runtime goes before the system, timers that are set stay so until the system stops.
#[derive(Debug, Clone)]
pub struct TokioDriver(Handle);

impl TokioDriver {
    /// A driver in this runtime. The system is not built if it has no timers (`enable_time`).
    pub fn new(runtime: &Handle) -> Self {
        Self(runtime.clone())
    }
}

impl TickDriver for TokioDriver {
    fn start(self: Box<Self>, handle: TickHandle, stop: StopToken) -> Result<(), Failure> {
        if !has_time(&self.0) {
            return Err(BuildError::NoTimeDriver.into());
        }
        let _entered = self.0.enter();
        let sleep = time::sleep(Duration::ZERO);
        self.0.spawn(drive(handle, stop, sleep));
        Ok(())
    }
}

async fn drive(handle: TickHandle, stop: StopToken, sleep: Sleep) {
    let mut sleep = std::pin::pin!(sleep);
    std::future::poll_fn(|cx| {
        loop {
            let next = handle.tick(cx.waker());
            if stop.is_stopped() {
                return Poll::Ready(());
            }
            let NextTick::At(due) = next else {
                return Poll::Pending;
            };
            let Some(due) = instant_of(due, handle.now()) else {
                return Poll::Pending;
            };
            sleep.as_mut().reset(due);
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// When the clock shows `due`, if that can be said.
pub(crate) fn instant_of(due: Duration, now: Duration) -> Option<time::Instant> {
    time::Instant::now().checked_add(due.saturating_sub(now))
}
