//! The one source of everything that a run decides.
//!
//! ```text
//!   driver, faults, links ──► Decisions ──┬─ free:     drawn from the seed ──────────┬──► tape
//!                                         └─ replayed: read from the recording, ─────┘
//!                                                      zero where it has ended
//! ```
//!
//! Zero is always the plain choice: whoever ran goes on, nothing fails. So a recording of zeros is
//! empty, and one with few other numbers is a run with few surprises.

use crate::recording::Recording;
use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The lock, also after a panic: what it guards is whole between any two statements.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Decides. Clones decide from the same source.
#[derive(Debug, Clone)]
pub(crate) struct Decisions {
    random: Arc<Mutex<Random>>,
    tape: Arc<Mutex<Tape>>,
}

/// What was decided, and what has to be.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    replayed: Option<Replayed>,
    made: Vec<u32>,
    /// How often there was something to decide, even if there was no choice.
    asked: usize,
}

#[derive(Debug)]
struct Replayed {
    values: Vec<u32>,
    /// A run that asks more often goes in circles.
    most: usize,
}

thread_local! {
    /// The tape of the test that is being explored on this thread. All its simulations share it.
    static SHARED: RefCell<Option<Arc<Mutex<Tape>>>> = const { RefCell::new(None) };
}

impl Tape {
    /// A tape for decisions that are drawn.
    pub(crate) fn free() -> Arc<Mutex<Self>> {
        Arc::default()
    }

    /// A tape that says what to decide.
    pub(crate) fn replay(values: Vec<u32>, most: usize) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            replayed: Some(Replayed { values, most }),
            ..Self::default()
        }))
    }

    /// Everything decided so far, and how many questions that took.
    pub(crate) fn outcome(&self) -> (Vec<u32>, usize) {
        (self.made.clone(), self.asked)
    }
}

/// Runs something whose simulations share a tape.
pub(crate) fn with_tape<T>(tape: &Arc<Mutex<Tape>>, run: impl FnOnce() -> T) -> T {
    /// Puts back what was there, also after a panic.
    struct Before(Option<Arc<Mutex<Tape>>>);
    impl Drop for Before {
        fn drop(&mut self) {
            let before = self.0.take();
            SHARED.with(|shared| drop(shared.replace(before)));
        }
    }
    let before = SHARED.with(|shared| shared.replace(Some(Arc::clone(tape))));
    let _before = Before(before);
    run()
}

impl Decisions {
    /// Drawn from a seed, or as the tape says of the test that is being explored.
    pub(crate) fn new(seed: u64) -> Self {
        let shared = SHARED.with(|shared| shared.borrow().clone());
        Self::on(shared.unwrap_or_else(Tape::free), seed)
    }

    /// As recorded.
    pub(crate) fn replay(recording: &Recording) -> Self {
        let tape = Tape::replay(recording.values().to_vec(), usize::MAX);
        Self::on(tape, recording.seed())
    }

    fn on(tape: Arc<Mutex<Tape>>, seed: u64) -> Self {
        let random = Arc::new(Mutex::new(Random(seed)));
        Self { random, tape }
    }

    /// All decisions so far.
    pub(crate) fn recording(&self, seed: u64) -> Recording {
        Recording::new(seed, lock(&self.tape).made.clone())
    }

    /// One of the numbers below `limit`. All are as likely.
    pub(crate) fn below(&self, limit: u32) -> u32 {
        self.decide(limit, |random| random.below(limit))
    }

    /// One of the numbers below `limit`, which is not zero; `choose` draws it. Where there is no
    /// choice, nothing is recorded.
    pub(crate) fn decide(&self, limit: u32, choose: impl FnOnce(&mut Random) -> u32) -> u32 {
        let mut tape = lock(&self.tape);
        let asked = tape.asked;
        tape.asked += 1;
        let place = tape.made.len();
        let (value, most) = match &tape.replayed {
            // A shortened recording can hold a number that is too large here.
            Some(it) => (
                it.values.get(place).map_or(0, |v| *v.min(&(limit - 1))),
                it.most,
            ),
            None => (choose(&mut lock(&self.random)), usize::MAX),
        };
        if limit > 1 {
            debug_assert!(value < limit, "{value} of {limit}");
            tape.made.push(value);
        }
        drop(tape);
        assert!(
            asked < most || std::thread::panicking(),
            "the replayed run goes in circles"
        );
        value
    }

    /// A number that shapes the run and is no decision of it: a replay does not need it.
    pub(crate) fn unrecorded(&self, limit: u32) -> u32 {
        lock(&self.random).below(limit)
    }
}

/// Steele, Lea and Flood's `SplitMix`: here, and not from a library, because the numbers of a seed
/// must stay the same for ever.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, or zero if that is zero.
    #[allow(clippy::cast_possible_truncation, reason = "below a `u32`")]
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        let high = self.next() >> 32;
        ((high * u64::from(limit)) >> 32) as u32
    }

    /// True once in so many times.
    pub(crate) fn one_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }
}
