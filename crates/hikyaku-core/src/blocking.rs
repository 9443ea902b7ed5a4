//! Functions that block, away from the workers.

use crate::ask::{Answer, AskError, Reply};
use alloc::boxed::Box;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

/// A function to run once.
pub type Job = Box<dyn FnOnce() + Send>;

/// Threads for functions that block. Given to a system by
/// [`SystemBuilder::blocking`](crate::SystemBuilder::blocking).
pub trait BlockingPool: Send + Sync + 'static {
    /// Runs the job on a thread that may block, now or later. Does not block itself.
    ///
    /// A job catches nothing: the pool has to outlive its panics.
    ///
    /// # Errors
    /// Hands the job back if it will not run.
    fn run(&self, job: Job) -> Result<(), Job>;
}

/// The future of [`Context::blocking`](crate::Context::blocking).
#[must_use = "the function runs; without an await its result is lost"]
pub struct Blocking<R> {
    result: Result<Answer<R>, BlockingError>,
}

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockingError {
    /// The system has no threads for that, or takes no more jobs.
    NoPool,
    /// The function panicked, or was dropped before it ran.
    Dropped,
}

impl fmt::Display for BlockingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPool => "the system has no threads for functions that block",
            Self::Dropped => "the function panicked, or was dropped before it ran",
        })
    }
}

impl core::error::Error for BlockingError {}

impl<R: Send + 'static> Blocking<R> {
    pub(crate) fn start(
        pool: Option<&dyn BlockingPool>,
        function: impl FnOnce() -> R + Send + 'static,
    ) -> Self {
        let Some(pool) = pool else {
            return Self {
                result: Err(BlockingError::NoPool),
            };
        };
        let (reply, answer) = Reply::pair();
        let job: Job = Box::new(move || {
            // Whether anybody still waits makes no difference.
            let _ = reply.send(function());
        });
        Self {
            result: match pool.run(job) {
                Ok(()) => Ok(answer),
                Err(_refused) => Err(BlockingError::NoPool),
            },
        }
    }
}

impl<R> Future for Blocking<R> {
    type Output = Result<R, BlockingError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.result {
            Err(error) => Poll::Ready(Err(*error)),
            Ok(answer) => Pin::new(answer)
                .poll(cx)
                .map_err(|_: AskError| BlockingError::Dropped),
        }
    }
}

impl<R> fmt::Debug for Blocking<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blocking(..)")
    }
}
