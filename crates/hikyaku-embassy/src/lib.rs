//! Hikyaku actors in an Embassy firmware.
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
