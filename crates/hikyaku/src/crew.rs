//! The threads of one system, and the tasks that do the same: who is there, and how their end is awaited.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread::{self, JoinHandle};

/// What a thread runs its work in, for instance a runtime it has entered.
pub(crate) type Enter = Arc<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

/// Everybody who works for one system.
pub(crate) struct Crew {
    name: String,
    enter: Option<Enter>,
    here: Mutex<Here>,
    left: Condvar,
    /// Held by the one who joins the threads, so that others wait too.
    joining: Mutex<()>,
}

#[derive(Default)]
struct Here {
    threads: Vec<JoinHandle<()>>,
    /// Threads and tasks that have not ended.
    living: usize,
    waiting: Vec<Waker>,
}

thread_local! {
    /// Whom this thread works for.
    static MINE: Cell<*const Crew> = const { Cell::new(ptr::null()) };
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under the locks of this crate leaves a value half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Crew {
    /// Nobody yet. Threads are called after `name`, and run inside `enter`.
    pub(crate) fn new(name: &str, enter: Option<Enter>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            enter,
            here: Mutex::default(),
            left: Condvar::new(),
            joining: Mutex::new(()),
        })
    }

    /// Starts a thread.
    pub(crate) fn start(
        self: &Arc<Self>,
        what: impl fmt::Display,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let shift = self.shift();
        let mut work = Some(work);
        let thread = thread::Builder::new()
            .name(format!("{}-{what}", self.name))
            .spawn(move || {
                let _at_work = shift.at_work();
                let mut run = || {
                    if let Some(work) = work.take() {
                        work();
                    }
                };
                match &shift.0.enter {
                    Some(enter) => enter(&mut run),
                    None => run(),
                }
            })?;
        let mut here = lock(&self.here);
        here.threads.retain(|thread| !thread.is_finished());
        here.threads.push(thread);
        Ok(())
    }

    /// One more, until this is dropped.
    pub(crate) fn shift(self: &Arc<Self>) -> Shift {
        lock(&self.here).living += 1;
        Shift(Arc::clone(self))
    }

    /// Is the caller one of them?
    pub(crate) fn is_mine(&self) -> bool {
        MINE.get() == ptr::from_ref(self)
    }

    /// Blocks until all have ended, also those who come meanwhile.
    pub(crate) fn join(&self) {
        let _only = lock(&self.joining);
        loop {
            let threads = std::mem::take(&mut lock(&self.here).threads);
            if threads.is_empty() {
                break;
            }
            for thread in threads {
                // Workers and the pool catch what actors and jobs do.
                let _ = thread.join();
            }
        }
        let mut here = lock(&self.here);
        while here.living != 0 {
            here = self.left.wait(here).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Resolves when all have ended.
    pub(crate) fn gone(&self) -> impl Future<Output = ()> {
        poll_fn(|cx| {
            let mut here = lock(&self.here);
            if here.living == 0 {
                return Poll::Ready(());
            }
            here.waiting.retain(|waker| !waker.will_wake(cx.waker()));
            here.waiting.push(cx.waker().clone());
            Poll::Pending
        })
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew")
            .field("name", &self.name)
            .field("living", &lock(&self.here).living)
            .finish_non_exhaustive()
    }
}

/// A thread or a task of the crew.
#[derive(Debug)]
pub(crate) struct Shift(Arc<Crew>);

impl Shift {
    /// While it lives, this thread works for the crew.
    pub(crate) fn at_work(&self) -> AtWork {
        AtWork(MINE.replace(Arc::as_ptr(&self.0)))
    }
}

impl Drop for Shift {
    fn drop(&mut self) {
        let mut here = lock(&self.0.here);
        here.living -= 1;
        if here.living != 0 {
            return;
        }
        let waiting = std::mem::take(&mut here.waiting);
        drop(here);
        self.0.left.notify_all();
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// See [`Shift::at_work`].
#[derive(Debug)]
pub(crate) struct AtWork(*const Crew);

impl Drop for AtWork {
    fn drop(&mut self) {
        MINE.set(self.0);
    }
}
