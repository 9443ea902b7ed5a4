//! Races of the wheel's users with its driver. The driver blocks a thread of loom's until it is woken: a
//! timer for which it is not woken fails the test, and so does a waker that is dropped twice or not
//! at all.

use crate::clock::Clock;
use crate::sync::{Arc, AtomicUsize, Ordering};
use crate::time::{Clockwork, NextTick, NotSet, Target, Time};
use ::loom::alloc::Track;
use ::loom::future::block_on;
use ::loom::{model, thread};
use core::future::poll_fn;
use core::task::{Poll, Waker};
use core::time::Duration;
use std::boxed::Box;
use std::task::Wake;

/// It stands still, past some due times and before others.
struct Still;

impl Clock for Still {
    fn now(&self) -> Duration {
        Duration::from_millis(10)
    }
}

/// Counts how often it is woken.
struct Bell {
    rung: AtomicUsize,
    _track: Track<()>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        // Relaxed: a number that carries nothing else.
        self.rung.fetch_add(1, Ordering::Relaxed);
    }
}

struct Stage {
    time: Arc<Clockwork>,
    bell: Arc<Bell>,
}

impl Stage {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            time: Clockwork::new(Box::new(Still), 1_000_000),
            bell: Arc::new(Bell {
                rung: AtomicUsize::new(0),
                _track: Track::new(()),
            }),
        })
    }

    fn insert(&self, millis: u64) -> Result<crate::time::TimerId, NotSet> {
        let target = Target::Waker(Waker::from(Arc::clone(&self.bell)));
        self.time.insert(Duration::from_millis(millis), target)
    }

    fn rung(&self) -> usize {
        // Relaxed: as above.
        self.bell.rung.load(Ordering::Relaxed)
    }

    /// Drives until `done`, sleeping in between however long the next timer takes.
    fn drive(&self, done: impl Fn(&Self, NextTick) -> bool) {
        block_on(poll_fn(|cx| {
            let next = self.time.turn(cx.waker());
            if done(self, next) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }));
    }
}

#[test]
fn insert_against_turn() {
    model(|| {
        let stage = Stage::new();
        let setter = Arc::clone(&stage);
        let setter = thread::spawn(move || setter.insert(5).unwrap());
        stage.drive(|stage, _| stage.rung() == 1);
        setter.join().unwrap();
    });
}

/// A driver that sleeps until a later timer is told of the earlier one.
#[test]
fn earlier_insert_against_turn() {
    model(|| {
        let stage = Stage::new();
        stage.insert(100).unwrap();
        let setter = Arc::clone(&stage);
        let setter = thread::spawn(move || {
            setter.insert(50).unwrap();
            setter.insert(20).unwrap();
        });
        let wanted = NextTick::At(Duration::from_millis(20));
        stage.drive(|_, next| next == wanted);
        setter.join().unwrap();
        assert_eq!(stage.rung(), 0);
    });
}

#[test]
fn two_inserts_against_turn() {
    model(|| {
        let stage = Stage::new();
        let setters = [5, 7].map(|millis| {
            let setter = Arc::clone(&stage);
            thread::spawn(move || setter.insert(millis).unwrap())
        });
        stage.drive(|stage, _| stage.rung() == 2);
        for setter in setters {
            setter.join().unwrap();
        }
    });
}

#[test]
fn cancel_against_turn() {
    model(|| {
        let stage = Stage::new();
        let id = stage.insert(5).unwrap();
        let canceller = Arc::clone(&stage);
        let canceller = thread::spawn(move || canceller.time.cancel(id));
        stage.drive(|_, next| next == NextTick::Never);
        canceller.join().unwrap();
        assert!(stage.rung() <= 1);
    });
}

/// Whichever comes first, the driver hears of the end, and who is set is woken.
#[test]
fn stop_against_turn_and_insert() {
    model(|| {
        let stage = Stage::new();
        let stopper = Arc::clone(&stage);
        let stopper = thread::spawn(move || stopper.time.stop());
        let setter = Arc::clone(&stage);
        let setter = thread::spawn(move || setter.insert(50).is_ok());
        // It looks before it ticks, so that the end may come between the two.
        block_on(poll_fn(|cx| {
            if stage.time.is_stopped() {
                return Poll::Ready(());
            }
            let _ = stage.time.turn(cx.waker());
            Poll::Pending
        }));
        stopper.join().unwrap();
        let set = setter.join().unwrap();
        assert_eq!(stage.rung(), usize::from(set));
    });
}
