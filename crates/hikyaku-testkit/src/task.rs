//! Code that is no actor, interleaved with the workers.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Notes that its participant was woken. Does nothing else, as executors have to.
#[derive(Debug)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) fn raised() -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(true)))
    }

    pub(crate) fn is_raised(&self) -> bool {
        // Acquire: pairs with the Release in `wake`.
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn lower(&self) {
        // Relaxed: lowered before the participant is polled, which looks at everything.
        self.0.store(false, Ordering::Relaxed);
    }

    pub(crate) fn raise(&self) {
        // Release: what the waker's caller wrote comes before the poll.
        self.0.store(true, Ordering::Release);
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.raise();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.raise();
    }
}

/// A task of a [`Sim`](crate::Sim), and its result.
///
/// A future itself: it resolves to the result. Dropping it changes nothing.
pub struct Task<T>(Rc<RefCell<Progress<T>>>);

enum Progress<T> {
    Running {
        future: Option<Pin<Box<dyn Future<Output = T>>>>,
        waiting: Option<Waker>,
    },
    Done(T),
    /// Cancelled, or the result was taken.
    Over,
}

/// What the driver knows of a task.
pub(crate) trait Run {
    /// True when the task is over.
    fn run(&self, cx: &mut Context<'_>) -> bool;
}

impl<T> Task<T> {
    pub(crate) fn new(future: impl Future<Output = T> + 'static) -> Self {
        Self(Rc::new(RefCell::new(Progress::Running {
            future: Some(Box::pin(future)),
            waiting: None,
        })))
    }

    pub(crate) fn runner(&self) -> Rc<dyn Run>
    where
        T: 'static,
    {
        Rc::<RefCell<Progress<T>>>::clone(&self.0)
    }

    /// Is it over?
    pub fn is_done(&self) -> bool {
        !matches!(*self.0.borrow(), Progress::Running { .. })
    }

    /// The result, once, if there is one.
    pub fn take(&self) -> Option<T> {
        let mut progress = self.0.borrow_mut();
        match &*progress {
            Progress::Done(_) => match std::mem::replace(&mut *progress, Progress::Over) {
                Progress::Done(result) => Some(result),
                _ => None,
            },
            _ => None,
        }
    }

    /// Drops its future where it stands.
    pub fn cancel(&self) {
        let dropped = self.0.replace(Progress::Over);
        drop(dropped);
    }
}

impl<T> Run for RefCell<Progress<T>> {
    fn run(&self, cx: &mut Context<'_>) -> bool {
        let mut future = match &mut *self.borrow_mut() {
            Progress::Running { future, .. } => match future.take() {
                Some(future) => future,
                None => return true,
            },
            _ => return true,
        };
        // Not borrowed here: the future may use its own handle.
        let poll = future.as_mut().poll(cx);
        let mut progress = self.borrow_mut();
        let Progress::Running {
            future: place,
            waiting,
        } = &mut *progress
        else {
            return true;
        };
        match poll {
            Poll::Pending => {
                *place = Some(future);
                false
            }
            Poll::Ready(result) => {
                let waiting = waiting.take();
                *progress = Progress::Done(result);
                drop(progress);
                if let Some(waker) = waiting {
                    waker.wake();
                }
                true
            }
        }
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        if let Some(result) = self.take() {
            return Poll::Ready(result);
        }
        match &mut *self.0.borrow_mut() {
            Progress::Running { waiting, .. } => *waiting = Some(cx.waker().clone()),
            _ => panic!("a task was awaited that was cancelled, or whose result was taken"),
        }
        Poll::Pending
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("done", &self.is_done())
            .finish()
    }
}
