use crate::clock::Clock;
use crate::sync::{Arc, Mutex};
use crate::time::{Alarm, Clockwork, NextTick, NotSet, Target, Time, divide};
use core::task::Waker;
use core::time::Duration;
use proptest::prelude::*;
use std::boxed::Box;
use std::task::Wake;
use std::vec;
use std::vec::Vec;

struct Hand(Arc<Mutex<Duration>>);

impl Clock for Hand {
    fn now(&self) -> Duration {
        self.0.with(|now| *now)
    }
}

/// Notes its number when it is woken.
struct Note(Arc<Mutex<Vec<u32>>>, u32);

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        self.0.with(|notes| notes.push(self.1));
    }
}

struct Stage {
    time: Arc<Clockwork>,
    now: Arc<Mutex<Duration>>,
    notes: Arc<Mutex<Vec<u32>>>,
}

impl Stage {
    fn new() -> Self {
        let now = Arc::new(Mutex::new(Duration::ZERO));
        Self {
            time: Clockwork::new(Box::new(Hand(Arc::clone(&now))), 1_000_000),
            now,
            notes: Arc::new(Mutex::new(Vec::new())),
        }
    }

    fn waker(&self, number: u32) -> Waker {
        Waker::from(Arc::new(Note(Arc::clone(&self.notes), number)))
    }

    fn turn_at(&self, millis: u64) -> NextTick {
        self.now.with(|now| *now = Duration::from_millis(millis));
        self.time.turn(Waker::noop())
    }

    fn notes(&self) -> Vec<u32> {
        self.notes.with(core::mem::take)
    }
}

/// More than are fired between two locks, with one that is due later.
#[test]
fn a_turn_fires_all_that_is_due_in_order() {
    for count in [0, 1, 31, 32, 33, 64, 65, 200] {
        let stage = Stage::new();
        for number in 0..count {
            let due = Duration::from_millis(5 + u64::from(number / 50));
            stage
                .time
                .insert(due, Target::Waker(stage.waker(number)))
                .unwrap();
        }
        let later = Duration::from_millis(100);
        stage
            .time
            .insert(later, Target::Waker(stage.waker(1000)))
            .unwrap();
        let early = if count == 0 { 100 } else { 5 };
        assert_eq!(
            stage.turn_at(4),
            NextTick::At(Duration::from_millis(early)),
            "{count}"
        );
        assert_eq!(stage.notes(), []);
        assert_eq!(stage.turn_at(50), NextTick::At(later));
        assert_eq!(stage.notes(), (0..count).collect::<Vec<_>>());
        assert_eq!(stage.turn_at(100), NextTick::Never);
        assert_eq!(stage.notes(), [1000]);
    }
}

/// Who is woken may set and cancel timers at once.
#[test]
fn what_is_fired_may_use_the_wheel() {
    struct Again(Arc<Stage>);
    impl Wake for Again {
        fn wake(self: Arc<Self>) {
            let stage = &self.0;
            let id = stage
                .time
                .insert(Duration::from_millis(3), Target::Waker(stage.waker(1)))
                .unwrap();
            stage.time.cancel(id);
            stage
                .time
                .insert(Duration::from_millis(3), Target::Waker(stage.waker(2)))
                .unwrap();
        }
    }
    let stage = Arc::new(Stage::new());
    let again = Waker::from(Arc::new(Again(Arc::clone(&stage))));
    stage
        .time
        .insert(Duration::from_millis(2), Target::Waker(again))
        .unwrap();
    // It is due already: at the next turn, which is asked for.
    let _ = stage.turn_at(10);
    let _ = stage.turn_at(10);
    assert_eq!(stage.notes(), [2]);
}

#[test]
fn the_end_wakes_all_and_refuses_the_next() {
    let stage = Stage::new();
    for number in 0..100 {
        let due = Duration::from_secs(u64::from(number));
        stage
            .time
            .insert(due, Target::Waker(stage.waker(number)))
            .unwrap();
    }
    let _ = stage.time.turn(&stage.waker(999));
    assert_eq!(stage.notes(), [0]);
    stage.time.stop();
    let mut woken = stage.notes();
    woken.sort_unstable();
    assert_eq!(woken, (1..100).chain([999]).collect::<Vec<_>>());
    let refused = stage
        .time
        .insert(Duration::ZERO, Target::Waker(stage.waker(1)));
    assert_eq!(refused, Err(NotSet::Stopped));
    assert_eq!(stage.time.turn(&stage.waker(7)), NextTick::Never);
    assert_eq!(stage.notes(), [7]);
    stage.time.stop();
    assert_eq!(stage.notes(), vec![]);
}

/// Due times beyond what can be counted are never due, and nothing overflows.
#[test]
fn due_times_at_the_end_of_counting() {
    let stage = Stage::new();
    let mut alarm = Alarm::default();
    for due in [
        Duration::MAX,
        Duration::from_nanos(u64::MAX),
        Duration::from_secs(u64::MAX / 1000),
    ] {
        alarm.set(&stage.time, due, &stage.waker(1)).unwrap();
        let next = stage.turn_at(u64::from(u32::MAX));
        assert!(
            matches!(next, NextTick::At(at) if at >= Duration::from_nanos(u64::MAX - 1_000_000)),
            "{next:?}"
        );
        assert_eq!(stage.notes(), []);
    }
    alarm.cancel(&stage.time);
    assert_eq!(stage.turn_at(u64::from(u32::MAX)), NextTick::Never);
}

proptest! {
    #[test]
    fn divide_does_what_the_operators_do(number: u64, by: u64, down in 0..64_u32, of in 0..64_u32) {
        let (number, by) = (number >> down, (by >> 1 >> of).max(1));
        prop_assert_eq!(divide(number, by), (number / by, number % by));
    }
}

#[test]
fn divide_at_the_ends() {
    for (number, by) in [
        (0, 1),
        (0, u64::MAX / 2),
        (u64::MAX, 1),
        (u64::MAX, u64::MAX / 2),
        (u64::MAX, 1 << 63),
        (7, 8),
    ] {
        assert_eq!(divide(number, by), (number / by, number % by));
    }
}
