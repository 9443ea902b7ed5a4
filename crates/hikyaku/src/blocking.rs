//! Threads for functions that block: started when there is a job and nobody free, ended when idle.

use crate::crew::{Crew, lock};
use crate::settings::Live;
use hikyaku_core::{BlockingPool, Job};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// So many threads for blocking functions, and for blocking actors, unless chosen otherwise.
pub(crate) const DEFAULT_THREADS: usize = 64;

/// A bounded number of threads. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct BlockingThreads(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    crew: Arc<Crew>,
    live: Arc<Live>,
    most: usize,
    state: Mutex<State>,
    job_came: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("jobs", &self.jobs.len())
            .field("threads", &self.threads)
            .field("idle", &self.idle)
            .field("closed", &self.closed)
            .finish()
    }
}

impl BlockingThreads {
    pub(crate) fn new(crew: &Arc<Crew>, live: &Arc<Live>, most: usize) -> Self {
        Self(Arc::new(Pool {
            crew: Arc::clone(crew),
            live: Arc::clone(live),
            most,
            state: Mutex::default(),
            job_came: Condvar::new(),
        }))
    }

    /// Takes no more jobs. Those it has are run; threads without one end. Does not wait.
    pub(crate) fn close(&self) {
        lock(&self.0.state).closed = true;
        self.0.job_came.notify_all();
    }
}

impl BlockingPool for BlockingThreads {
    fn run(&self, job: Job) -> Result<(), Job> {
        let mut state = lock(&self.0.state);
        if state.closed {
            return Err(job);
        }
        state.jobs.push_back(job);
        if state.idle >= state.jobs.len() {
            self.0.job_came.notify_one();
        } else if state.threads < self.0.most {
            let pool = Arc::clone(&self.0);
            if self.0.crew.start("blocking", move || pool.work()).is_ok() {
                state.threads += 1;
            }
        }
        if state.threads == 0 {
            // Nobody would run it; the others have been handed back likewise.
            return state.jobs.pop_back().map_or(Ok(()), Err);
        }
        Ok(())
    }
}

impl Pool {
    fn work(&self) {
        while let Some(job) = self.next() {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
                // A value that panics when it is dropped is not worth a thread.
                if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
                    std::mem::forget(second);
                }
            }
        }
    }

    /// Waits for a job. Without one for long, or at the close, the thread is counted out.
    fn next(&self) -> Option<Job> {
        let mut state = lock(&self.state);
        let mut late = false;
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed || late {
                state.threads -= 1;
                return None;
            }
            state.idle += 1;
            let (back, waited) = self
                .job_came
                .wait_timeout(state, self.live.idle_time())
                .unwrap_or_else(PoisonError::into_inner);
            state = back;
            state.idle -= 1;
            late = waited.timed_out();
        }
    }
}
