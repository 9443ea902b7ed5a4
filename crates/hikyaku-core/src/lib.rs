//! The hikyaku actor runtime: cells, mailboxes, scheduling. `no_std` with `alloc`.
//!
//! Programs on an operating system use the `hikyaku` crate, which adds threads, clocks and Tokio
//! to what is here. This crate is for executors, and for targets without `std`.
//!
//! An [`Actor`] is a value with an async handler. It is spawned into a [`System`], which gives an
//! [`ActorRef`] to send it messages. The system's [`Worker`]s run the actors that have messages;
//! an executor polls the workers.
//!
//! ```
//! use hikyaku_core::{Actor, Context, Failure, Reply, System, Turn};
//! use std::task::Waker;
//!
//! struct Counter(u64);
//!
//! enum CounterMsg { Add(u64), Total(Reply<u64>) }
//!
//! impl Actor for Counter {
//!     type Msg = CounterMsg;
//!
//!     async fn handle(&mut self, msg: CounterMsg, _: &mut Context<'_, Self>) -> Result<(), Failure> {
//!         match msg {
//!             CounterMsg::Add(n) => self.0 += n,
//!             CounterMsg::Total(reply) => { let _ = reply.send(self.0); }
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let (system, mut workers) = System::builder("demo").build()?;
//! let counter = system.spawn(|| Counter(0))?;
//! counter.tell(CounterMsg::Add(3)).unwrap();
//! let total = counter.ask(CounterMsg::Total);
//!
//! // An executor would do this: run until there is nothing to do.
//! assert!(matches!(workers[0].poll(100, Waker::noop()), Turn::Idle { .. }));
//! # let mut total = std::pin::pin!(total);
//! # let mut cx = std::task::Context::from_waker(Waker::noop());
//! # let std::task::Poll::Ready(total) = total.as_mut().poll(&mut cx) else { panic!() };
//! # use std::future::Future;
//! assert_eq!(total, Ok(3));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![no_std]
#![cfg_attr(
    not(test),
    deny(
        clippy::std_instead_of_core,
        clippy::std_instead_of_alloc,
        clippy::alloc_instead_of_core
    )
)]

extern crate alloc;
#[cfg(any(feature = "std", test, loom))]
extern crate std;

mod actor;
mod actor_ref;
mod agenda;
mod ask;
mod blocking;
mod cell;
mod circuit_breaker;
mod clock;
mod dead_letter;
mod dispatcher;
mod event_stream;
mod extension;
mod failure;
mod flow;
mod foreman;
mod fsm;
mod invoker;
mod late;
mod mailbox;
#[allow(dead_code, reason = "with `std`, `sync.rs` takes a tree instead")]
mod map;
mod middleware;
mod names;
mod pipe;
mod pool;
// Without `std` no thread knows that it is a worker's, so there is one queue for all.
#[cfg(any(loom, feature = "std"))]
mod ready;
#[cfg(not(any(loom, feature = "std")))]
#[path = "ready/queue.rs"]
mod ready;
mod receptionist;
mod registry;
mod reliable_delivery;
mod router;
mod stash;
mod state;
mod supervision;
mod suspension;
mod sync;
mod system;
mod tenants;
mod time;
mod timer;
mod work_pulling;
mod worker;

pub use crate::actor::{
    Actor, Child, Context, Deadline, Local, LocalActor, NotInfluenceReceiveTimeout, YieldNow, once,
};
pub use crate::actor_ref::{
    ActorRef, CapacityError, Recipient, SendError, Sending, Started, Stopped, WeakRecipient,
    WeakRef, Wrap,
};
pub use crate::ask::{Ask, AskError, Cancelled, Reply, Within};
pub use crate::blocking::{Blocking, BlockingError, BlockingPool, Job};
pub use crate::cell::cell_size;
pub use crate::circuit_breaker::{BreakerChange, BreakerState, CircuitBreaker, Permit, Rejected};
pub use crate::clock::{Clock, ticks_of_time, time_of_ticks};
pub use crate::dead_letter::{DeadLetter, DeadLetterReason};
pub use crate::dispatcher::{Dispatcher, DispatcherBuilder};
pub use crate::event_stream::{Event, Events, Pressure, SubscribeError, Subscription};
pub use crate::extension::Extension;
pub use crate::failure::{Failure, FailureReport, StartError, StopCause};
pub use crate::foreman::{Foreman, Staffing};
pub use crate::fsm::{Fsm, TransitionListener};
pub use crate::invoker::InvokeResult;
pub use crate::mailbox::{InvalidOptions, MailboxOptions, MailboxOverflowPolicy, Priority};
pub use crate::middleware::{
    Decision, Done, Incoming, MessageOutcome, Middleware, PauseWhileFull, RateLimit,
    SpawnMiddleware, Spawning, TimeToLive, TokenBucket,
};
pub use crate::pipe::Ended;
pub use crate::receptionist::{Listing, Receptionist, RegisterError, ServiceKey};
pub use crate::registry::MailboxIndex;
pub use crate::reliable_delivery::{Assembly, Chunk, Consumer, Delivery, Demand, Packet, Producer};
pub use crate::router::pool::{Pool, PoolRef, Resizer};
pub use crate::router::{Routed, Router, Routing};
pub use crate::stash::StashFull;
pub use crate::supervision::{
    AutoShutdown, Backoff, Escalation, RestartPolicy, Supervision, SupervisionDirective,
    SupervisionStrategy,
};
pub use crate::suspension::{
    ResumeCondition, SignalKey, SuspendError, SuspendReason, SuspendStats,
};
pub use crate::system::{
    BuildError, Metrics, SpawnError, SpawnOptions, System, SystemBuilder, SystemState, Terminated,
};
pub use crate::time::{
    ManualDriver, NextTick, Sleep, SleepError, StopToken, TickDriver, TickHandle,
};
pub use crate::timer::{PileUp, Timer, TimerError, TimerKey};
pub use crate::work_pulling::{
    Hand, JobError, JobOverflow, Work, WorkPool, WorkPoolBuilder, WorkSettings, WorkStats,
};
pub use crate::worker::{LocalSpawner, LocalWorker, PinnedWorker, Turn, Worker, WorkerExecutor};
