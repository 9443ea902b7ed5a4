//! A worker as a part of an Embassy task.

use core::future::poll_fn;
use core::task::Poll;
use hikyaku_core::{Turn, Worker};

/// So many steps before the executor's other tasks have their turn.
const BUDGET: usize = 16;

/// Runs a worker until its system has stopped. The other tasks of the executor have their turn after every few
/// activations; while no actor has anything to do, the task sleeps.
///
/// # Cancel safety
/// Dropped before the system has stopped, it ends the actors by force.
pub async fn run(mut worker: Worker) {
    poll_fn(|cx| {
        match worker.poll(BUDGET, cx.waker()) {
            Turn::Stopped => return Poll::Ready(()),
            Turn::Ready => cx.waker().wake_by_ref(),
            // Tasks of one executor take turns: a worker that is stuck keeps its watch from looking too.
            Turn::Idle { .. } => {}
        }
        Poll::Pending
    })
    .await;
}
