//! A thread that drives the timers.

use crate::crew::Crew;
use crate::park::Parker;
use hikyaku_core::{Failure, NextTick, StopToken, TickDriver, TickHandle};
use std::sync::Arc;
use std::task::Waker;
use std::thread;

/// Drives the timers of a system on a thread of its own, which sleeps until the next one is due: the
/// default on own threads. A system without timers leaves it asleep.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThreadDriver;

impl TickDriver for ThreadDriver {
    fn start(self: Box<Self>, handle: TickHandle, stop: StopToken) -> Result<(), Failure> {
        thread::Builder::new()
            .name("hikyaku-ticks".into())
            .spawn(move || drive(&handle, &stop))?;
        Ok(())
    }
}

/// A [`ThreadDriver`] whose thread is one of the crew, so that its end is awaited with the others'.
#[derive(Debug)]
pub(crate) struct CrewDriver(pub(crate) Arc<Crew>);

impl TickDriver for CrewDriver {
    fn start(self: Box<Self>, handle: TickHandle, stop: StopToken) -> Result<(), Failure> {
        self.0.start("ticks", move || drive(&handle, &stop))?;
        Ok(())
    }
}

fn drive(handle: &TickHandle, stop: &StopToken) {
    let parker = Parker::new();
    let waker = Waker::from(Arc::clone(&parker));
    loop {
        let next = handle.tick(&waker);
        if stop.is_stopped() {
            return;
        }
        let wait = match next {
            NextTick::Never => None,
            NextTick::At(due) => Some(due.saturating_sub(handle.now())),
        };
        if wait.is_none_or(|wait| !wait.is_zero()) {
            parker.park(0, wait);
        }
    }
}
