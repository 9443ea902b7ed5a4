//! A million timers: set, taken back, due.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use crate::harness::{Clock, Timed};
use crate::workload::Done;

/// Many sleeping futures of a system's own kind: `System::sleep` beside `tokio::time::sleep`.
///
/// They are what both have in the same shape: made with a duration, set when they are first polled, taken back
/// when they are dropped, and at the end they wake who polled them. The room they lie in is there before, and one
/// waker counts for all. What a system keeps of them elsewhere, as Hikyaku does in its wheel, is made meanwhile, and
/// counts. Due times are at random, the same ones for every system, and both tick once a millisecond.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timers {
    pub(crate) count: usize,
    pub(crate) step: Step,
}

/// Which part of a timer's life is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Making and setting it, due between one minute from now and two.
    Insert,
    /// Dropping such a one.
    Cancel,
    /// Waking when it is due, a thousand or so in each millisecond. The wall clock would only show when they are due,
    /// so what counts is the time of the processors, with all that is slept and woken up in between.
    Fire,
}

impl Timers {
    /// Runs on the system that is measured, inside a task or an actor.
    pub(crate) async fn time<S: Future>(self, sleep: impl Fn(Duration) -> S) -> Timed {
        let mut places: Vec<Pin<Box<Option<S>>>> =
            (0..self.count).map(|_| Box::pin(None)).collect();
        let (done, all_fired) = Done::new(self.count);
        let waker = Waker::from(Arc::new(Fired(done)));
        let mut durations = self.durations();
        let ops = self.count as u64;

        let clock = Clock::start();
        for (place, duration) in places.iter_mut().zip(&mut durations) {
            place.set(Some(sleep(duration)));
            assert!(!is_over(place, &waker));
        }
        let inserted = clock.stop(ops);
        let clock = Clock::start();
        match self.step {
            Step::Insert => inserted,
            Step::Cancel => {
                places.iter_mut().for_each(|place| place.set(None));
                clock.stop(ops)
            }
            Step::Fire => {
                assert_eq!(all_fired.await, Ok(ops), "every timer fires once");
                let fired = clock.stop(ops);
                let mut places = places.iter_mut();
                assert!(places.all(|place| is_over(place, &waker)), "none too early");
                fired
            }
        }
    }

    /// One for each timer.
    fn durations(self) -> impl Iterator<Item = Duration> {
        let count = self.count as u64;
        let (first, spread) = match self.step {
            Step::Insert | Step::Cancel => (60_000_000, 60_000_000),
            // All are set by then, and then there are as many microseconds as timers.
            Step::Fire => (200_000 + 2 * count, count),
        };
        let mut random: u64 = 0x9E37_79B9_7F4A_7C15;
        std::iter::repeat_with(move || {
            // Marsaglia's xorshift.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            Duration::from_micros(first + random % spread)
        })
    }
}

fn is_over<S: Future>(sleep: &mut Pin<Box<Option<S>>>, waker: &Waker) -> bool {
    let sleep = sleep.as_mut().as_pin_mut().expect("there is one");
    sleep.poll(&mut Context::from_waker(waker)).is_ready()
}

/// Counts the timers that woke it.
struct Fired(Done);

impl Wake for Fired {
    fn wake(self: Arc<Self>) {
        self.0.arrive(1);
    }
}
