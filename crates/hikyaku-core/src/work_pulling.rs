//! Work pulling: jobs wait in one queue, and a worker that is free gets the next.
//!
//! ```text
//!   producers ──job──► keeper: queue, one backlog for each place ──► worker (has one job in hand)
//!       ▲                │ ▲                                            │
//!       └──── answer ────┘ └────────── done, ready, gone ───────────────┘
//! ```
//!
//! The keeper and the worker share a job, so that it is not lost with the worker.

use crate::actor::{Actor, Context};
use crate::actor_ref::{ActorRef, SendError, Stopped};
use crate::ask::{AskError, Reply};
use crate::failure::Failure;
use crate::mailbox::MailboxOptions;
use crate::registry::MailboxIndex;
use crate::supervision::{SUPERVISION, Supervision};
use crate::sync::Arc;
use crate::system::{SpawnError, SpawnOptions, System};
use alloc::boxed::Box;
use core::fmt;
use core::future::Future;
use core::time::Duration;

mod keeper;

pub use keeper::Hand;
use keeper::{Keeper, Order};

/// What the workers of a [`WorkPool`] do.
///
/// A job is lent to the worker, not given: should the worker fail, another one gets the same job, so jobs
/// need not be `Clone`.
pub trait Work: Send + Sized + 'static {
    /// What there is to do.
    type Job: Send + Sync + 'static;
    /// What comes of it.
    type Done: Send + 'static;

    /// Does one job. The worker gets no other before it is done.
    ///
    /// # Errors
    /// A failure is one of the worker: it is made anew, and the job is tried again. What is no fault of the
    /// worker belongs into [`Done`](Self::Done).
    fn work(
        &mut self,
        job: &Self::Job,
        cx: &mut Context<'_, Hand<Self>>,
    ) -> impl Future<Output = Result<Self::Done, Failure>> + Send;
}

/// Which job is let go when there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JobOverflow {
    /// The one that has come.
    #[default]
    Newest,
    /// The one that has waited for longest.
    Oldest,
}

/// What can be changed while a [`WorkPool`] runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkSettings {
    /// How many workers there are. Those that become too many finish their jobs.
    pub workers: usize,
    /// How many jobs may wait for a worker.
    pub capacity: usize,
    /// Which one goes when more wait.
    pub overflow: JobOverflow,
    /// How long a job may wait for a worker. For those that come from now on.
    pub time_to_live: Option<Duration>,
    /// How long a worker may take for a job. Then it is killed, another one takes its place, and the job is tried
    /// again.
    pub patience: Option<Duration>,
    /// How often a job is tried, when its worker fails, is killed or ends; once at least.
    pub attempts: u32,
    /// No more than so many jobs are begun in any such time; of a time in which few were begun, as many as that may
    /// be made up for at once.
    pub rate: Option<(u32, Duration)>,
}

impl WorkSettings {
    fn new(workers: usize) -> Self {
        Self {
            workers,
            capacity: usize::MAX,
            overflow: JobOverflow::default(),
            time_to_live: None,
            patience: None,
            attempts: 3,
            rate: None,
        }
    }
}

/// Why a job was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobError {
    /// The pool takes no more jobs: it drains, or has ended.
    Closed,
    /// There was no room for it.
    Discarded,
    /// It waited for too long.
    Expired,
    /// Its worker failed, was too slow or ended, as often as it may be tried.
    Failed,
    /// The pool has ended, or failed, with the job in its queue or in hand.
    Lost,
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the pool takes no more jobs",
            Self::Discarded => "there was no room for the job",
            Self::Expired => "the job has waited for too long",
            Self::Failed => "the job failed as often as it may be tried",
            Self::Lost => "the pool ended before the job was done",
        })
    }
}

impl core::error::Error for JobError {}

/// How a [`WorkPool`] is doing. Counts are from its start on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WorkStats {
    /// Jobs that wait for a worker.
    pub queued: usize,
    /// Jobs that a worker has.
    pub in_hand: usize,
    /// Workers that there are, those included that are being made.
    pub workers: usize,
    /// Jobs that were done.
    pub done: usize,
    /// Jobs that failed for good.
    pub failed: usize,
    /// Attempts that failed, and were followed by another.
    pub retried: usize,
    /// Jobs for which there was no room.
    pub discarded: usize,
    /// Jobs that waited for too long.
    pub expired: usize,
    /// Workers that took too long for a job, and were killed.
    pub replaced: usize,
}

type Key<W> = fn(&<W as Work>::Job) -> u64;
type OnDiscard<W> = Box<dyn Fn(&<W as Work>::Job, JobError) + Send + Sync>;
type Answer<W> = Reply<Result<<W as Work>::Done, JobError>>;

/// A [`WorkPool`] that is to be spawned.
#[must_use = "a pool is to be spawned"]
pub struct WorkPoolBuilder<W: Work> {
    factory: Arc<dyn Fn() -> W + Send + Sync>,
    settings: WorkSettings,
    key: Option<Key<W>>,
    on_discard: Option<OnDiscard<W>>,
    workers: SpawnOptions,
    options: SpawnOptions,
}

impl<W: Work> WorkPoolBuilder<W> {
    /// Sets what can also be changed later.
    ///
    /// ```
    /// # use hikyaku_core::{JobOverflow, Work, WorkPoolBuilder};
    /// # use std::time::Duration;
    /// # fn demo<W: Work>(pool: WorkPoolBuilder<W>) {
    /// pool.settings(|s| {
    ///     s.capacity = 1000;
    ///     s.overflow = JobOverflow::Oldest;
    ///     s.patience = Some(Duration::from_secs(30));
    /// });
    /// # }
    /// ```
    pub fn settings(mut self, change: impl FnOnce(&mut WorkSettings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Jobs with the same key are done one after the other, in their order, and by the same worker as long as
    /// there are any. A panic in `key` means: none.
    pub fn sticky(mut self, key: fn(&W::Job) -> u64) -> Self {
        self.key = Some(key);
        self
    }

    /// Is shown each job that is given up, and why: [`JobError::Discarded`], [`Expired`](JobError::Expired) or
    /// [`Failed`](JobError::Failed). It runs in the pool's own handler, so it should be quick; its panics are
    /// swallowed.
    pub fn on_discard(
        mut self,
        handler: impl Fn(&W::Job, JobError) + Send + Sync + 'static,
    ) -> Self {
        self.on_discard = Some(Box::new(handler));
        self
    }

    /// How each worker is spawned: where it runs, its restarts. A name would be taken by the first. A worker has one job
    /// at a time, so its mailbox is always unbounded.
    pub fn workers(mut self, options: SpawnOptions) -> Self {
        self.workers = options;
        self
    }

    /// How the pool itself is spawned: name, supervision of the workers. Default: a worker that fails is restarted, as
    /// often as need be. Its mailbox is always unbounded: it is what the workers report to, and what bounds the jobs is
    /// their [`capacity`](WorkSettings::capacity). A decider is not to resume a worker: its job would stay with it until
    /// [`patience`](WorkSettings::patience) is over.
    pub fn options(mut self, options: SpawnOptions) -> Self {
        self.options = options;
        self
    }

    /// Spawns it. Jobs can be submitted at once.
    ///
    /// # Errors
    /// As [`System::spawn_with`].
    pub fn spawn(self, system: &System) -> Result<WorkPool<W>, SpawnError> {
        let (options, factory) = self.keeper();
        let keeper = system.spawn_with(options, factory)?;
        Ok(WorkPool { keeper })
    }

    /// Spawns it as a child.
    ///
    /// # Errors
    /// As [`Context::spawn_with`].
    pub fn spawn_in<P: Actor>(self, cx: &mut Context<'_, P>) -> Result<WorkPool<W>, SpawnError> {
        let (options, factory) = self.keeper();
        let keeper = cx.spawn_with(options, factory)?;
        Ok(WorkPool { keeper })
    }

    fn keeper(mut self) -> (SpawnOptions, impl FnMut() -> Keeper<W> + Send) {
        let mut options = core::mem::take(&mut self.options);
        // Neither what is given nor the system's kind: a report that finds no room would be waited for.
        options.mailbox = Some(MailboxOptions::unbounded());
        self.workers.mailbox = options.mailbox;
        if SUPERVISION && options.supervision.is_none() {
            options = options.supervision(Supervision::one_for_one().unlimited_restarts());
        }
        let plan = Arc::new(self);
        (options, move || Keeper::new(Arc::clone(&plan)))
    }
}

impl<W: Work> fmt::Debug for WorkPoolBuilder<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkPoolBuilder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// A pool of workers that do jobs of one kind. Clones are the same pool.
///
/// A job that waits is given to the worker that is free first. Each worker has one job at a time. If it fails, is too
/// slow or ends, its job is tried again: first by the worker that takes its place. So a job may be done more than once,
/// in part or whole, and whoever submitted it is answered once.
///
/// Times are measured on the system's clock; without timers a job that has waited for too long is noticed only when
/// its turn comes, and a slow worker not at all.
///
/// ```
/// use hikyaku_core::{Context, Failure, Hand, System, Work, WorkPool};
///
/// struct Squares;
///
/// impl Work for Squares {
///     type Job = u64;
///     type Done = u64;
///     async fn work(&mut self, job: &u64, _: &mut Context<'_, Hand<Self>>) -> Result<u64, Failure> {
///         Ok(job * job)
///     }
/// }
///
/// async fn demo(system: &System) -> Result<(), Failure> {
///     let pool = WorkPool::builder(4, || Squares).settings(|s| s.capacity = 100).spawn(system)?;
///     assert_eq!(pool.submit(7).await?, 49);
///     pool.configure(|s| s.workers = 8);
///     pool.drain().await;
///     Ok(())
/// }
/// ```
pub struct WorkPool<W: Work> {
    keeper: ActorRef<Order<W>>,
}

impl<W: Work> WorkPool<W> {
    /// A pool of so many workers, made by `factory`.
    pub fn builder(
        workers: usize,
        factory: impl Fn() -> W + Send + Sync + 'static,
    ) -> WorkPoolBuilder<W> {
        // By way of a box: the `Arc` of targets without compare-and-swap is no language item.
        let factory: Box<dyn Fn() -> W + Send + Sync> = Box::new(factory);
        WorkPoolBuilder {
            factory: Arc::from(factory),
            settings: WorkSettings::new(workers),
            key: None,
            on_discard: None,
            workers: SpawnOptions::new(),
            options: SpawnOptions::new(),
        }
    }

    /// Hands in a job, and waits until it is done. It is handed in now, not when the future is first polled.
    ///
    /// # Errors
    /// [`JobError`], see there.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the answer; the job is done all the same.
    pub fn submit(
        &self,
        job: W::Job,
    ) -> impl Future<Output = Result<W::Done, JobError>> + Send + use<'_, W> {
        let answer = self.keeper.ask(|reply| Order::Submit(job, Some(reply)));
        async move {
            answer.await.unwrap_or_else(|error| {
                Err(match error {
                    AskError::Closed => JobError::Closed,
                    _ => JobError::Lost,
                })
            })
        }
    }

    /// Hands in a job whose outcome nobody waits for.
    ///
    /// # Errors
    /// [`SendError::Closed`] with the job, if the pool has ended.
    pub fn tell(&self, job: W::Job) -> Result<(), SendError<W::Job>> {
        self.keeper
            .tell(Order::Submit(job, None))
            .map_err(|refused| refused.map(Order::into_job))
    }

    /// Changes the settings. Jobs that wait and workers that are too many are dealt with at once.
    pub fn configure(&self, change: impl FnOnce(&mut WorkSettings) + Send + 'static) {
        // A pool that has ended has no settings.
        let _ = self.keeper.tell(Order::Configure(Box::new(change)));
    }

    /// How it is doing, seen after all that was handed in before. None if it has ended.
    pub fn stats(&self) -> impl Future<Output = Option<WorkStats>> + Send + use<'_, W> {
        let answer = self.keeper.ask(Order::Stats);
        async move { answer.await.ok() }
    }

    /// Takes no more jobs, does those that it has, and ends. Resolves then.
    ///
    /// # Cancel safety
    /// The end is ordered by the call, and goes on if the future is dropped.
    pub fn drain(&self) -> Stopped {
        // If it has ended, that is all.
        let _ = self.keeper.tell(Order::Drain);
        self.keeper.stopped()
    }

    /// Ends it: workers finish the job in hand, whose answer is lost, and what waits is lost. Also what the end of
    /// its parent or its system does; to do all jobs before, [`drain`](Self::drain) it.
    pub fn stop(&self) {
        self.keeper.stop();
    }

    /// Resolves when it has ended. As [`ActorRef::stopped`].
    pub fn stopped(&self) -> Stopped {
        self.keeper.stopped()
    }

    /// Its index, to be told apart in events.
    pub fn index(&self) -> MailboxIndex {
        self.keeper.index()
    }
}

impl<W: Work> Clone for WorkPool<W> {
    fn clone(&self) -> Self {
        Self {
            keeper: self.keeper.clone(),
        }
    }
}

impl<W: Work> fmt::Debug for WorkPool<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WorkPool").field(&self.keeper).finish()
    }
}
