//! Hikyaku actors in an Embassy firmware.
//!
//! A worker is [`run`] in a task; timers need an [`EmbassyDriver`] in another, and the [`EmbassyClock`]. Both tasks
//! sleep while there is nothing to do. A firmware whose actors use no time leaves clock and driver out, and needs no
//! time driver then.
//!
//! ```no_run
//! use embassy_executor::Spawner;
//! use hikyaku_core::{System, Worker};
//! use hikyaku_embassy::{EmbassyClock, EmbassyDriver};
//!
//! #[embassy_executor::task]
//! async fn actors(worker: Worker) {
//!     hikyaku_embassy::run(worker).await;
//! }
//!
//! #[embassy_executor::task]
//! async fn ticks(driver: EmbassyDriver) {
//!     driver.run().await;
//! }
//!
//! fn start(spawner: Spawner) -> System {
//!     let driver = EmbassyDriver::new();
//!     let (system, mut workers) = System::builder("firmware")
//!         .max_actors(8)
//!         .max_timers(8)
//!         .clock(EmbassyClock)
//!         .tick_driver(driver.clone())
//!         .build()
//!         .unwrap();
//!     spawner.spawn(actors(workers.remove(0)).unwrap());
//!     spawner.spawn(ticks(driver).unwrap());
//!     system
//! }
//! ```
//!
//! # Embassy in handlers
//!
//! Handlers may await what Embassy has. Its timers belong to Embassy's own tasks by default, and panic when an actor
//! awaits them; with a feature `generic-queue-N` of `embassy-time-queue-utils`, turned on by the firmware, they do not.
//! `Context::sleep` and the timers of actors need none of it.
//!
//! # Interrupts
//!
//! References may be used and dropped in interrupts. Futures of the runtime must not be polled there.
#![no_std]

extern crate alloc;

#[cfg(feature = "defmt")]
mod log;
mod ticks;
mod worker;

#[cfg(feature = "defmt")]
pub use crate::log::{Logged, log_events};
pub use crate::ticks::{EmbassyClock, EmbassyDriver};
pub use crate::worker::run;
