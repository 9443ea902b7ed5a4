//! Own worker threads: the default executor.
//!
//! A worker that finds nothing spins for a moment before its thread sleeps, because an answer often
//! comes within a microsecond, and waking a sleeping thread takes tens of them. The spin is bounded
//! and happens once per idle period: an idle system uses no processor time.
//!
//! Where the number of workers can change, one more thread, the foreman's, sleeps while they keep up, and
//! starts others when they do not. A worker that has been idle for long ends its thread.

use crate::crew::Crew;
use crate::park::Parker;
use crate::settings::Live;
use hikyaku_core::{Foreman, LocalWorker, Staffing, Turn, Worker, WorkerExecutor};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::task::Waker;
use std::time::Duration;

/// How long a worker on watch sleeps.
pub(crate) const WATCH: Duration = Duration::from_millis(2);

/// So many steps between two looks at whatever an executor may have to look at.
const BUDGET: usize = 1 << 20;

/// Runs each worker on a thread of its own.
#[derive(Debug)]
pub struct ThreadExecutor {
    crew: Arc<Crew>,
    live: Arc<Live>,
}

impl ThreadExecutor {
    /// An executor whose threads are called after `name`.
    pub fn new(name: &str) -> Self {
        Self::of(Crew::new(name, None), Arc::default())
    }

    pub(crate) fn of(crew: Arc<Crew>, live: Arc<Live>) -> Self {
        Self { crew, live }
    }

    /// Starts a thread that adds workers when the others cannot keep up.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn follow(&mut self, mut foreman: Foreman) -> io::Result<()> {
        let mut executor = Self::of(Arc::clone(&self.crew), Arc::clone(&self.live));
        self.crew.start("foreman", move || {
            let parker = Parker::new();
            let waker = Waker::from(Arc::clone(&parker));
            loop {
                let wait = match foreman.poll(&waker) {
                    Staffing::Stopped => return,
                    Staffing::Enough => None,
                    Staffing::Short if executor.hire(&mut foreman).is_ok_and(|hired| hired) => {
                        continue;
                    }
                    // One has come free, or there is no thread to be had: the others have to cope.
                    Staffing::Busy | Staffing::Short => Some(WATCH),
                };
                parker.park(0, wait);
            }
        })
    }

    /// First the thread, then its worker: there is no way back for a worker. False if none was to be had after all.
    fn hire(&mut self, foreman: &mut Foreman) -> io::Result<bool> {
        let (give, take) = sync_channel::<Worker>(1);
        let live = Arc::clone(&self.live);
        self.crew.start("extra", move || {
            if let Ok(mut worker) = take.recv() {
                run(&mut worker, &live);
            }
        })?;
        let Some(worker) = foreman.hire() else {
            return Ok(false);
        };
        // It waits for it.
        let _ = give.send(worker);
        Ok(true)
    }

    /// Waits until every worker has returned [`Turn::Stopped`].
    pub fn join(self) {
        self.crew.join();
    }
}

impl WorkerExecutor for ThreadExecutor {
    type Error = io::Error;

    fn start(&mut self, mut worker: Worker) -> Result<(), io::Error> {
        let live = Arc::clone(&self.live);
        self.crew
            .start(worker.number(), move || run(&mut worker, &live))
    }
}

fn run(worker: &mut Worker, live: &Live) {
    let parker = Parker::new();
    let waker = Waker::from(Arc::clone(&parker));
    let mut spin = true;
    // Has it not tried to retire since it was last woken?
    let mut wanted = true;
    loop {
        match worker.poll(BUDGET, &waker) {
            Turn::Ready => spin = true,
            Turn::Idle { on_watch } => {
                let wait = match on_watch {
                    true => Some(WATCH),
                    false => (wanted && worker.can_retire()).then(|| live.idle_time()),
                };
                let spins = if spin { live.spins() } else { 0 };
                let woken = parker.park(spins, wait);
                spin = !on_watch;
                if woken || on_watch {
                    wanted = true;
                } else if worker.retire() {
                    return;
                } else {
                    wanted = false;
                }
            }
            Turn::Stopped => return,
        }
    }
}

/// As [`run`], for a worker that stays.
pub(crate) fn run_local(worker: &mut LocalWorker, live: &Live) {
    let parker = Parker::new();
    let waker = Waker::from(Arc::clone(&parker));
    loop {
        match worker.poll(BUDGET, &waker) {
            Turn::Ready => {}
            Turn::Idle { .. } => {
                parker.park(live.spins(), None);
            }
            Turn::Stopped => return,
        }
    }
}
