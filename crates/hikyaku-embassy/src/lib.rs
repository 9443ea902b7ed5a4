//! Hikyaku actors in an Embassy firmware.
#![no_std]

extern crate alloc;

mod ticks;
mod worker;

pub use crate::ticks::{EmbassyClock, EmbassyDriver};
pub use crate::worker::run;
