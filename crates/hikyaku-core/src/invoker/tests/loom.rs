//! A child that ends while its parent decides about it, each on a worker of its own.

use crate::sync::{Arc, Mutex};
use crate::{
    Actor, ActorRef, Context, Dispatcher, Failure, SpawnOptions, Supervision, System, Turn, Worker,
};
use ::loom::model::Builder;
use ::loom::thread;
use core::task::Waker;
use std::vec::Vec;

type Place = Arc<Mutex<Vec<ActorRef<()>>>>;

/// Spawns a child on another dispatcher.
struct Parent(Dispatcher, Place);

impl Actor for Parent {
    type Msg = ();

    async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        let there = SpawnOptions::new().dispatcher(&self.0);
        let child = cx.spawn_with(there, || Child)?;
        self.1.with(|place| place.push(child));
        Ok(())
    }

    async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
        Ok(())
    }
}

/// Fails with each message.
struct Child;

impl Actor for Child {
    type Msg = ();

    async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
        Err(Failure::msg("as asked"))
    }
}

struct Family {
    system: System,
    here: Worker,
    there: Worker,
    parent: ActorRef<()>,
    child: ActorRef<()>,
}

impl Family {
    /// Both have started, each on its worker.
    fn new(by: Supervision) -> Self {
        let (system, mut workers) = System::builder("loom").work_stealing().build().unwrap();
        let mut here = workers.pop().unwrap();
        let (dispatcher, mut workers) = system.dispatcher().build();
        let mut there = workers.pop().unwrap();
        let place: Place = Arc::new(Mutex::new(Vec::new()));
        let (other, child) = (dispatcher.clone(), Arc::clone(&place));
        let parent = system
            .spawn_with(SpawnOptions::new().supervision(by), move || {
                Parent(other.clone(), Arc::clone(&child))
            })
            .unwrap();
        serve(&mut here, &mut there);
        let child = place.with(Vec::pop).unwrap();
        Self {
            system,
            here,
            there,
            parent,
            child,
        }
    }

    /// The child runs on another thread while `meanwhile` happens here and the parent runs. So many actors
    /// are left.
    fn race(self, meanwhile: fn(&Self), left: usize) {
        let mut this = self;
        assert!(this.child.tell(()).is_ok());
        // It fails, and waits.
        run(&mut this.there);
        meanwhile(&this);
        let mut there = this.there;
        let other = thread::spawn(move || {
            run(&mut there);
            there
        });
        run(&mut this.here);
        let mut there = other.join().unwrap();
        serve(&mut this.here, &mut there);
        assert_eq!(this.system.metrics().live_actors, left);
        this.parent.stop();
        serve(&mut this.here, &mut there);
        assert_eq!(this.system.metrics().live_actors, 0);
    }
}

/// Until there is nothing to do.
fn run(worker: &mut Worker) {
    while worker.poll(100, Waker::noop()) == Turn::Ready {}
}

/// Until there is nothing to do for both.
fn serve(here: &mut Worker, there: &mut Worker) {
    for _ in 0..6 {
        run(here);
        run(there);
    }
}

fn check(model: fn()) {
    let mut builder = Builder::new();
    builder.max_branches = 20_000;
    builder.check(model);
}

/// Its own end and the verdict of a restart meet; the letters find a child that is there, ending or gone.
#[test]
fn row36_a_killed_child_against_its_restart() {
    check(|| Family::new(Supervision::one_for_one()).race(|family| family.child.kill(), 1));
}

/// The same where it has to be told that its turn has come, and is taken out of the procession.
#[test]
fn row31_a_killed_child_against_its_turn() {
    check(|| Family::new(Supervision::all_for_one()).race(|family| family.child.kill(), 1));
}

/// The parent ends as well: it must not end before it knows of its child's end.
#[test]
fn row27_a_failed_child_against_its_parents_end() {
    check(|| Family::new(Supervision::one_for_one()).race(|family| family.parent.stop(), 0));
}

/// The restart itself goes on while the parent tells it so.
#[test]
fn row31_a_restarted_child_against_its_turn() {
    check(|| Family::new(Supervision::all_for_one()).race(|_| {}, 2));
}
