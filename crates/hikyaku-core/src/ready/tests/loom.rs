//! Races of the coordinator. Cells are numbers here: an address that is never followed, and a cell
//! of loom's that stands for what the ticket carries. It is written by whoever makes the number
//! ready and by whoever takes it.

use super::{cell, number};
use crate::cell::{CellPtr, Header};
use crate::foreman::Shortage;
use crate::ready::idle::Idle;
use crate::ready::local::{CAPACITY, Ring};
use crate::ready::{Arrival, Lane, Outlook, ReadyQueueCoordinator};
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering, UnsafeCell};
use ::loom::future::block_on;
use ::loom::model::Builder;
use ::loom::{model, thread};
use core::future::poll_fn;
use core::task::{Poll, Waker};
use std::vec;
use std::vec::Vec;

/// What the tickets of the numbers 1.. carry.
struct Tickets([UnsafeCell<usize>; 8]);

// SAFETY: loom checks each access.
unsafe impl Send for Tickets {}
// SAFETY: likewise.
unsafe impl Sync for Tickets {}

impl Tickets {
    fn new() -> Self {
        Self([(); 8].map(|()| UnsafeCell::new(0)))
    }

    fn touch(&self, number: usize) {
        // SAFETY: loom finds two at a time.
        self.0[number].with_mut(|count| unsafe { *count += 1 });
    }
}

struct Rings {
    victim: Ring,
    thieves: [Ring; 2],
    tickets: Tickets,
}

impl Rings {
    fn push(&self, number: usize) {
        self.tickets.touch(number);
        assert!(self.victim.push(cell(number).as_ptr()));
    }

    fn taken(&self, header: *mut Header) -> Option<usize> {
        let number = number(header)?;
        self.tickets.touch(number);
        Some(number)
    }

    fn pop(&self) -> Option<usize> {
        self.taken(self.victim.pop())
    }

    /// Steals once, and takes all that came in by that.
    fn steal(&self, thief: usize) -> Vec<usize> {
        let mine = &self.thieves[thief];
        let mut all: Vec<usize> = self
            .taken(self.victim.steal_into(mine))
            .into_iter()
            .collect();
        all.extend(core::iter::from_fn(|| self.taken(mine.pop())));
        all
    }
}

/// Runs the owner, which pushes 1, 2 .. `count`, beside thieves; each number is taken once.
fn steal<const N: usize>(
    count: usize,
    before: usize,
    owner: fn(&Rings) -> Vec<usize>,
    thieves: [fn(&Rings) -> Vec<usize>; N],
) {
    model(move || {
        let rings = Arc::new(Rings {
            // The numbers wrap on the way.
            victim: Ring::starting_at(u32::MAX - 1),
            thieves: [Ring::starting_at(u32::MAX), Ring::new()],
            tickets: Tickets::new(),
        });
        (1..=before).for_each(|number| rings.push(number));
        let threads = thieves.map(|thief| {
            let rings = Arc::clone(&rings);
            thread::spawn(move || thief(&rings))
        });
        let mut all = owner(&rings);
        for thread in threads {
            all.extend(thread.join().unwrap());
        }
        all.extend(core::iter::from_fn(|| rings.pop()));
        all.sort_unstable();
        assert_eq!(all, (1..=count).collect::<Vec<_>>());
    });
}

fn pop_twice(rings: &Rings) -> Vec<usize> {
    let mut all: Vec<usize> = rings.pop().into_iter().collect();
    all.extend(rings.pop());
    all
}

#[test]
fn steal_against_pop() {
    steal(3, 3, pop_twice, [|rings| rings.steal(0)]);
}

#[test]
fn steal_against_push() {
    let owner = |rings: &Rings| {
        rings.push(1);
        rings.push(2);
        rings.push(3);
        vec![]
    };
    steal(
        3,
        0,
        owner,
        [|rings| {
            let mut all = rings.steal(0);
            all.extend(rings.steal(0));
            all
        }],
    );
}

#[test]
fn steal_against_push_into_a_full_ring() {
    // The slots that the thief reads are used again while it does.
    let owner = |rings: &Rings| {
        let all = pop_twice(rings);
        for number in CAPACITY + 1..=CAPACITY + all.len() {
            rings.push(number);
        }
        all
    };
    model(move || {
        let rings = Arc::new(Rings {
            victim: Ring::starting_at(u32::MAX - 1),
            thieves: [Ring::new(), Ring::new()],
            tickets: Tickets::new(),
        });
        (1..=CAPACITY).for_each(|number| rings.push(number));
        assert!(!rings.victim.push(cell(7).as_ptr()));
        let thief = {
            let rings = Arc::clone(&rings);
            thread::spawn(move || rings.steal(0))
        };
        let popped = owner(&rings);
        let count = CAPACITY + popped.len();
        let mut all = popped;
        all.extend(thief.join().unwrap());
        all.extend(core::iter::from_fn(|| rings.pop()));
        all.sort_unstable();
        assert_eq!(all, (1..=count).collect::<Vec<_>>());
    });
}

#[test]
fn two_thieves() {
    steal(
        4,
        4,
        |_| vec![],
        [|rings| rings.steal(0), |rings| rings.steal(1)],
    );
}

#[test]
fn two_thieves_against_pop() {
    let owner = |rings: &Rings| rings.pop().into_iter().collect();
    steal(
        3,
        3,
        owner,
        [|rings| rings.steal(0), |rings| rings.steal(1)],
    );
}

#[test]
fn steal_against_pop_half() {
    let owner = |rings: &Rings| {
        let half = rings.victim.pop_half().into_iter().flatten();
        half.map(|header| rings.taken(header).unwrap()).collect()
    };
    steal(4, 4, owner, [|rings| rings.steal(0)]);
}

#[test]
fn steal_from_a_thief() {
    // What was stolen can be stolen again, with all that it carries.
    model(|| {
        let rings = Arc::new(Rings {
            victim: Ring::new(),
            thieves: [Ring::new(), Ring::new()],
            tickets: Tickets::new(),
        });
        (1..=4).for_each(|number| rings.push(number));
        let first = {
            let rings = Arc::clone(&rings);
            thread::spawn(move || {
                let first = rings.taken(rings.victim.steal_into(&rings.thieves[0]));
                let second = rings.taken(rings.thieves[0].pop());
                [first, second]
            })
        };
        let second = rings.taken(rings.thieves[0].steal_into(&rings.thieves[1]));
        let mut all: Vec<usize> = second.into_iter().collect();
        all.extend(core::iter::from_fn(|| rings.taken(rings.thieves[1].pop())));
        all.extend(first.join().unwrap().into_iter().flatten());
        all.extend(core::iter::from_fn(|| rings.taken(rings.thieves[0].pop())));
        all.extend(core::iter::from_fn(|| rings.pop()));
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3, 4]);
    });
}

// === coordinator ===

/// A coordinator, and what its workers have taken.
struct Stage {
    coordinator: ReadyQueueCoordinator,
    tickets: Tickets,
    taken: Mutex<Taken>,
    count: usize,
    all_taken: AtomicUsize,
}

#[derive(Default)]
struct Taken {
    numbers: Vec<usize>,
    /// Who waits until all are taken.
    wakers: Vec<Waker>,
}

impl Stage {
    /// Every worker is in an activation.
    fn new(workers: usize, count: usize) -> Arc<Self> {
        let coordinator = ReadyQueueCoordinator::new((workers, workers), true, 7, 0);
        (0..workers).for_each(|worker| coordinator.lane(worker).entering());
        Arc::new(Self {
            coordinator,
            tickets: Tickets::new(),
            taken: Mutex::new(Taken::default()),
            count,
            all_taken: AtomicUsize::new(0),
        })
    }

    /// As an actor that runs on this worker makes others ready.
    fn make_ready(&self, worker: usize, number: usize) {
        self.tickets.touch(number);
        let lane = self.coordinator.lane(worker);
        let put = lane.put_next(cell(number));
        self.coordinator.after_put(lane, put);
    }

    fn inject(&self, number: usize) {
        self.tickets.touch(number);
        self.coordinator.inject(cell(number));
    }

    fn take(&self, taken: CellPtr) {
        let number = number(taken.as_ptr()).unwrap();
        self.tickets.touch(number);
        let wakers = self.taken.with(|taken| {
            taken.numbers.push(number);
            if taken.numbers.len() == self.count {
                // Release: pairs with the Acquire in `is_done`.
                self.all_taken.store(1, Ordering::Release);
                core::mem::take(&mut taken.wakers)
            } else {
                vec![]
            }
        });
        wakers.into_iter().for_each(Waker::wake);
        if self.is_done() {
            self.coordinator.wake_all();
        }
    }

    fn is_done(&self) -> bool {
        // Acquire: pairs with the Release in `take`.
        self.all_taken.load(Ordering::Acquire) == 1
    }

    /// An activation that lasts until others have taken the rest.
    fn wait_until_done(&self) {
        block_on(poll_fn(|cx| {
            let waker = cx.waker().clone();
            self.taken.with(|taken| {
                if taken.numbers.len() == self.count {
                    return Poll::Ready(());
                }
                taken.wakers.push(waker);
                Poll::Pending
            })
        }));
    }

    /// The steps of `Worker::poll`, with `run` as what the actors do.
    fn work(&self, worker: usize, run: impl Fn(&Self, CellPtr)) {
        #[derive(Clone, Copy)]
        enum Phase {
            Busy,
            Searching,
            Parking,
            Parked,
        }
        let (coordinator, lane) = (&self.coordinator, self.coordinator.lane(worker));
        let mut phase = Phase::Busy;
        block_on(poll_fn(|cx| {
            loop {
                match phase {
                    Phase::Busy => match coordinator.take(lane) {
                        Some(cell) => run(self, cell),
                        None if coordinator.start_searching() => phase = Phase::Searching,
                        None => {
                            coordinator.prepare_park(lane, false, cx.waker());
                            phase = Phase::Parking;
                        }
                    },
                    Phase::Searching => {
                        match coordinator.take(lane).or_else(|| coordinator.steal(lane)) {
                            Some(cell) => {
                                coordinator.stop_searching(lane);
                                phase = Phase::Busy;
                                run(self, cell);
                            }
                            None => {
                                coordinator.prepare_park(lane, true, cx.waker());
                                phase = Phase::Parking;
                            }
                        }
                    }
                    Phase::Parking if self.is_done() => return Poll::Ready(()),
                    Phase::Parking if coordinator.commit_park(lane) => {
                        phase = Phase::Parked;
                        return Poll::Pending;
                    }
                    Phase::Parking => phase = Phase::Searching,
                    Phase::Parked => {
                        coordinator.unpark(lane);
                        phase = Phase::Searching;
                    }
                }
            }
        }));
    }
}

/// Runs each part on a thread of its own, the last one on this; then every number was taken once.
fn play<const N: usize>(
    fewer: usize,
    workers: usize,
    count: usize,
    others: [fn(&Stage); N],
    main: fn(&Stage),
) {
    let mut builder = Builder::new();
    builder.max_branches = 20_000;
    builder.preemption_bound = builder.preemption_bound.map(|n| n.max(fewer + 1) - fewer);
    // The largest of these searches does not end within minutes: it is cut off, not passed over.
    builder.max_permutations = builder.max_permutations.or(Some(100_000));
    builder.check(move || {
        let stage = Stage::new(workers, count);
        let threads = others.map(|other| {
            let stage = Arc::clone(&stage);
            thread::spawn(move || other(&stage))
        });
        main(&stage);
        for thread in threads {
            thread.join().unwrap();
        }
        let mut numbers = stage
            .taken
            .with(|taken| core::mem::take(&mut taken.numbers));
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=count).collect::<Vec<_>>());
    });
}

/// After an activation that made two cells ready, the worker is stuck in the next one: a cell waits in
/// its ring.
fn makes_two_ready(stage: &Stage) {
    stage.make_ready(0, 1);
    stage.make_ready(0, 2);
    stage
        .coordinator
        .after_activation(stage.coordinator.lane(0));
    // The next slot is its own for a grace period, so it takes that one itself.
    let own = stage.coordinator.lane(0).take_next();
    // SAFETY: never followed.
    stage.take(unsafe { CellPtr::from_ptr(own) });
    stage.wait_until_done();
}

#[test]
fn push_against_park() {
    play(
        0,
        2,
        2,
        [|stage| stage.work(1, Stage::take)],
        makes_two_ready,
    );
}

#[test]
fn inject_against_park() {
    play(0, 1, 2, [|stage| stage.work(0, Stage::take)], |stage| {
        stage.inject(1);
        stage.inject(2);
    });
}

#[test]
fn inject_against_two_parks() {
    let workers: [fn(&Stage); 2] = [
        |stage| stage.work(0, Stage::take),
        |stage| stage.work(1, Stage::take),
    ];
    play(1, 2, 1, workers, |stage| stage.inject(1));
}

/// The actor waits in its handler until somebody else has run the other.
fn takes_and_waits(stage: &Stage, cell: CellPtr) {
    stage.take(cell);
    stage.wait_until_done();
}

#[test]
fn last_searcher_wakes_another() {
    // Two arrive while one worker searches: when it finds the first, it has to see to it that
    // another looks for the second.
    let workers: [fn(&Stage); 2] = [
        |stage| stage.work(0, takes_and_waits),
        |stage| stage.work(1, takes_and_waits),
    ];
    play(1, 2, 2, workers, |stage| {
        // Both sleep, which would take the preemptions that are needed afterwards.
        while stage.coordinator.asleep() != 2 {
            thread::yield_now();
        }
        stage.inject(1);
        stage.inject(2);
    });
}

#[test]
fn stranded_next_slot_against_its_worker() {
    model(|| {
        let stage = Stage::new(2, 1);
        stage.make_ready(0, 1);
        let thief = {
            let stage = Arc::clone(&stage);
            thread::spawn(move || {
                let lane = stage.coordinator.lane(1);
                // The first look only notes what is there.
                assert!(stage.coordinator.steal_stranded(lane).is_none());
                let stolen = stage.coordinator.steal_stranded(lane);
                let found = stolen.is_some();
                stolen.into_iter().for_each(|cell| stage.take(cell));
                found
            })
        };
        let own = number(stage.coordinator.lane(0).take_next()).map(cell);
        let found = own.is_some();
        own.into_iter().for_each(|cell| stage.take(cell));
        assert!(found != thief.join().unwrap());
    });
}

#[test]
fn stranded_next_slot_against_the_end_of_the_activation() {
    // The worker takes without an exchange what the thief takes with one.
    model(|| {
        let stage = Stage::new(2, 2);
        stage.make_ready(0, 1);
        let thief = {
            let stage = Arc::clone(&stage);
            thread::spawn(move || {
                let lane = stage.coordinator.lane(1);
                for _ in 0..3 {
                    if let Some(cell) = stage.coordinator.steal_stranded(lane) {
                        stage.take(cell);
                    }
                }
            })
        };
        let lane: &Lane = stage.coordinator.lane(0);
        for more in [true, false] {
            lane.entering();
            lane.leaving();
            lane.left();
            if let Some(number) = number(lane.take_next()) {
                stage.take(cell(number));
            }
            if more {
                stage.make_ready(0, 2);
            }
        }
        thief.join().unwrap();
        assert!(stage.is_done());
    });
}

#[test]
fn next_slot_put_against_stranded() {
    model(|| {
        let stage = Stage::new(2, 2);
        stage.make_ready(0, 1);
        let thief = {
            let stage = Arc::clone(&stage);
            thread::spawn(move || {
                let lane = stage.coordinator.lane(1);
                for _ in 0..2 {
                    if let Some(cell) = stage.coordinator.steal_stranded(lane) {
                        stage.take(cell);
                    }
                }
            })
        };
        stage.make_ready(0, 2);
        let lane: &Lane = stage.coordinator.lane(0);
        let mine = [lane.take_next(), lane.take_queued()];
        mine.into_iter()
            .filter_map(number)
            .map(cell)
            .for_each(|cell| stage.take(cell));
        thief.join().unwrap();
        assert!(stage.is_done());
    });
}

#[test]
fn injector_push_against_pop() {
    model(|| {
        let stage = Stage::new(1, 2);
        let pusher = {
            let stage = Arc::clone(&stage);
            thread::spawn(move || {
                stage.tickets.touch(1);
                stage.tickets.touch(2);
                let both = [Arrival::Ready(cell(1)), Arrival::Ready(cell(2))];
                stage.coordinator.injector.push_all(both);
            })
        };
        let (injector, lane) = (&stage.coordinator.injector, stage.coordinator.lane(0));
        let mut found = 0;
        for _ in 0..2 {
            if let Some(cell) = injector.pop(lane, 1) {
                stage.take(cell);
                found += 1;
            }
        }
        pusher.join().unwrap();
        // Its length tells the truth to whoever knows that the other is through.
        assert_eq!(injector.is_empty_for_sleep(), injector.is_empty());
        while let Some(cell) = number(lane.take_queued())
            .map(cell)
            .or_else(|| injector.pop(lane, 1))
        {
            stage.take(cell);
            found += 1;
        }
        assert_eq!(found, 2);
        assert!(injector.is_empty());
    });
}

#[test]
fn two_wakes_against_one_sleeper() {
    // A sleeper is woken once, and the accounts are right afterwards.
    model(|| {
        let idle = Arc::new(Idle::new(2, 2));
        idle.fall_asleep(0, false);
        let others = [(); 2].map(|()| {
            let idle = Arc::clone(&idle);
            thread::spawn(move || idle.worker_to_wake())
        });
        idle.wake_up(0);
        let woken = others.map(|other| other.join().unwrap());
        assert!(woken.iter().flatten().count() <= 1);
        assert_eq!(idle.asleep(), 0);
        assert!(!idle.is_asleep(0));
        // It counts as searching once.
        assert!(idle.stop_searching());
    });
}

/// Counts its wakes.
struct Wakes(AtomicUsize);

impl std::task::Wake for Wakes {
    fn wake(self: Arc<Self>) {
        // Relaxed: read when all threads have ended.
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A coordinator for one worker and a second one when there is much to do, and how often its foreman was
/// woken. Worker 0 is in an activation.
struct Adaptive {
    coordinator: ReadyQueueCoordinator,
    calls: Arc<Wakes>,
}

impl Adaptive {
    fn new() -> Arc<Self> {
        let coordinator = ReadyQueueCoordinator::new((1, 2), true, 7, 0);
        coordinator.lane(0).entering();
        Arc::new(Self {
            coordinator,
            calls: Arc::new(Wakes(AtomicUsize::new(0))),
        })
    }

    fn look(&self) -> Shortage {
        let waker = Waker::from(Arc::clone(&self.calls));
        self.coordinator
            .look(&mut Outlook::default(), false, &waker)
    }

    fn calls(&self) -> usize {
        // Relaxed: as in `wake`.
        self.calls.0.load(Ordering::Relaxed)
    }
}

/// A worker that leaves while the other one is woken, finds work and is stuck in it: it stays and is woken for what
/// comes next, or the foreman is called for it.
#[test]
fn row21_retire_against_wake() {
    model(|| {
        let stage = Adaptive::new();
        assert_eq!(stage.coordinator.hire(), Some(1));
        for (worker, searching) in [(1, true), (0, false)] {
            let lane = stage.coordinator.lane(worker);
            stage
                .coordinator
                .prepare_park(lane, searching, Waker::noop());
            assert!(stage.coordinator.commit_park(lane));
        }
        assert_eq!(stage.look(), Shortage::Not);
        let leaving = Arc::clone(&stage);
        let worker = thread::spawn(move || {
            let coordinator = &leaving.coordinator;
            coordinator.retire(coordinator.lane(1))
        });
        let taken = |worker| {
            let lane = stage.coordinator.lane(worker);
            let taken = stage.coordinator.take(lane).map(CellPtr::as_ptr);
            taken.and_then(number)
        };
        stage.coordinator.inject(cell(1));
        assert_eq!(
            taken(0),
            Some(1),
            "the last one to sleep is the first to wake"
        );
        stage.coordinator.stop_searching(stage.coordinator.lane(0));
        stage.coordinator.inject(cell(2));
        if worker.join().unwrap() {
            assert_ne!(stage.calls(), 0, "nobody was called");
            assert_eq!(stage.look(), Shortage::Yes);
            assert_eq!(stage.coordinator.hire(), Some(1));
        }
        assert!(!stage.coordinator.idle.is_asleep(1), "nobody was woken");
        assert_eq!(taken(1), Some(2));
    });
}

/// The foreman goes home because a worker sleeps, which is woken meanwhile: then it is called.
#[test]
fn row21_look_against_a_worker_that_finds_work() {
    model(|| {
        let stage = Adaptive::new();
        let lane = stage.coordinator.lane(0);
        stage.coordinator.prepare_park(lane, false, Waker::noop());
        assert!(stage.coordinator.commit_park(lane));
        let other = Arc::clone(&stage);
        let worker = thread::spawn(move || {
            other.coordinator.inject(cell(1));
            let lane = other.coordinator.lane(0);
            other.coordinator.unpark(lane);
            assert!(other.coordinator.take(lane).is_some());
            // From here on it is stuck.
            other.coordinator.stop_searching(lane);
        });
        let found = stage.look();
        worker.join().unwrap();
        if found == Shortage::Not {
            assert_ne!(stage.calls(), 0, "nobody was called");
        }
    });
}
