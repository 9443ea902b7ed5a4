//! Races of the coordinator of builds without `std`. The cells are real, because the queue is a chain through them; they
//! are spawned in a system whose worker never runs.

use crate::cell::CellPtr;
use crate::ready::queue::{Place, ReadyQueueCoordinator};
use crate::sync::{Arc, AtomicUsize, Ordering};
use crate::worker::{Step, Turn};
use crate::{Actor, ActorRef, Context, Failure, System, Worker};
use ::loom::future::block_on;
use ::loom::{model, thread};
use core::future::poll_fn;
use core::task::{Context as Poller, Poll, Waker};
use std::vec::Vec;

struct Nobody;

impl Actor for Nobody {
    type Msg = ();

    async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
        Ok(())
    }
}

/// A coordinator, and how many cells its workers have taken. When it is all, the system stops.
struct Stage {
    ready: ReadyQueueCoordinator,
    taken: AtomicUsize,
    cells: Vec<CellPtr>,
}

/// Where the cells are kept while a model runs.
type Kept = (System, Vec<Worker>, Vec<ActorRef<()>>);

fn stage(workers: usize, cells: usize) -> (Arc<Stage>, Kept) {
    let (system, hands) = System::builder("loom").build().unwrap();
    let actors: Vec<_> = (0..cells)
        .map(|_| system.spawn(|| Nobody).unwrap())
        .collect();
    let stage = Stage {
        ready: ReadyQueueCoordinator::new((workers, workers), false, 0, 0),
        taken: AtomicUsize::new(0),
        cells: actors.iter().map(ActorRef::cell).collect(),
    };
    (Arc::new(stage), (system, hands, actors))
}

impl Stage {
    fn is_stopped(&self) -> bool {
        self.taken.load(Ordering::Acquire) == self.cells.len()
    }

    fn poll(&self, worker: usize, cx: &mut Poller<'_>) -> Poll<()> {
        let lane = self.ready.lane(worker);
        loop {
            match self
                .ready
                .step(lane, &mut Place::new(), cx.waker(), || self.is_stopped())
            {
                Step::Run(_) => {
                    self.taken.fetch_add(1, Ordering::AcqRel);
                    if self.is_stopped() {
                        self.ready.wake_all();
                    }
                }
                Step::Look => {}
                Step::Over(Turn::Stopped) => return Poll::Ready(()),
                Step::Over(_) => return Poll::Pending,
            }
        }
    }

    /// Works until all cells have been taken. Nothing but a wake-up continues it.
    fn work(&self, worker: usize) {
        block_on(poll_fn(|cx| self.poll(worker, cx)));
    }
}

/// Does something on a thread of its own.
fn beside(stage: &Arc<Stage>, work: fn(&Stage)) -> thread::JoinHandle<()> {
    let stage = Arc::clone(stage);
    thread::spawn(move || work(&stage))
}

/// Two cells come while a worker looks, goes to sleep, and sleeps.
#[test]
fn inject_against_going_to_sleep() {
    model(|| {
        let (stage, _kept) = stage(1, 2);
        let thread = beside(&stage, |stage| stage.work(0));
        stage
            .cells
            .iter()
            .for_each(|cell| stage.ready.inject(*cell));
        thread.join().unwrap();
    });
}

/// Whoever takes the last one stops the system, while the other one goes to sleep.
#[test]
fn stop_against_going_to_sleep() {
    model(|| {
        let (stage, _kept) = stage(2, 1);
        let thread = beside(&stage, |stage| stage.work(0));
        stage.ready.inject(stage.cells[0]);
        stage.work(1);
        thread.join().unwrap();
    });
}

/// A worker that may have been woken for a cell leaves: another one is woken.
#[test]
fn leave_against_inject() {
    model(|| {
        let (stage, _kept) = stage(2, 1);
        // The first lane is looked through first, so it is the one who leaves that is woken.
        let thread = beside(&stage, |stage| stage.work(1));
        let lane = stage.ready.lane(0);
        let asleep = stage
            .ready
            .step(lane, &mut Place::new(), Waker::noop(), || false);
        assert!(matches!(asleep, Step::Over(Turn::Idle { .. })));
        let sender = beside(&stage, |stage| stage.ready.inject(stage.cells[0]));
        stage.ready.leave(lane, &mut Place::new());
        sender.join().unwrap();
        thread.join().unwrap();
    });
}

/// Two cells come at the same time, to two workers.
#[test]
fn two_injects_against_two_sleepers() {
    let mut builder = ::loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let (stage, _kept) = stage(2, 2);
        let workers: [fn(&Stage); 2] = [|stage| stage.work(0), |stage| stage.work(1)];
        let threads = workers.map(|work| beside(&stage, work));
        let sender = beside(&stage, |stage| stage.ready.inject(stage.cells[0]));
        stage.ready.inject(stage.cells[1]);
        sender.join().unwrap();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}
