//! Tests.

use super::{Advance, DIGIT, LEVELS, NONE, PORTION, SLOTS, TimerId, Wheel};
use proptest::prelude::*;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

/// Advances, and what fired, in order.
fn fired<T>(wheel: &mut Wheel<T>, tick: u64) -> Vec<T> {
    let mut fired = Vec::new();
    loop {
        match wheel.advance(tick) {
            Advance::Fired(payload) => fired.push(payload),
            Advance::Busy => {}
            Advance::Done => return fired,
        }
    }
}

/// A wheel that has come to this tick.
fn wheel_at<T>(tick: u64) -> Wheel<T> {
    let mut wheel = Wheel::new();
    assert!(fired(&mut wheel, tick).is_empty());
    wheel
}

/// Nothing is left anywhere.
fn assert_empty<T>(wheel: &Wheel<T>) {
    assert_eq!((wheel.len(), wheel.next_due()), (0, None));
    assert_eq!(wheel.occupied, [0; LEVELS]);
    assert!(wheel.heads.iter().all(|head| *head == NONE));
    assert!(wheel.nodes.iter().all(|node| node.payload.is_none()));
}

/// The ticks around the borders of every level's slots, and of time.
fn borders() -> impl Iterator<Item = u64> {
    let borders = (0..LEVELS as u32).map(|level| 1 << (DIGIT * level));
    let multiples = borders.flat_map(|border: u64| [1, 2, 63].map(|n| border.saturating_mul(n)));
    let around = multiples.flat_map(|tick| [tick - 1, tick, tick.saturating_add(1)]);
    let all = around.chain([u64::MAX - 1, u64::MAX]);
    all.step_by(if cfg!(miri) { 9 } else { 1 })
}

#[test]
fn row66_a_timer_fires_at_its_tick_wherever_the_wheel_stands() {
    for start in borders() {
        for distance in borders().filter(|distance| *distance > 0) {
            let Some(due) = start.checked_add(distance) else {
                continue;
            };
            let mut wheel = wheel_at(start);
            wheel.insert(due, due).unwrap();
            // In one go, and by way of a tick between.
            for early in [start, start + distance / 2, due - 1] {
                assert_eq!(wheel.advance(early), Advance::Done, "{start} + {distance}");
                assert_eq!((wheel.now(), wheel.next_due()), (early, Some(due)));
            }
            assert_eq!(wheel.advance(due), Advance::Fired(due));
            assert_eq!(wheel.now(), due);
            assert_eq!(wheel.advance(due), Advance::Done);
            assert_empty(&wheel);
        }
    }
}

#[test]
fn row66_tick_by_tick_over_the_borders_of_three_levels() {
    let around = if cfg!(miri) { 70 } else { 64 * 64 + 70 };
    let (first, last) = (64 * 64 * 64 - around, 64 * 64 * 64 + around);
    let mut wheel = wheel_at(first - 1);
    for due in (first..=last).rev() {
        wheel.insert(due, due).unwrap();
    }
    for tick in first..=last {
        assert_eq!(wheel.next_due(), Some(tick));
        assert_eq!(fired(&mut wheel, tick), [tick]);
    }
    assert_empty(&wheel);
}

#[test]
fn row66_an_overslept_wheel_fires_everything_in_order() {
    let dues: Vec<u64> = borders().collect();
    let mut expected: Vec<(u64, usize)> = dues.iter().copied().zip(0..).collect();
    expected.sort_unstable();
    let mut wheel = Wheel::new();
    for (at, due) in dues.iter().enumerate() {
        wheel.insert(*due, (*due, at)).unwrap();
    }
    assert_eq!(fired(&mut wheel, u64::MAX), expected);
    assert_empty(&wheel);
}

#[test]
fn a_jump_takes_as_many_steps_as_there_are_timers() {
    let mut wheel = Wheel::new();
    wheel.insert(u64::MAX, ()).unwrap();
    // Anything that went from tick to tick would not come to the end of this.
    assert_eq!(wheel.advance(u64::MAX - 1), Advance::Done);
    assert_eq!(wheel.advance(u64::MAX), Advance::Fired(()));
}

#[test]
fn timers_of_one_tick_fire_in_the_order_in_which_they_were_set() {
    let due = 3 * 64 * 64;
    // Set from ever nearer, so that each begins at another level.
    let starts = [0, 64, due - 64 * 64, due - 65, due - 64, due - 1];
    let mut wheel = Wheel::new();
    for start in starts {
        assert!(fired(&mut wheel, start).is_empty());
        wheel.insert(due, start).unwrap();
    }
    assert_eq!(fired(&mut wheel, due), starts);
}

#[test]
fn an_overdue_timer_fires_at_the_next_advance() {
    let now = 1000;
    for late in [0, 1, 999, 1000] {
        let mut wheel = wheel_at(now);
        wheel.insert(now + 1, "next").unwrap();
        wheel.insert(now - late, "late").unwrap();
        assert_eq!(wheel.next_due(), Some(now), "it counts as due now");
        wheel.insert(now, "now").unwrap();
        assert_eq!(fired(&mut wheel, now - 1), [""; 0]);
        assert_eq!(fired(&mut wheel, now), ["late", "now"]);
        assert_eq!(wheel.next_due(), Some(now + 1));
    }
}

#[test]
fn time_does_not_go_back() {
    let mut wheel = wheel_at(100);
    wheel.insert(100, ()).unwrap();
    for older in [0, 50, 99] {
        assert_eq!(wheel.advance(older), Advance::Done);
        assert_eq!((wheel.now(), wheel.len()), (100, 1));
    }
    assert_eq!(wheel.advance(100), Advance::Fired(()));
}

#[test]
fn row67_cancelling() {
    // When it is due, when it is cancelled, and what comes back.
    let table = [
        (1, 0, Some("timer")),
        (64, 63, Some("timer")),
        (64, 64, None),
        (5000, 4999, Some("timer")),
        (5000, 5000, None),
        (u64::MAX, 1 << 60, Some("timer")),
        (0, 0, None),
    ];
    for (due, at, expected) in table {
        let mut wheel = Wheel::new();
        let id = wheel.insert(due, "timer").unwrap();
        fired(&mut wheel, at);
        assert_eq!(wheel.cancel(id), expected, "due {due}, cancelled {at}");
        assert_eq!(wheel.cancel(id), None, "twice");
        assert_empty(&wheel);
        assert_eq!(fired(&mut wheel, u64::MAX), [""; 0]);
    }
}

#[test]
fn row67_a_stale_id_never_hits_another_timer() {
    let mut wheel = Wheel::new();
    let mut stale: Vec<TimerId> = Vec::new();
    for round in 0..100 {
        let id = wheel.insert(round + 1, round).unwrap();
        assert_eq!(id.node, 0, "the node is used again");
        assert!(stale.iter().all(|stale| wheel.cancel(*stale).is_none()));
        if round % 2 == 0 {
            assert_eq!(wheel.cancel(id), Some(round));
        } else {
            assert_eq!(fired(&mut wheel, round + 1), [round]);
        }
        stale.push(id);
    }
    let stranger = TimerId {
        node: 7,
        generation: 0,
    };
    assert_eq!(wheel.cancel(stranger), None);
}

#[test]
fn row67_a_hundred_thousand_cancelled_timers_leave_nothing() {
    let (count, alive) = if cfg!(miri) {
        (1000, 10)
    } else {
        (100_000, 100)
    };
    let mut wheel = Wheel::new();
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(wheel.insert(number * 7 % 300_000, number).unwrap());
        if let Some(old) = number.checked_sub(alive) {
            assert_eq!(wheel.cancel(ids[old as usize]), Some(old));
        }
    }
    assert_eq!(wheel.nodes.len() as u64, alive + 1);
    let rest: Vec<_> = ids.iter().filter_map(|id| wheel.cancel(*id)).collect();
    assert_eq!(rest, (count - alive..count).collect::<Vec<_>>());
    assert_empty(&wheel);
    // All at once: room for them is used again.
    for _ in 0..3 {
        let ids: Vec<_> = (0..count)
            .map(|due| wheel.insert(due, due).unwrap())
            .collect();
        assert_eq!(wheel.nodes.len() as u64, count);
        assert_eq!(
            ids.iter().filter_map(|id| wheel.cancel(*id)).count(),
            ids.len()
        );
        assert_empty(&wheel);
    }
}

#[test]
fn the_next_due_tick_is_that_of_the_earliest_timer_left() {
    // In slots of the levels 0 to 2, two in each.
    let dues = [9, 9, 200, 150, 9000, 8999];
    let mut wheel = Wheel::new();
    assert_eq!(wheel.next_due(), None);
    let mut ids = Vec::new();
    for (at, due) in dues.into_iter().enumerate().rev() {
        ids.push((due, wheel.insert(due, at).unwrap()));
        assert_eq!(wheel.next_due(), ids.iter().map(|(due, _)| *due).min());
    }
    ids.sort_by_key(|(due, _)| *due);
    for (due, id) in ids {
        assert_eq!(wheel.next_due(), Some(due));
        wheel.cancel(id);
    }
    assert_eq!(wheel.next_due(), None);
}

#[test]
fn many_timers_come_nearer_in_portions() {
    let many = 10 * PORTION as u64;
    let start = 64 * 64;
    let mut wheel = Wheel::new();
    let ids: Vec<_> = (0..many)
        .map(|at| wheel.insert(start + at % 50, at).unwrap())
        .collect();
    assert_eq!(wheel.next_due(), Some(start));
    // They are all in one slot of level 2, and become those of level 0.
    assert_eq!(wheel.advance(start), Advance::Busy);
    assert_eq!((wheel.now(), wheel.len() as u64), (start, many));
    // Meanwhile some go, of those that were moved, of those at the ends of both lists, and between.
    for gone in [0, 1, PORTION, PORTION + 1, PORTION * 2, ids.len() - 1] {
        assert_eq!(wheel.cancel(ids[gone]), Some(gone as u64));
        assert_eq!(wheel.cancel(ids[gone]), None);
    }
    // And some come: due at once, due with others, and behind all that.
    for (new, due) in [(many, 0), (many + 1, start + 2), (many + 2, start + 64)] {
        wheel.insert(due, new).unwrap();
    }
    assert_eq!(wheel.next_due(), Some(start));
    let mut expected: Vec<_> = (0..many).map(|at| (start + at % 50, at)).collect();
    expected.retain(|(_, at)| {
        let at = *at as usize;
        ![0, 1, PORTION, PORTION + 1, PORTION * 2, ids.len() - 1].contains(&at)
    });
    expected.extend([(start, many), (start + 2, many + 1), (start + 64, many + 2)]);
    expected.sort_unstable();
    let mut calls = 0;
    let mut found = Vec::new();
    loop {
        calls += 1;
        match wheel.advance(start + 64) {
            Advance::Fired(at) => found.push((wheel.now(), at)),
            Advance::Busy => assert_eq!(wheel.next_due(), Some(start)),
            Advance::Done => break,
        }
    }
    assert_eq!(found, expected);
    assert!(calls <= found.len() + 11, "a portion in each call");
    assert_empty(&wheel);
}

#[test]
fn the_earliest_may_wait_in_the_slot_that_is_spread() {
    let mut wheel = Wheel::new();
    for _ in 0..PORTION {
        wheel.insert(70, ()).unwrap();
    }
    for due in [66, 65, 69] {
        let id = wheel.insert(due, ()).unwrap();
        if due == 65 {
            wheel.cancel(id);
        }
    }
    assert_eq!(wheel.advance(64), Advance::Busy);
    assert_eq!(wheel.next_due(), Some(66));
}

#[test]
fn a_slot_may_become_empty_while_it_is_spread() {
    let mut wheel = Wheel::new();
    let ids: Vec<_> = (0..2 * PORTION as u64)
        .map(|at| wheel.insert(64 + at % 2, at).unwrap())
        .collect();
    assert_eq!(wheel.advance(64), Advance::Busy);
    for id in &ids[PORTION..] {
        assert!(wheel.cancel(*id).is_some());
    }
    wheel.insert(64, 1000).unwrap();
    for id in &ids[..PORTION] {
        assert!(wheel.cancel(*id).is_some());
    }
    assert_eq!(wheel.next_due(), Some(64));
    assert_eq!(fired(&mut wheel, 65), [1000]);
    assert_empty(&wheel);
}

#[test]
fn a_wheel_of_fixed_capacity_refuses_and_never_allocates() {
    let mut wheel = Wheel::new();
    wheel.limit_to(3).unwrap();
    let room = wheel.nodes.capacity();
    let ids = [1, 2, 3].map(|due| wheel.insert(due, due).unwrap());
    for _ in 0..2 {
        assert_eq!(wheel.insert(4, 4), Err(4));
        assert_eq!(wheel.len(), 3);
    }
    assert_eq!(wheel.cancel(ids[1]), Some(2));
    wheel.insert(4, 4).unwrap();
    assert_eq!(wheel.insert(5, 5), Err(5));
    assert_eq!(fired(&mut wheel, 1), [1]);
    wheel.insert(5, 5).unwrap();
    assert_eq!(fired(&mut wheel, 9), [3, 4, 5]);
    assert_eq!(wheel.nodes.capacity(), room);
    let mut none = Wheel::new();
    none.limit_to(0).unwrap();
    assert_eq!(none.insert(1, 1), Err(1));
    let mut too_large = Wheel::<[u64; 1 << 28]>::new();
    assert!(too_large.limit_to(u32::MAX).is_err());
}

#[test]
fn a_payload_is_given_back_or_dropped_once() {
    let payload = Rc::new(());
    let mut wheel = Wheel::new();
    let ids = [0, 10, 100, 10_000].map(|due| wheel.insert(due, payload.clone()).unwrap());
    assert_eq!(Rc::strong_count(&payload), 5);
    drop(wheel.cancel(ids[1]));
    assert_eq!(Rc::strong_count(&payload), 4);
    drop(fired(&mut wheel, 1));
    assert_eq!(Rc::strong_count(&payload), 3);
    drop(wheel);
    assert_eq!(Rc::strong_count(&payload), 1);
}

/// A step of the random test. Ticks are made from the wheel's `now`.
#[derive(Clone, Copy, Debug)]
enum Step {
    Insert(Tick),
    /// Many at one tick, so that spreading takes several portions.
    InsertMany(Tick),
    /// One of those ever made, alive or not.
    Cancel(prop::sample::Index),
    CancelNext,
    /// To the end.
    Advance(Tick),
    /// So many calls.
    AdvancePartly(Tick, u8),
    /// As a driver does that sleeps as long as it may.
    AdvanceToNext,
}

#[derive(Clone, Copy, Debug)]
enum Tick {
    Ago(u64),
    In(u64),
    /// So far from the next multiple of this power of 64.
    Border(u32, i8),
}

impl Tick {
    fn from(self, now: u64) -> u64 {
        match self {
            Self::Ago(ticks) => now.saturating_sub(ticks),
            Self::In(ticks) => now.saturating_add(ticks),
            Self::Border(power, off) => {
                let period = 1 << (DIGIT * power);
                (now - now % period)
                    .saturating_add(period)
                    .saturating_add_signed(off.into())
            }
        }
    }
}

fn tick() -> impl Strategy<Value = Tick> + Clone {
    prop_oneof![
        1 => (0_u64..100).prop_map(Tick::Ago),
        4 => (0_u64..70).prop_map(Tick::In),
        4 => (0_u64..10_000).prop_map(Tick::In),
        4 => (0..4_u32, -2..3_i8).prop_map(|(power, off)| Tick::Border(power, off)),
        1 => (0..LEVELS as u32, -2..3_i8).prop_map(|(power, off)| Tick::Border(power, off)),
        1 => (0..64_u32).prop_map(|bits| Tick::In(1 << bits)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => tick().prop_map(Step::Insert),
        1 => tick().prop_map(Step::InsertMany),
        6 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        2 => Just(Step::CancelNext),
        3 => tick().prop_map(Step::Advance),
        6 => (tick(), 0..4_u8).prop_map(|(tick, calls)| Step::AdvancePartly(tick, calls)),
        3 => Just(Step::AdvanceToNext),
    ]
}

/// A wheel beside a sorted list of what is in it. A payload is the number of its timer.
#[derive(Default)]
struct Pair {
    wheel: Wheel<usize>,
    ids: Vec<TimerId>,
    /// Due tick and number.
    oracle: Vec<(u64, usize)>,
}

impl Default for Wheel<usize> {
    fn default() -> Self {
        Self::new()
    }
}

impl Pair {
    fn insert(&mut self, due: u64) {
        let timer = (due.max(self.wheel.now()), self.ids.len());
        self.ids.push(self.wheel.insert(due, timer.1).unwrap());
        let at = self.oracle.partition_point(|other| *other < timer);
        self.oracle.insert(at, timer);
    }

    fn cancel(&mut self, number: usize) {
        let at = self.oracle.iter().position(|(_, other)| *other == number);
        let expected = at.map(|at| self.oracle.remove(at).1);
        assert_eq!(self.wheel.cancel(self.ids[number]), expected);
    }

    fn advance(&mut self, tick: u64, calls: u32) {
        let before = self.wheel.now();
        for _ in 0..calls {
            match self.wheel.advance(tick) {
                Advance::Fired(number) => {
                    let due = self.oracle.remove(0);
                    assert_eq!((self.wheel.now(), number), due);
                    assert!(due.0 <= tick, "early");
                }
                Advance::Busy => assert!(self.wheel.now() <= tick),
                Advance::Done => {
                    assert_eq!(self.wheel.now(), before.max(tick));
                    let passed = self.oracle.first().filter(|(due, _)| *due <= tick);
                    assert!(passed.is_none() || tick < before, "lost or late");
                    return;
                }
            }
        }
    }

    fn take(&mut self, step: Step) {
        let now = self.wheel.now();
        match step {
            Step::Insert(tick) => self.insert(tick.from(now)),
            Step::InsertMany(tick) => {
                for at in 0..3 * PORTION as u64 {
                    self.insert(tick.from(now).saturating_add(at % 3));
                }
            }
            Step::Cancel(index) if !self.ids.is_empty() => {
                self.cancel(index.index(self.ids.len()));
            }
            Step::Cancel(_) => {}
            Step::CancelNext => {
                if let Some((_, number)) = self.oracle.first() {
                    self.cancel(*number);
                }
            }
            Step::Advance(tick) => self.advance(tick.from(now), u32::MAX),
            Step::AdvancePartly(tick, calls) => self.advance(tick.from(now), calls.into()),
            Step::AdvanceToNext => {
                if let Some(due) = self.wheel.next_due() {
                    let before = self.oracle.len();
                    self.advance(due, u32::MAX);
                    assert!(self.oracle.len() < before, "woken for nothing");
                }
            }
        }
    }

    /// Also that the bits and the lists say the same.
    fn check(&self) {
        let wheel = &self.wheel;
        assert_eq!(wheel.len(), self.oracle.len());
        assert_eq!(wheel.next_due(), self.oracle.first().map(|(due, _)| *due));
        for (list, head) in wheel.heads.iter().enumerate() {
            let bit = wheel.occupied[list / SLOTS] >> (list % SLOTS) & 1 == 1;
            assert_eq!(bit, *head != NONE, "{list}");
        }
    }
}

proptest! {
    #[test]
    fn row66_row67_the_wheel_does_what_a_sorted_list_does(
        start in prop_oneof![Just(0), 0..1_u64 << 20, any::<u64>()],
        steps in prop::collection::vec(step(), 0..if cfg!(miri) { 30 } else { 300 }),
        often in any::<bool>(),
    ) {
        let mut pair = Pair::default();
        pair.advance(start, u32::MAX);
        for step in steps {
            pair.take(step);
            // Seldom, too: asking keeps the wheel's memory of the answer fresh.
            if often {
                pair.check();
            }
        }
        pair.check();
        pair.advance(u64::MAX, u32::MAX);
        prop_assert_eq!(&pair.oracle, &vec![]);
        assert_empty(&pair.wheel);
    }
}
