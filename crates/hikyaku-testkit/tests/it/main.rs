//! The test kit does what it says.

mod driver;
mod faults;
mod finish;
mod probes;
mod replay;
