//! The runtime as its users see it, on virtual workers whose order is drawn from seeds.
//!
//! Panics of actors are caught with `std` only, so tests of them are left out without.

mod ask;
mod lifecycle;
mod mailbox;
mod puppet;
mod scheduling;
