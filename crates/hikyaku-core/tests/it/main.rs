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
#[cfg(feature = "flow")]
mod capacity;
mod circuit_breaker;
#[cfg(feature = "flow")]
mod control;
mod deadlines;
mod events;
mod extension;
mod fairness;
#[cfg(feature = "flow")]
mod flow;
mod fsm;
mod lifecycle;
mod local;
mod mailbox;
#[cfg(feature = "flow")]
mod middleware;
#[cfg(feature = "flow")]
mod overflow;
#[cfg(feature = "std")]
mod panics;
mod pipe;
#[cfg(feature = "flow")]
mod pressure;
#[cfg(feature = "flow")]
mod priority;
mod puppet;
mod receptionist;
mod reliable_delivery;
mod router;
mod scheduling;
mod shapes;
#[cfg(feature = "flow")]
mod stash;
#[cfg(feature = "supervision")]
mod supervision;
mod suspension;
mod time;
#[cfg(not(feature = "supervision"))]
mod unsupervised;
mod watch;
mod work_pulling;
