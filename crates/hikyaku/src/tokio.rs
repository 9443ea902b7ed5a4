//! Inside a Tokio runtime: handlers may await its I/O and timers.

use crate::system::{ActorSystem, BuildError, Builder};
use crate::ticks::ThreadDriver;
use ::tokio::runtime::{Handle, RuntimeFlavor};
use hikyaku_core::{Turn, Worker};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Builds a system for the runtime the caller is in.
pub(crate) fn build(builder: Builder, runtime: Handle) -> Result<ActorSystem, BuildError> {
    match runtime.runtime_flavor() {
        RuntimeFlavor::MultiThread => builder.build_threads(|executor| {
            executor.entering(Arc::new(move |run| {
                let _entered = runtime.enter();
                run();
            }))
        }),
        RuntimeFlavor::CurrentThread => {
            if let Some(workers) = builder.requested_workers().filter(|&workers| workers > 1) {
                return Err(BuildError::TooManyWorkers(workers));
            }
            let core = builder.into_core().workers(1).tick_driver(ThreadDriver);
            let (system, workers) = core.build().map_err(BuildError::System)?;
            for worker in workers {
                runtime.spawn(WorkerTask(worker));
            }
            Ok(ActorSystem::owning(system, Vec::new()))
        }
        _ => Err(BuildError::UnknownRuntime),
    }
}

/// So many steps before the runtime's other tasks have their turn.
const BUDGET: usize = 64;

/// A worker as a task. Dropped with its runtime, it ends its actors.
struct WorkerTask(Worker);

impl Future for WorkerTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.0.poll(BUDGET, cx.waker()) {
            Turn::Ready => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Turn::Idle { .. } => Poll::Pending,
            Turn::Stopped => Poll::Ready(()),
        }
    }
}
