//! The runtime as its users see it, on virtual workers whose order is drawn from seeds.
//!
//! Panics of actors are caught with `std` only, so tests of them are left out without.

#![allow(clippy::too_many_lines, reason = "a table of cases is long")]
#![cfg_attr(
    not(feature = "std"),
    allow(
        unused_mut,
        unused_imports,
        dead_code,
        reason = "used by tests of panics"
    )
)]

mod ask;
mod capacity;
mod circuit_breaker;
mod control;
mod deadlines;
mod events;
mod extension;
mod fairness;
mod flow;
mod fsm;
mod lifecycle;
mod local;
mod mailbox;
mod middleware;
mod overflow;
#[cfg(feature = "std")]
mod panics;
mod pipe;
mod pressure;
mod priority;
mod puppet;
mod receptionist;
mod reliable_delivery;
mod router;
mod scheduling;
mod stash;
mod supervision;
mod suspension;
mod time;
mod watch;
mod work_pulling;
