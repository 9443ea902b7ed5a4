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
//! [`conformance_suite!`] runs the project's own scenarios on an executor of any kind.

mod clock;
mod driver;
mod seeds;
pub mod suite;
mod task;
mod trace;

pub use crate::clock::VirtualClock;
pub use crate::driver::{Sim, SimBuilder};
pub use crate::seeds::{check_seeds, explore};
pub use crate::task::Task;
pub use crate::trace::Trace;
