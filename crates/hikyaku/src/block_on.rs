//! Waiting for a future on a thread that is no actor's.

use crate::park::{Parker, SPINS};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Runs a future to its end on this thread. Spins for a moment before it sleeps.
///
/// For `main` and for tests. In a handler, await instead: blocking there keeps a worker from its
/// other actors.
///
/// ```
/// assert_eq!(hikyaku::block_on(async { 1 + 1 }), 2);
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let parker = Parker::new();
    let waker = Waker::from(Arc::clone(&parker));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        parker.park(SPINS, None);
    }
}
