//! Pressure: how much is queued, and who is told when that is too much.
//!
//! One word: the depth, whether the last event was `High`, and whether somebody is publishing. The one who publishes
//! looks again afterwards, so events alternate, and in this order, without a lock: what happens meanwhile is
//! told by the one who is at it.
//!
//! # Concurrency
//!
//! Any thread. A message is counted before it is queued.

use crate::cell::CellPtr;
use crate::event_stream::{News, Pressure};
use crate::sync::{AtomicUsize, Ordering};
use alloc::boxed::Box;

const HIGH: usize = 1;
const PUBLISHING: usize = 2;
const ONE: usize = 4;

pub(crate) struct Gauge {
    state: AtomicUsize,
    high: usize,
    low: usize,
    name: Option<Box<str>>,
}

impl Gauge {
    pub(crate) fn new(high: usize, low: usize, name: Option<Box<str>>) -> Self {
        Self {
            state: AtomicUsize::new(0),
            high,
            low,
            name,
        }
    }

    pub(crate) fn add(&self) {
        // Relaxed: a number; the queue hands the message over.
        self.state.fetch_add(ONE, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self) {
        // Relaxed: as above.
        self.state.fetch_sub(ONE, Ordering::Relaxed);
    }

    pub(crate) fn depth(&self) -> usize {
        // Relaxed: as above.
        self.state.load(Ordering::Relaxed) / ONE
    }

    /// Tells what there is to tell. *Any thread, holding no lock.*
    pub(crate) fn settle(&self, cell: CellPtr) {
        // Relaxed, all: the word is all that is handed over.
        let mut seen = self.state.load(Ordering::Relaxed);
        loop {
            let depth = seen / ONE;
            let turns = if seen & HIGH == 0 {
                depth >= self.high
            } else {
                depth <= self.low
            };
            if !turns || seen & PUBLISHING != 0 {
                return;
            }
            let new = seen ^ HIGH | PUBLISHING;
            // Acquire: the event comes after the one before it. Relaxed on failure: only the next guess.
            match self
                .state
                .compare_exchange_weak(seen, new, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => {
                    let pressure = if new & HIGH == 0 {
                        Pressure::Low
                    } else {
                        Pressure::High
                    };
                    let news = News::Pressure(cell.index(), self.name.as_deref(), pressure, depth);
                    cell.home().shared.events().publish(&news);
                    // Release: pairs with the Acquire above.
                    let before = self.state.fetch_and(!PUBLISHING, Ordering::Release);
                    seen = before & !PUBLISHING;
                }
                Err(now) => seen = now,
            }
        }
    }
}
