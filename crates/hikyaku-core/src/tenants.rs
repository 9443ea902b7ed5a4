//! How cells keep their dispatcher alive.
//!
//! All cells of a dispatcher share one reference to it, and are counted: whoever adds to a count of
//! zero takes the reference, whoever takes away the last gives it back. So a worker can count many
//! at once, ahead, and cells that come and go on its thread cost no read-modify-write.
//! Without `std` nobody counts ahead, and each cell has a reference of its own instead.
//!
//! ```text
//!   no cells ──found, with a new reference──► cells ──join, leave──► cells ──last leave──► no cells
//! ```
//!
//! # Concurrency
//!
//! [`Tenants`]: any thread; who adds holds the dispatcher meanwhile. [`Stock`]: its worker, whose own
//! reference outlives it.

use crate::sync::{AtomicUsize, Ordering};
use core::cell::Cell;

/// The cells of a dispatcher, those in stock included.
pub(crate) struct Tenants(AtomicUsize);

impl Tenants {
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Adds `cells`. `keep` takes one reference to the dispatcher, `drop` gives one back; the caller
    /// holds another one meanwhile.
    pub(crate) fn add(&self, cells: usize, keep: impl FnOnce(), drop: impl FnOnce()) {
        // Relaxed: only a first guess for the exchange.
        let mut seen = self.0.load(Ordering::Relaxed);
        while seen != 0 {
            match self.0.compare_exchange_weak(
                seen,
                seen + cells,
                // Relaxed, twice: as a reference that is cloned, it carries nothing.
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
        // Before the count: from then on anyone may give it back.
        keep();
        // Relaxed: as above.
        if self.0.fetch_add(cells, Ordering::Relaxed) != 0 {
            // Somebody was faster, whose reference is for all.
            drop();
        }
    }

    /// Takes `cells` away. True if none is left: the caller gives the reference back, and if not, does
    /// not touch the dispatcher any more.
    #[must_use]
    pub(crate) fn take_away(&self, cells: usize) -> bool {
        // Release: what was done with the cells comes before the end of the dispatcher. Acquire: the
        // last one sees it.
        self.0.fetch_sub(cells, Ordering::AcqRel) == cells
    }
}

/// So many are added at once.
const REFILL: usize = 64;
/// A stock that is larger gives back all but `REFILL`.
const MOST: usize = 256;

/// Counted ahead by a worker: cells that it may make, or that have ended on its thread. *Its worker.*
pub(crate) struct Stock(Cell<usize>);

#[allow(dead_code, reason = "without `std` nobody counts ahead")]
impl Stock {
    pub(crate) fn new() -> Self {
        Self(Cell::new(0))
    }

    /// For one cell. `refill` adds so many to the tenants.
    #[inline]
    pub(crate) fn take(&self, refill: impl FnOnce(usize)) {
        let mut left = self.0.get();
        if left == 0 {
            refill(REFILL);
            left = REFILL;
        }
        self.0.set(left - 1);
    }

    /// One cell has gone. `surplus` takes so many away from the tenants, never all of them.
    #[inline]
    pub(crate) fn give(&self, surplus: impl FnOnce(usize)) {
        let mut there = self.0.get() + 1;
        if there > MOST {
            surplus(there - REFILL);
            there = REFILL;
        }
        self.0.set(there);
    }

    /// All that is left.
    pub(crate) fn clear(&self) -> usize {
        self.0.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dispatcher that counts its references, and notes that the last has gone.
    #[cfg_attr(not(loom), allow(dead_code, reason = "the races only"))]
    struct Dispatcher {
        references: AtomicUsize,
        gone: AtomicUsize,
        tenants: Tenants,
    }

    #[cfg_attr(not(loom), allow(dead_code, reason = "the races only"))]
    impl Dispatcher {
        fn held_by(references: usize) -> Self {
            Self {
                references: AtomicUsize::new(references),
                gone: AtomicUsize::new(0),
                tenants: Tenants::new(),
            }
        }

        fn keep(&self) {
            // Relaxed: as `Arc` does.
            let before = self.references.fetch_add(1, Ordering::Relaxed);
            assert_ne!(before, 0, "kept by nobody");
        }

        fn let_go(&self) {
            // Acquire and Release: as `Arc` does.
            if self.references.fetch_sub(1, Ordering::AcqRel) == 1 {
                // Relaxed: for the test's own eyes.
                assert_eq!(self.gone.fetch_add(1, Ordering::Relaxed), 0, "once");
            }
        }

        fn add(&self, cells: usize) {
            self.tenants.add(cells, || self.keep(), || self.let_go());
        }

        fn take_away(&self, cells: usize) {
            if self.tenants.take_away(cells) {
                self.let_go();
            }
        }

        fn is_gone(&self) -> bool {
            // Relaxed: likewise.
            self.gone.load(Ordering::Relaxed) == 1
        }
    }

    #[cfg(not(loom))]
    #[test]
    fn the_last_cell_or_holder_ends_the_dispatcher() {
        let dispatcher = Dispatcher::held_by(1);
        dispatcher.add(2);
        dispatcher.add(1);
        dispatcher.take_away(3);
        assert!(!dispatcher.is_gone());
        dispatcher.add(1);
        dispatcher.let_go();
        assert!(!dispatcher.is_gone(), "a cell is left");
        dispatcher.take_away(1);
        assert!(dispatcher.is_gone());
    }

    #[cfg(not(loom))]
    #[test]
    fn a_stock_adds_and_gives_back_in_bulk() {
        let stock = Stock::new();
        let (mut added, mut taken) = (0, 0);
        for _ in 0..REFILL + 1 {
            stock.take(|cells| added += cells);
        }
        assert_eq!(added, 2 * REFILL);
        for _ in 0..1000 {
            stock.give(|cells| taken += cells);
        }
        let cells = REFILL + 1;
        assert!(stock.0.get() <= MOST && taken > 0);
        assert_eq!(added + 1000 - cells, taken + stock.clear());
        assert_eq!(stock.clear(), 0);
    }

    #[cfg(loom)]
    mod loom {
        use super::Dispatcher;
        use crate::sync::Arc;
        use ::loom::{model, thread};

        /// One spawns, holding the dispatcher, while the last cell goes elsewhere.
        #[test]
        fn a_spawn_against_the_last_free() {
            model(|| {
                // A spawner's, and that of this thread, for the cell.
                let dispatcher = Arc::new(Dispatcher::held_by(2));
                dispatcher.add(1);
                let other = Arc::clone(&dispatcher);
                let spawner = thread::spawn(move || {
                    other.add(1);
                    other.let_go();
                    other.take_away(1);
                });
                dispatcher.let_go();
                dispatcher.take_away(1);
                spawner.join().unwrap();
                assert!(dispatcher.is_gone());
            });
        }

        /// Two found the tenancy at once, and one of their cells stays.
        #[test]
        fn two_first_spawns() {
            model(|| {
                let dispatcher = Arc::new(Dispatcher::held_by(2));
                let other = Arc::clone(&dispatcher);
                let spawner = thread::spawn(move || {
                    other.add(1);
                    other.let_go();
                });
                dispatcher.add(1);
                dispatcher.take_away(1);
                dispatcher.let_go();
                spawner.join().unwrap();
                assert!(!dispatcher.is_gone(), "one cell is left");
                dispatcher.take_away(1);
                assert!(dispatcher.is_gone());
            });
        }

        /// A worker gives its stock back and goes, while one spawns and the last cell is freed.
        #[test]
        fn a_worker_goes_while_others_spawn_and_free() {
            model(|| {
                let dispatcher = Arc::new(Dispatcher::held_by(2));
                // The worker's: one cell, which lives on, and two in stock.
                dispatcher.add(3);
                let freeing = Arc::clone(&dispatcher);
                let freer = thread::spawn(move || freeing.take_away(1));
                let spawning = Arc::clone(&dispatcher);
                let spawner = thread::spawn(move || {
                    spawning.add(1);
                    spawning.let_go();
                    spawning.take_away(1);
                });
                dispatcher.take_away(2);
                dispatcher.let_go();
                freer.join().unwrap();
                spawner.join().unwrap();
                assert!(dispatcher.is_gone());
            });
        }
    }
}
