//! Own worker threads: the default executor.
//!
//! A worker that finds nothing spins for a moment before its thread sleeps, because an answer often
//! comes within a microsecond, and waking a sleeping thread takes tens of them. The spin is bounded
//! and happens once per idle period: an idle system uses no processor time.

use hikyaku_core::{Turn, Worker, WorkerExecutor};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

/// How often a waiting thread looks at its flag before it sleeps: about 20 microseconds.
pub(crate) const SPINS: u32 = 1000;

/// How long a worker on watch sleeps.
const WATCH: Duration = Duration::from_millis(2);

/// So many steps between two looks at whatever an executor may have to look at.
const BUDGET: usize = 1 << 20;

const EMPTY: u32 = 0;
const NOTIFIED: u32 = 1;
const PARKED: u32 = 2;

/// Puts a thread to sleep until it is woken. Spins first.
#[derive(Debug)]
pub(crate) struct Parker {
    state: AtomicU32,
    thread: Thread,
}

impl Parker {
    /// A parker for the calling thread.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU32::new(EMPTY),
            thread: thread::current(),
        })
    }

    /// Waits until somebody called `wake` since the last return, or the time is over.
    pub(crate) fn park(&self, spins: u32, timeout: Option<Duration>) {
        for _ in 0..spins {
            if self.take_notice() {
                return;
            }
            std::hint::spin_loop();
        }
        // AcqRel: as in `wake`. If it fails, a notice has come in.
        let sleep = self
            .state
            .compare_exchange(EMPTY, PARKED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        while sleep && self.state.load(Ordering::Acquire) == PARKED {
            match timeout {
                None => thread::park(),
                Some(timeout) => {
                    thread::park_timeout(timeout);
                    break;
                }
            }
        }
        // Acquire: a notice that is taken back here, unseen, is as good as one that was seen: whoever
        // waits looks for what it waits for after this.
        self.state.swap(EMPTY, Ordering::AcqRel);
    }

    fn take_notice(&self) -> bool {
        // Relaxed first: spinning must not take the line away from the one who writes it.
        self.state.load(Ordering::Relaxed) == NOTIFIED
            && self.state.swap(EMPTY, Ordering::Acquire) == NOTIFIED
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: what the waker's caller wrote is seen by the parked thread.
        if self.state.swap(NOTIFIED, Ordering::AcqRel) == PARKED {
            self.thread.unpark();
        }
    }
}

/// A guard that a worker thread holds while it runs, for instance of a runtime it has entered.
pub(crate) type Enter = Arc<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

/// Runs each worker on a thread of its own.
pub struct ThreadExecutor {
    name: String,
    enter: Option<Enter>,
    threads: Vec<JoinHandle<()>>,
}

impl ThreadExecutor {
    /// An executor whose threads are called after `name`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            enter: None,
            threads: Vec::new(),
        }
    }

    /// Each thread runs its worker inside `enter`.
    #[cfg(feature = "tokio")]
    pub(crate) fn entering(mut self, enter: Enter) -> Self {
        self.enter = Some(enter);
        self
    }

    /// Waits until every worker has returned [`Turn::Stopped`].
    pub fn join(self) {
        for thread in self.threads {
            // A worker catches what its actors do; if it panics itself, its drop has ended them.
            let _ = thread.join();
        }
    }

    pub(crate) fn into_threads(self) -> Vec<JoinHandle<()>> {
        self.threads
    }
}

impl std::fmt::Debug for ThreadExecutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThreadExecutor")
            .field("name", &self.name)
            .field("threads", &self.threads.len())
            .finish_non_exhaustive()
    }
}

impl WorkerExecutor for ThreadExecutor {
    type Error = io::Error;

    fn start(&mut self, mut worker: Worker) -> Result<(), io::Error> {
        let enter = self.enter.clone();
        let thread = thread::Builder::new()
            .name(format!("{}-{}", self.name, worker.number()))
            .spawn(move || match enter {
                Some(enter) => enter(&mut || run(&mut worker)),
                None => run(&mut worker),
            })?;
        self.threads.push(thread);
        Ok(())
    }
}

fn run(worker: &mut Worker) {
    let parker = Parker::new();
    let waker = Waker::from(Arc::clone(&parker));
    let mut spins = SPINS;
    loop {
        match worker.poll(BUDGET, &waker) {
            Turn::Ready => spins = SPINS,
            Turn::Idle { on_watch } => {
                parker.park(spins, on_watch.then_some(WATCH));
                spins = if on_watch { 0 } else { SPINS };
            }
            Turn::Stopped => return,
        }
    }
}
