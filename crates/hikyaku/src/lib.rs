//! An actor runtime for Rust: one runtime, one API, one set of guarantees.
//!
//! ```
//! use hikyaku::prelude::*;
//!
//! struct Counter { total: u64 }
//!
//! enum CounterMsg { Add(u64), Total(Reply<u64>) }
//!
//! impl Actor for Counter {
//!     type Msg = CounterMsg;
//!
//!     async fn handle(&mut self, msg: CounterMsg, _: &mut Context<'_, Self>) -> Result<(), Failure> {
//!         match msg {
//!             CounterMsg::Add(n) => self.total += n,
//!             CounterMsg::Total(reply) => { let _ = reply.send(self.total); }
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let system = ActorSystem::new("demo")?;
//! let counter = system.spawn(|| Counter { total: 0 })?;
//! counter.tell(CounterMsg::Add(3))?;
//! let total = hikyaku::block_on(counter.ask(CounterMsg::Total))?;
//! assert_eq!(total, 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which executor
//!
//! | | actors run on | for |
//! |---|---|---|
//! | [`ActorSystem::new`] | own worker threads | servers and pipelines |
//! | the same, inside a Tokio runtime | threads that have entered it, or a task of it | handlers that await Tokio's I/O and timers |
//! | [`Builder::workers`] with a range | as many own threads as the load asks for | loads that come and go |
//! | [`Builder::tokio`], [`Builder::own_runtime`] | tasks of that runtime | programs whose threads are Tokio's |
//! | [`CurrentThread::block_on`] | the thread that calls it | tools, tests, actors that are not `Send` |
//! | [`CurrentThread::run_until`] | whoever polls it | a `LocalSet`, the event loop of a browser |
//!
//! Within an [`ActorSystem`], for some of the actors:
//!
//! | | runs on | for |
//! |---|---|---|
//! | [`ActorSystem::spawn_pinned`], [`spawn_pinned_local`](ActorSystem::spawn_pinned_local) | a thread of its own | what is bound to a thread, or not `Send` |
//! | [`ActorSystem::spawn_blocking`] | threads that are started when needed | actors whose handlers block |
//! | [`ActorSystem::start_dispatcher`] | own threads, apart from the others | loads that must not delay each other |
//! | [`Context::blocking`] | threads that are started when needed | a function that blocks |
//!
//! What a message, a reference and a stop mean is the same on all of them.
//!
//! # Around the actors
//!
//! [`System::events`] tells of failures, ends and dead letters; [`DeadLetterLog`] logs the latter.
//! [`System::receptionist`] finds actors by what they do. [`System::extension`] attaches a value to a
//! system. [`CoordinatedShutdown`] ends a system in phases.

mod block_on;
mod blocking;
mod builder;
mod clock;
mod crew;
mod current_thread;
mod dead_letter_log;
mod park;
mod pinned;
mod settings;
mod shutdown;
mod sink;
mod system;
mod threads;
mod ticks;
#[cfg(feature = "tokio")]
mod tokio;

pub use crate::block_on::block_on;
pub use crate::builder::{BuildError, Builder, Workers};
pub use crate::clock::StdClock;
pub use crate::current_thread::CurrentThread;
pub use crate::dead_letter_log::DeadLetterLog;
pub use crate::settings::Settings;
pub use crate::shutdown::{
    AddTaskError, CoordinatedShutdown, Phase, Phases, PhasesError, ShutdownError, ShutdownReason,
    ShutdownRun, TaskFailure, TaskKey, UnknownPhase,
};
pub use crate::sink::MetricsSink;
pub use crate::system::ActorSystem;
pub use crate::ticks::ThreadDriver;
#[cfg(feature = "tokio")]
pub use crate::tokio::TokioDriver;

pub use hikyaku_core::{
    Actor, ActorRef, Ask, AskError, Assembly, AutoShutdown, Backoff, Blocking, BlockingError,
    BreakerChange, BreakerState, Cancelled, CapacityError, Child, Chunk, CircuitBreaker, Clock,
    Consumer, Context, DeadLetter, DeadLetterReason, Deadline, Decision, Delivery, Demand,
    Dispatcher, DispatcherBuilder, Done, Ended, Escalation, Event, Events, Extension, Failure,
    FailureReport, Fsm, Hand, Incoming, InvalidOptions, JobError, JobOverflow, Listing, Local,
    LocalActor, MailboxIndex, MailboxOptions, MailboxOverflowPolicy, ManualDriver, MessageOutcome,
    Metrics, Middleware, NotInfluenceReceiveTimeout, Packet, PauseWhileFull, Permit, PileUp, Pool,
    PoolRef, Pressure, Priority, Producer, RateLimit, Receptionist, Recipient, RegisterError,
    Rejected, Reply, Resizer, RestartPolicy, ResumeCondition, Routed, Router, Routing, SendError,
    Sending, ServiceKey, SignalKey, Sleep, SleepError, SpawnError, SpawnMiddleware, SpawnOptions,
    Spawning, StartError, Started, StashFull, StopCause, Stopped, SubscribeError, Subscription,
    Supervision, SupervisionDirective, SupervisionStrategy, SuspendError, SuspendReason,
    SuspendStats, System, SystemState, Terminated, TimeToLive, Timer, TimerError, TimerKey,
    TokenBucket, TransitionListener, WeakRecipient, WeakRef, Within, Work, WorkPool,
    WorkPoolBuilder, WorkSettings, WorkStats, Wrap, YieldNow, cell_size, once,
};

/// What an executor of one's own needs. A program that only uses actors does not.
pub mod executor {
    pub use crate::threads::ThreadExecutor;
    pub use hikyaku_core::{
        BlockingPool, Foreman, InvokeResult, Job, LocalSpawner, LocalWorker, NextTick,
        PinnedWorker, ResumeCondition, Staffing, StopToken, SuspendReason, SystemBuilder,
        TickDriver, TickHandle, Turn, Worker, WorkerExecutor,
    };
}

/// What most programs use.
pub mod prelude {
    pub use crate::{
        Actor, ActorRef, ActorSystem, AskError, Context, Failure, MailboxOptions, Recipient, Reply,
        SendError, SpawnError, SpawnOptions, StopCause, once,
    };
}

/// The README's code is tested with the rest.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
