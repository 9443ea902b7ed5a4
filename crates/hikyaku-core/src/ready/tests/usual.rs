//! The coordinator on one thread: who is taken when, who is woken, and that nobody is lost.

use super::{cell, number};
use crate::cell::CellPtr;
use crate::foreman::Shortage;
use crate::ready::idle::Idle;
use crate::ready::local::{CAPACITY, Ring};
use crate::ready::{INJECTOR_TURN, NEXT_BOUND, Outlook, Queue, ReadyQueueCoordinator};
use crate::sync::{self, Arc, AtomicUsize, Here, Ordering};
use core::ptr;
use core::task::Waker;
use proptest::prelude::*;
use std::collections::{BTreeSet, VecDeque};
use std::format;
use std::task::Wake;
use std::vec;
use std::vec::Vec;

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        // Relaxed: one thread.
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Wakes {
    fn take(&self) -> usize {
        // Relaxed: one thread.
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// A coordinator whose workers are asked by the test.
struct Stage {
    coordinator: ReadyQueueCoordinator,
    wakes: Vec<Arc<Wakes>>,
}

impl Stage {
    /// Every worker is in an activation.
    fn new(workers: usize, stealing: bool) -> Self {
        let coordinator = ReadyQueueCoordinator::new((workers, workers), stealing, 3, 0);
        (0..workers).for_each(|worker| coordinator.lane(worker).entering());
        Self {
            coordinator,
            wakes: (0..workers).map(|_| Arc::default()).collect(),
        }
    }

    /// As an activation on this worker.
    fn on<R>(&self, worker: usize, f: impl FnOnce(&ReadyQueueCoordinator) -> R) -> R {
        sync::set_here(Here {
            home: ptr::null(),
            alone: ptr::null(),
            lane: ptr::from_ref(self.coordinator.lane(worker)).cast(),
        });
        let result = f(&self.coordinator);
        sync::set_here(Here::NOWHERE);
        result
    }

    fn make_ready(&self, worker: usize, number: usize) {
        assert!(self.on(worker, |coordinator| {
            coordinator.register_ready(cell(number))
        }));
    }

    fn requeue(&self, worker: usize, number: usize) {
        self.on(worker, |coordinator| {
            coordinator.requeue(coordinator.lane(worker), cell(number));
        });
    }

    /// Ends the worker's activation and begins the next one.
    fn take(&self, worker: usize) -> Option<usize> {
        let lane = self.coordinator.lane(worker);
        lane.leaving();
        let taken = self.coordinator.take(lane);
        lane.entering();
        taken.and_then(|cell| number(cell.as_ptr()))
    }

    fn all(&self, worker: usize) -> Vec<usize> {
        core::iter::from_fn(|| self.take(worker)).collect()
    }

    fn steal(&self, worker: usize) -> Option<usize> {
        let stolen = self.coordinator.steal(self.coordinator.lane(worker));
        stolen.and_then(|cell| number(cell.as_ptr()))
    }

    fn steal_stranded(&self, worker: usize) -> Option<usize> {
        let stolen = self
            .coordinator
            .steal_stranded(self.coordinator.lane(worker));
        stolen.and_then(|cell| number(cell.as_ptr()))
    }

    fn prepare(&self, worker: usize, searching: bool) {
        let waker = Waker::from(Arc::clone(&self.wakes[worker]));
        self.coordinator
            .prepare_park(self.coordinator.lane(worker), searching, &waker);
    }

    /// Goes to sleep, which must succeed.
    fn sleep(&self, worker: usize) {
        self.prepare(worker, false);
        assert!(self.coordinator.commit_park(self.coordinator.lane(worker)));
    }

    fn woken(&self) -> Vec<usize> {
        self.wakes.iter().map(|wakes| wakes.take()).collect()
    }
}

#[test]
fn the_newest_runs_first_then_the_others_in_order() {
    for stealing in [false, true] {
        let stage = Stage::new(1, stealing);
        for number in 1..=4 {
            stage.make_ready(0, number);
        }
        assert_eq!(stage.all(0), [4, 1, 2, 3]);
        assert_eq!(stage.coordinator.lane(0).len(), 0);
    }
}

#[test]
fn the_queue_has_its_turn_after_many_in_a_row() {
    for stealing in [false, true] {
        let stage = Stage::new(1, stealing);
        stage.make_ready(0, 1);
        stage.make_ready(0, 2);
        // Each one that runs makes another ready; the first one waits in the queue.
        let mut taken = vec![];
        while !taken.contains(&1) {
            taken.push(stage.take(0).unwrap());
            stage.make_ready(0, 100 + taken.len());
            assert!(taken.len() <= NEXT_BOUND as usize + 1);
        }
        assert_eq!(taken.len(), NEXT_BOUND as usize + 1);
        // Then the count begins anew.
        assert_ne!(stage.take(0), None);
    }
}

#[test]
fn what_comes_from_outside_has_its_turn() {
    for stealing in [false, true] {
        let stage = Stage::new(1, stealing);
        assert!(!stage.coordinator.register_ready(cell(9)));
        stage.coordinator.inject(cell(9));
        let mut turns = 0;
        loop {
            stage.make_ready(0, 1);
            turns += 1;
            if stage.take(0) == Some(9) {
                break;
            }
        }
        assert_eq!(turns, INJECTOR_TURN);
    }
}

#[test]
fn one_whose_turn_is_over_comes_after_the_others() {
    for stealing in [false, true] {
        let stage = Stage::new(1, stealing);
        stage.make_ready(0, 1);
        stage.requeue(0, 2);
        stage.requeue(0, 3);
        assert_eq!(stage.all(0), [1, 2, 3]);
        // Also after those from outside.
        stage.coordinator.inject(cell(4));
        stage.requeue(0, 5);
        assert_eq!(stage.all(0), [4, 5]);
    }
}

/// Also not when it is the turn of those from outside, where it waits.
#[test]
fn one_whose_turn_is_over_does_not_come_again_before_all_others() {
    for stealing in [false, true] {
        let stage = Stage::new(1, stealing);
        let (many, newcomer) = (3 * INJECTOR_TURN as usize, 1000);
        for number in 1..=many {
            stage.requeue(0, number);
        }
        stage.coordinator.inject(cell(newcomer));
        let taken: BTreeSet<_> = (0..=many)
            .map(|_| {
                let number = stage.take(0).unwrap();
                if number != newcomer {
                    stage.requeue(0, number);
                }
                number
            })
            .collect();
        assert_eq!(taken.len(), many + 1, "each of them once");
    }
}

#[test]
fn a_full_ring_gives_its_older_half_to_everybody() {
    let stage = Stage::new(2, true);
    let count = CAPACITY * 2 + 10;
    for number in 1..=count {
        stage.make_ready(0, number);
    }
    let first = stage.coordinator.lane(0).len();
    assert!(first <= CAPACITY + 1 && first > CAPACITY / 2);
    // The other worker finds what was given away, a share of it at a time.
    let mut found = vec![];
    while let Some(number) = stage.take(1) {
        found.push(number);
    }
    assert_eq!(found.len() + first, count);
    let mut all = stage.all(0);
    all.extend(found);
    all.sort_unstable();
    assert_eq!(all, (1..=count).collect::<Vec<_>>());
}

#[test]
fn requeueing_into_a_full_ring_loses_nobody() {
    let stage = Stage::new(1, true);
    let count = CAPACITY + 3;
    for number in 1..=count {
        stage.requeue(0, number);
    }
    let mut all = stage.all(0);
    all.sort_unstable();
    assert_eq!(all, (1..=count).collect::<Vec<_>>());
}

#[test]
fn an_overflow_elsewhere_is_injected() {
    // Nobody polls the worker whose ring is full: what does not fit comes in from outside.
    let stage = Stage::new(1, true);
    let Queue::Stealing { ring, .. } = &stage.coordinator.lane(0).queue else {
        panic!("asked for")
    };
    for number in 1..=CAPACITY {
        assert!(ring.push(cell(number).as_ptr()));
    }
    stage
        .coordinator
        .requeue(stage.coordinator.lane(0), cell(CAPACITY + 1));
    assert!(!stage.coordinator.injector.is_empty());
    assert_eq!(stage.all(0).len(), CAPACITY + 1);
}

#[test]
fn the_injector_shares_fairly() {
    let stage = Stage::new(4, true);
    for number in 1..=41 {
        stage.coordinator.inject(cell(number));
    }
    // One to run, and a fourth of the others for the ring.
    assert_eq!(stage.take(2), Some(1));
    assert_eq!(stage.coordinator.lane(2).len(), 10);
    assert_eq!(stage.take(3), Some(12));
    let mut all: Vec<usize> = (0..4).flat_map(|worker| stage.all(worker)).collect();
    all.sort_unstable();
    assert_eq!(all.len(), 39);
    assert!(stage.coordinator.injector.is_empty());
}

#[test]
fn half_is_stolen_and_one_of_it_runs() {
    let stage = Stage::new(3, true);
    assert_eq!(stage.steal(1), None);
    for number in 1..=5 {
        stage.requeue(0, number);
    }
    assert_eq!(stage.steal(1), Some(1));
    assert_eq!(
        [0, 1, 2].map(|worker| stage.coordinator.lane(worker).len()),
        [2, 2, 0]
    );
    // From whichever of the two it meets first.
    assert!(matches!(stage.steal(2), Some(2 | 4)));
    // Nobody's own ring is stolen from, and the next slot is not either.
    stage.make_ready(1, 9);
    let mut all: Vec<usize> = (0..3).flat_map(|worker| stage.all(worker)).collect();
    all.sort_unstable();
    assert_eq!(all.len(), 4);
    // What is outside is found by a thief too.
    stage.coordinator.inject(cell(7));
    assert_eq!(stage.steal(2), Some(7));
}

#[test]
fn a_single_worker_steals_from_nobody() {
    let stage = Stage::new(1, false);
    stage.make_ready(0, 1);
    assert!(stage.coordinator.is_single());
    assert_eq!(stage.steal(0), None);
    assert_eq!(stage.steal_stranded(0), None);
    assert!(!stage.coordinator.start_searching());
    assert_eq!(stage.all(0), [1]);
    assert!(!Stage::new(1, true).coordinator.is_single());
}

#[test]
fn a_next_slot_is_stranded_when_its_worker_is_stuck() {
    let stage = Stage::new(2, true);
    stage.make_ready(0, 1);
    assert_eq!(stage.steal_stranded(1), None);
    // Its worker has taken something since: a new grace period.
    stage.make_ready(0, 2);
    stage.take(0);
    stage.make_ready(0, 3);
    assert_eq!(stage.steal_stranded(1), None);
    // Another cell in the same activation: likewise.
    stage.make_ready(0, 4);
    assert_eq!(stage.steal_stranded(1), None);
    assert_eq!(stage.steal_stranded(1), Some(4));
    assert_eq!(stage.steal_stranded(1), None);
    assert_eq!(stage.steal_stranded(0), None, "not its own");
    assert_eq!(stage.all(0).len(), 2);
}

#[test]
fn a_sleeper_is_woken_for_what_can_be_stolen() {
    let stage = Stage::new(3, true);
    stage.sleep(1);
    stage.sleep(2);
    assert_eq!(stage.coordinator.asleep(), 2);
    // Into the next slot: its worker runs it itself.
    stage.make_ready(0, 1);
    assert_eq!(stage.woken(), [0, 0, 0]);
    // The one that was there can be stolen now: the last one to sleep is woken, once.
    stage.make_ready(0, 2);
    assert_eq!(stage.woken(), [0, 0, 1]);
    stage.make_ready(0, 3);
    assert_eq!(stage.woken(), [0, 0, 0], "somebody searches already");
    // It finds one, and being the last that searches it wakes another.
    assert_eq!(stage.steal(2), Some(1));
    stage.coordinator.stop_searching(stage.coordinator.lane(0));
    assert_eq!(stage.woken(), [0, 1, 0]);
    assert_eq!(stage.coordinator.asleep(), 0);
}

#[test]
fn one_from_outside_wakes_one() {
    for (workers, stealing) in [(1, false), (1, true), (2, true)] {
        let stage = Stage::new(workers, stealing);
        for worker in 0..workers {
            stage.sleep(worker);
        }
        stage.coordinator.inject(cell(1));
        stage.coordinator.inject(cell(2));
        assert_eq!(stage.woken().iter().sum::<usize>(), 1);
        assert_eq!(stage.coordinator.asleep(), workers - 1);
        stage.coordinator.wake_all();
        assert_eq!(stage.woken(), vec![1; workers]);
    }
}

#[test]
fn who_finds_work_at_the_second_look_stays_awake() {
    type Bring = fn(&Stage);
    let brings: [(usize, Bring); 3] = [
        (1, |stage| stage.coordinator.inject(cell(1))),
        (2, |stage| stage.coordinator.inject(cell(1))),
        (2, |stage| stage.requeue(1, 1)),
    ];
    for (workers, bring) in brings {
        let stage = Stage::new(workers, true);
        bring(&stage);
        stage.prepare(0, false);
        assert!(!stage.coordinator.commit_park(stage.coordinator.lane(0)));
        assert_eq!(stage.coordinator.asleep(), 0);
        // It counts as searching, and is the only one.
        assert!(stage.coordinator.idle.stop_searching());
    }
}

#[test]
fn who_is_woken_while_falling_asleep_stays_awake() {
    let stage = Stage::new(2, true);
    stage.prepare(0, false);
    stage.coordinator.inject(cell(1));
    assert_eq!(stage.woken(), [1, 0]);
    // Somebody else took it meanwhile.
    assert_eq!(stage.take(1), Some(1));
    assert!(!stage.coordinator.commit_park(stage.coordinator.lane(0)));
    assert!(stage.coordinator.idle.stop_searching());
}

#[test]
fn a_single_worker_does_not_sleep_on_its_own_queue() {
    let stage = Stage::new(1, false);
    stage.make_ready(0, 1);
    stage.prepare(0, false);
    assert!(!stage.coordinator.commit_park(stage.coordinator.lane(0)));
    assert_eq!(stage.take(0), Some(1));
}

#[test]
fn a_worker_that_is_polled_without_being_woken_wakes_up() {
    let stage = Stage::new(1, true);
    stage.sleep(0);
    stage.coordinator.unpark(stage.coordinator.lane(0));
    assert_eq!(stage.coordinator.asleep(), 0);
    // Twice makes no difference.
    stage.coordinator.unpark(stage.coordinator.lane(0));
    assert!(stage.coordinator.idle.stop_searching());
    // With the same waker and with another one.
    stage.sleep(0);
    stage.coordinator.unpark(stage.coordinator.lane(0));
    stage.prepare(0, true);
    stage
        .coordinator
        .prepare_park(stage.coordinator.lane(0), false, Waker::noop());
    stage.coordinator.wake_all();
    assert_eq!(stage.woken(), [0]);
}

#[test]
fn half_of_the_workers_may_search() {
    for (workers, searchers) in [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (8, 4)] {
        let stage = Stage::new(workers, true);
        let allowed = (0..workers)
            .filter(|_| stage.coordinator.start_searching())
            .count();
        assert_eq!(allowed, searchers, "{workers}");
        for left in (0..allowed).rev() {
            assert_eq!(stage.coordinator.idle.stop_searching(), left == 0);
        }
    }
}

#[test]
fn the_first_sleeper_keeps_watch_while_somebody_is_awake() {
    let stage = Stage::new(3, true);
    let watch = |worker| {
        stage
            .coordinator
            .is_on_watch(stage.coordinator.lane(worker))
    };
    stage.sleep(1);
    stage.sleep(2);
    assert_eq!([0, 1, 2].map(watch), [false, true, false]);
    stage.sleep(0);
    assert_eq!(
        [0, 1, 2].map(watch),
        [false, true, false],
        "one more turn: work often comes back at once"
    );
    stage.coordinator.unpark(stage.coordinator.lane(1));
    stage.coordinator.idle.stop_searching();
    stage.sleep(1);
    assert_eq!([0, 1, 2].map(watch), [false; 3], "nothing has happened");
    let alone = Stage::new(1, true);
    alone.sleep(0);
    assert!(!alone.coordinator.is_on_watch(alone.coordinator.lane(0)));
}

#[test]
fn accounts_of_sleepers() {
    let idle = Idle::new(2, 2);
    assert_eq!((idle.asleep(), idle.worker_to_wake()), (0, None));
    idle.fall_asleep(1, false);
    assert!(idle.is_asleep(1) && !idle.is_asleep(0));
    assert_eq!(idle.worker_to_wake(), Some(1));
    assert_eq!(idle.worker_to_wake(), None);
    // The woken one searches and finds nothing.
    idle.fall_asleep(1, true);
    assert_eq!(idle.asleep(), 1);
    idle.wake_up(0);
    assert_eq!(idle.asleep(), 1, "not the one");
    idle.wake_up(1);
    assert!(idle.stop_searching());
    assert_eq!(idle.asleep(), 0);
}

/// One worker, and up to two more.
fn adaptive() -> (ReadyQueueCoordinator, Arc<Wakes>, Waker) {
    let coordinator = ReadyQueueCoordinator::new((1, 3), true, 3, 0);
    let calls = Arc::<Wakes>::default();
    let waker = Waker::from(Arc::clone(&calls));
    (coordinator, calls, waker)
}

fn falls_asleep(coordinator: &ReadyQueueCoordinator, worker: usize, searching: bool) {
    let lane = coordinator.lane(worker);
    coordinator.prepare_park(lane, searching, Waker::noop());
    assert!(coordinator.commit_park(lane));
}

#[test]
fn row21_the_foreman_is_called_when_everybody_is_busy_and_hires_for_what_waits() {
    let (coordinator, calls, waker) = adaptive();
    falls_asleep(&coordinator, 0, false);
    let mut outlook = Outlook::default();
    let mut look = || coordinator.look(&mut outlook, true, &waker);
    assert_eq!(look(), Shortage::Not);
    coordinator.inject(cell(1));
    assert_eq!(calls.take(), 0, "there is a sleeper for it");
    let lane = coordinator.lane(0);
    assert!(coordinator.take(lane).is_some());
    coordinator.stop_searching(lane);
    lane.entering();
    assert_eq!(calls.take(), 1, "nobody is left to keep watch");
    assert_eq!(look(), Shortage::Perhaps);
    (2..5).for_each(|number| coordinator.inject(cell(number)));
    assert_eq!(calls.take(), 0, "one call is enough");
    // Three wait, and five were taken since: nobody waits long.
    (0..5).for_each(|_| lane.entering());
    assert_eq!(look(), Shortage::Perhaps);
    assert_eq!(look(), Shortage::Yes, "nothing was taken since");
    assert_eq!(coordinator.workers(), 1);
    assert_eq!(coordinator.hire(), Some(1));
    assert_eq!(coordinator.hire(), None, "one searches already");
    coordinator.stop_searching(coordinator.lane(1));
    assert_eq!(coordinator.hire(), Some(2));
    coordinator.stop_searching(coordinator.lane(2));
    assert_eq!(coordinator.workers(), 3);
    assert_eq!((look(), coordinator.hire()), (Shortage::Not, None), "full");
    calls.take();
    coordinator.inject(cell(5));
    assert_eq!(calls.take(), 0, "it could not hire");
}

#[test]
fn row21_the_foreman_hires_for_what_is_stranded_and_at_once_if_impatient() {
    let (coordinator, _, waker) = adaptive();
    let lane = coordinator.lane(0);
    lane.entering();
    let mut outlook = Outlook::default();
    lane.put_next(cell(1));
    assert_eq!(
        coordinator.look(&mut outlook, true, &waker),
        Shortage::Perhaps
    );
    lane.entering();
    lane.put_next(cell(2));
    assert_eq!(
        coordinator.look(&mut outlook, true, &waker),
        Shortage::Perhaps,
        "another activation"
    );
    assert_eq!(lane.take_queued().addr(), cell(1).as_ptr().addr());
    assert_eq!(coordinator.look(&mut outlook, true, &waker), Shortage::Yes);
    let mut outlook = Outlook::default();
    assert_eq!(
        coordinator.look(&mut outlook, false, &waker),
        Shortage::Perhaps
    );
    coordinator.inject(cell(3));
    assert_eq!(coordinator.look(&mut outlook, false, &waker), Shortage::Yes);
}

#[test]
fn where_the_number_of_workers_is_fixed_there_is_nobody_to_call() {
    let stage = Stage::new(2, true);
    stage.coordinator.inject(cell(1));
    let shortage = stage
        .coordinator
        .look(&mut Outlook::default(), false, Waker::noop());
    assert_eq!((shortage, stage.coordinator.hire()), (Shortage::Not, None));
    // What is shown of a coordinator names no waker.
    let (coordinator, _, _) = adaptive();
    assert!(format!("{:?}", coordinator.idle).contains("Call"));
}

#[test]
fn row21_a_sleeper_may_leave_unless_it_is_needed() {
    let (coordinator, calls, waker) = adaptive();
    let retire = |worker| coordinator.retire(coordinator.lane(worker));
    assert!(!retire(0), "awake");
    for worker in [1, 2] {
        assert_eq!(coordinator.hire(), Some(worker));
        coordinator.stop_searching(coordinator.lane(worker));
    }
    falls_asleep(&coordinator, 1, false);
    falls_asleep(&coordinator, 2, false);
    assert!(!retire(1), "on watch while another is awake");
    assert!(retire(2));
    assert!(!retire(2), "it has left");
    assert_eq!((coordinator.workers(), coordinator.asleep()), (2, 1));
    falls_asleep(&coordinator, 0, false);
    assert!(retire(1), "everybody sleeps");
    assert!(!retire(0), "the last one");
    assert_eq!((coordinator.workers(), coordinator.asleep()), (1, 1));
    // One who has just been woken stays; the next work finds nobody.
    assert_eq!(
        coordinator.look(&mut Outlook::default(), true, &waker),
        Shortage::Not
    );
    coordinator.inject(cell(1));
    assert!(!retire(0));
    coordinator.take(coordinator.lane(0));
    coordinator.stop_searching(coordinator.lane(0));
    assert_eq!(calls.take(), 1);
    assert_eq!(coordinator.hire(), Some(1));
}

#[test]
fn messages_are_counted_over_all_workers() {
    let stage = Stage::new(2, true);
    stage.coordinator.lane(0).count(3);
    stage.coordinator.lane(1).count(u32::MAX);
    stage.coordinator.lane(0).count(0);
    assert_eq!(stage.coordinator.handled(), 3 + u32::MAX as usize);
    assert_eq!(stage.coordinator.workers(), 2);
    assert_eq!(stage.coordinator.lane(1).worker(), 1);
    assert!(format!("{:?}", stage.coordinator).contains("workers: 2"));
}

#[test]
fn a_closed_injector_takes_no_bell() {
    // A bell is a reference to a cell, so only its refusal can be shown with a number.
    let stage = Stage::new(1, false);
    stage.coordinator.close();
    assert!(!stage.coordinator.injector.push_bell(cell(1)));
}

// === ring ===

#[test]
fn a_ring_holds_so_many() {
    for start in [0, 1, u32::MAX, u32::MAX - CAPACITY as u32 / 2] {
        let ring = Ring::starting_at(start);
        assert!(ring.pop().is_null());
        for number in 1..=CAPACITY {
            assert_eq!(ring.len(), number - 1);
            assert!(ring.push(cell(number).as_ptr()));
        }
        assert!(!ring.push(cell(999).as_ptr()));
        assert_eq!(number(ring.pop()), Some(1));
        assert!(ring.push(cell(999).as_ptr()));
        assert!(!ring.push(cell(998).as_ptr()));
        let half: Vec<_> = ring
            .pop_half()
            .unwrap()
            .into_iter()
            .filter_map(number)
            .collect();
        assert_eq!(half, (2..=CAPACITY / 2 + 1).collect::<Vec<_>>());
        let rest: Vec<_> = core::iter::from_fn(|| number(ring.pop())).collect();
        assert_eq!(rest.len(), CAPACITY / 2);
        assert_eq!((rest[0], *rest.last().unwrap()), (CAPACITY / 2 + 2, 999));
        assert!(ring.pop_half().is_none());
    }
}

#[test]
fn a_thief_takes_half_rounded_up() {
    for count in [0, 1, 2, 3, 4, 7, CAPACITY] {
        let (ring, mine) = (Ring::starting_at(u32::MAX - 1), Ring::starting_at(u32::MAX));
        for number in 1..=count {
            assert!(ring.push(cell(number).as_ptr()));
        }
        assert_eq!(number(ring.steal_into(&mine)), (count > 0).then_some(1));
        let stolen = count - count / 2;
        assert_eq!(
            (mine.len(), ring.len()),
            (stolen.saturating_sub(1), count / 2)
        );
        let all = core::iter::from_fn(|| number(mine.pop()))
            .chain(core::iter::from_fn(|| number(ring.pop())));
        assert_eq!(all.collect::<Vec<_>>(), (2..=count).collect::<Vec<_>>());
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Push,
    Pop,
    PopHalf,
    Steal,
}

proptest! {
    #[test]
    fn the_ring_is_a_queue(
        start in prop_oneof![Just(0), Just(u32::MAX), any::<u32>()],
        steps in proptest::collection::vec(
            prop_oneof![
                8 => Just(Step::Push),
                3 => Just(Step::Pop),
                1 => Just(Step::PopHalf),
                1 => Just(Step::Steal),
            ],
            0..if cfg!(miri) { 60 } else { 1000 },
        ),
    ) {
        let (ring, mine) = (Ring::starting_at(start), Ring::starting_at(start.wrapping_mul(3)));
        let mut model = VecDeque::new();
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push => {
                    let fits = model.len() < CAPACITY;
                    prop_assert_eq!(ring.push(cell(at + 1).as_ptr()), fits);
                    if fits {
                        model.push_back(at + 1);
                    }
                }
                Step::Pop => prop_assert_eq!(number(ring.pop()), model.pop_front()),
                Step::PopHalf => {
                    let half = (model.len() >= CAPACITY / 2).then(|| model.drain(..CAPACITY / 2).collect::<Vec<_>>());
                    let found = ring.pop_half();
                    prop_assert_eq!(found.map(|half| half.into_iter().filter_map(number).collect()), half);
                }
                Step::Steal => {
                    let mut stolen: VecDeque<usize> = model.drain(..model.len() - model.len() / 2).collect();
                    prop_assert_eq!(number(ring.steal_into(&mine)), stolen.pop_front());
                    while let Some(taken) = number(mine.pop()) {
                        prop_assert_eq!(Some(taken), stolen.pop_front());
                    }
                    prop_assert!(stolen.is_empty());
                }
            }
            prop_assert_eq!(ring.len(), model.len());
        }
    }

    /// Whatever workers and outsiders do, each cell is taken as often as it was made ready.
    #[test]
    fn the_coordinator_loses_nobody(
        workers in 1_usize..4,
        steps in proptest::collection::vec((0_usize..3, 0_u8..7), 0..if cfg!(miri) { 40 } else { 600 }),
    ) {
        let stage = Stage::new(workers, true);
        let mut outside = Vec::new();
        let mut next = 0;
        for (worker, step) in steps {
            let worker = worker % workers;
            match step {
                0..=2 => {
                    next += 1;
                    stage.make_ready(worker, next);
                }
                3 => {
                    next += 1;
                    stage.coordinator.inject(cell(next));
                }
                4 => outside.extend(stage.take(worker)),
                5 => {
                    if let Some(number) = stage.take(worker) {
                        stage.requeue(worker, number);
                    }
                }
                _ => {
                    if stage.coordinator.lane(worker).take_queued_all(&mut outside) {
                        outside.extend(stage.steal(worker));
                        outside.extend(stage.steal_stranded(worker));
                    }
                }
            }
        }
        for worker in 0..workers {
            outside.extend(stage.all(worker));
        }
        outside.sort_unstable();
        prop_assert_eq!(outside, (1..=next).collect::<Vec<_>>());
    }
}

impl crate::ready::Lane {
    /// Empties the ring, as a thief's has to be.
    fn take_queued_all(&self, taken: &mut Vec<usize>) -> bool {
        taken.extend(core::iter::from_fn(|| number(self.take_queued())));
        true
    }
}

// A cell is an address and nothing else.
const _: () = assert!(size_of::<CellPtr>() == size_of::<usize>());
