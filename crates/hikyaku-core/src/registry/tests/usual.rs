//! What holds for both kinds of registry, seen through a system.

use crate::{Actor, ActorRef, Context, Failure, MailboxIndex, SpawnError, System, Turn, Worker};
use core::task::Waker;
use std::collections::BTreeSet;
use std::vec::Vec;

struct Nobody;

impl Actor for Nobody {
    type Msg = ();

    async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
        Ok(())
    }
}

fn spawn(system: &System) -> ActorRef<()> {
    system.spawn(|| Nobody).unwrap()
}

fn run(worker: &mut Worker) {
    while worker.poll(100, Waker::noop()) == Turn::Ready {}
}

/// The actors that are alive.
fn visited(system: &System) -> Vec<MailboxIndex> {
    let mut visited = Vec::new();
    let registry = &system.home().shared.registry;
    registry.for_each(&mut |cell| visited.push(cell.index()));
    visited.sort_unstable();
    visited
}

#[test]
fn actors_are_found_until_they_end_in_whatever_order() {
    let (system, mut workers) = System::builder("test").build().unwrap();
    let mut actors: Vec<_> = (0..20).map(|_| spawn(&system)).collect();
    let all: BTreeSet<_> = actors.iter().map(ActorRef::index).collect();
    assert_eq!(all.len(), 20);
    // The newest, the oldest, and those in between.
    for which in [19, 0, 7, 7, 9, 0, 13, 5] {
        let actor = actors.remove(which);
        actor.stop();
        run(&mut workers[0]);
        assert!(system.resolve::<()>(actor.index()).is_none());
        for actor in &actors {
            assert!(system.resolve::<()>(actor.index()).is_some());
        }
        let mut left: Vec<_> = actors.iter().map(ActorRef::index).collect();
        left.sort_unstable();
        assert_eq!(visited(&system), left);
        assert_eq!(system.metrics().live_actors, actors.len());
    }
    assert!(!all.contains(&spawn(&system).index()), "never used again");
    assert!(system.resolve::<()>(MailboxIndex::NONE).is_none());
}

#[test]
fn everyone_is_visited_once_also_when_they_leave_meanwhile() {
    let (system, mut workers) = System::builder("test").build().unwrap();
    let actors: Vec<_> = (0..9).map(|_| spawn(&system)).collect();
    run(&mut workers[0]);
    let mut visited = Vec::new();
    let registry = &system.home().shared.registry;
    registry.for_each(&mut |cell| {
        visited.push(cell.index());
        // This one, or the next one, or the one after that, which are not visited then.
        let at = actors.iter().position(|it| it.cell() == cell).unwrap();
        if let Some(actor) = actors.get(at + at % 3) {
            actor.stop();
            run(&mut workers[0]);
        }
    });
    let left: Vec<_> = [0, 1, 3, 4, 6, 7]
        .map(|at: usize| actors[at].index())
        .into();
    visited.sort_unstable();
    assert_eq!(visited, left);
}

#[test]
fn a_limit_holds_and_room_comes_back() {
    let (system, mut workers) = System::builder("test").max_actors(3).build().unwrap();
    let actors: Vec<_> = (0..3).map(|_| spawn(&system)).collect();
    assert_eq!(system.spawn(|| Nobody).err(), Some(SpawnError::Capacity));
    actors[1].stop();
    run(&mut workers[0]);
    let _one_more = spawn(&system);
    assert_eq!(system.spawn(|| Nobody).err(), Some(SpawnError::Capacity));
    system.force_stop();
    assert_eq!(
        system.spawn(|| Nobody).err(),
        Some(SpawnError::ShuttingDown)
    );
}
