//! Tests for hikyaku actors without threads, clocks or chance.
//!
//! A [`Sim`] is a system whose workers take turns on this thread, one small step at a time, in an
//! order drawn from a seed. Code that is no actor joins in as a task. The same seed gives the same
//! run, so a test that fails once fails every time.
//!
//! ```
//! use hikyaku_core::{Actor, Context, Failure, Reply};
//! use hikyaku_testkit::check_seeds;
//!
//! struct Counter(u64);
//!
//! enum CounterMsg { Add(u64), Total(Reply<u64>) }
//!
//! impl Actor for Counter {
//!     type Msg = CounterMsg;
//!     async fn handle(&mut self, msg: CounterMsg, _: &mut Context<'_, Self>) -> Result<(), Failure> {
//!         match msg {
//!             CounterMsg::Add(n) => self.0 += n,
//!             CounterMsg::Total(reply) => { let _ = reply.send(self.0); }
//!         }
//!         Ok(())
//!     }
//! }
//!
//! // One run for each of fifty seeds. If one fails, its seed and the command to run it again are printed.
//! check_seeds(50, |sim| {
//!     let counter = sim.spawn(|| Counter(0)).unwrap();
//!     for n in 1..=3 {
//!         let counter = counter.clone();
//!         sim.spawn_task(async move { counter.send(CounterMsg::Add(n)).await.unwrap() });
//!     }
//!     sim.run_until_idle();
//!     assert_eq!(sim.block_on(counter.ask(CounterMsg::Total)), Ok(6));
//! });
//! ```
//!
//! A future that waits while everything is idle panics at once, instead of hanging: that is how a
//! lost wake-up or a deadlock shows.
//!
//! # When a seed fails
//!
//! Everything that a run decides comes from one source and is recorded: who is next, which faults
//! happen, what [`Sim::below`] gives. [`check_seeds`] and [`explore`] run a failing test again with
//! fewer and fewer decisions, and print the shortest [`Recording`] that still fails at the same line,
//! with the command to run it:
//!
//! ```text
//! seed 2 fails; to run it again:
//!     HIKYAKU_SEED=2 cargo test -p bank -- --exact tests::nobody_overdraws
//! 15 decisions instead of 33 fail at the same line; to run them:
//!     HIKYAKU_TRACE=2:z10,1,1,0,1 cargo test -p bank -- --exact tests::nobody_overdraws
//! ```
//!
//! Here all decisions are plain, so whoever ran went on, but for three: those are the race.
//!
//! # Expecting messages, injecting faults, leaving nothing behind
//!
//! A [`Probe`] stands in for an actor that the test plays itself. [`Sim::delayed`] makes a slow way to
//! an actor, [`Sim::kill_within`] kills one at some moment, and [`Faults`] are places in the actors of
//! a test that may fail. [`Sim::finish`] fails the test if messages, failures or actors are left over;
//! with [`SimBuilder::strict`] it comes by itself.
//!
//! ```
//! use hikyaku_core::{Actor, ActorRef, Context, Failure, Timer};
//! use hikyaku_testkit::check_seeds;
//! use std::time::Duration;
//!
//! /// Says when it is time.
//! struct Alarm(ActorRef<&'static str>);
//!
//! #[derive(Clone)]
//! enum AlarmMsg { Ring }
//!
//! impl Actor for Alarm {
//!     type Msg = AlarmMsg;
//!     async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
//!         cx.start_timer("alarm", Timer::once(Duration::from_secs(60), AlarmMsg::Ring))?;
//!         Ok(())
//!     }
//!     async fn handle(&mut self, _: AlarmMsg, _: &mut Context<'_, Self>) -> Result<(), Failure> {
//!         let _ = self.0.tell("time to get up");
//!         Ok(())
//!     }
//! }
//!
//! check_seeds(20, |sim| {
//!     let mut probe = sim.probe();
//!     let sleeper = sim.delayed(&probe.actor(), 10).unwrap();
//!     sim.spawn(move || Alarm(sleeper.clone())).unwrap();
//!     probe.within(Duration::from_secs(59)).expect_none(sim);
//!     assert_eq!(probe.within(Duration::from_secs(2)).expect(sim), "time to get up");
//!     sim.finish();
//! });
//! ```
//!
//! [`conformance_suite!`] runs the project's own scenarios on an executor of any kind.

mod clock;
mod decisions;
mod driver;
mod effects;
mod fault;
mod leftovers;
mod probe;
mod quiet;
mod recording;
mod seeds;
mod shrink;
pub mod suite;
mod task;
mod trace;

pub use crate::clock::VirtualClock;
pub use crate::driver::{Sim, SimBuilder};
pub use crate::effects::Effect;
pub use crate::fault::Faults;
pub use crate::probe::Probe;
pub use crate::recording::{Recording, RecordingError};
pub use crate::seeds::{Found, check_seeds, explore, replay, search};
pub use crate::task::Task;
pub use crate::trace::Trace;
