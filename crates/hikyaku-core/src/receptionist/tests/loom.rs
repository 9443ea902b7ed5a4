//! Races of who comes into a list of the system with the end of an actor, and of two who change the same
//! service.

use super::super::{Listing, ServiceKey};
use crate::sync::{Arc, Mutex};
use crate::{Actor, ActorRef, Context, Failure, System, Turn, Worker};
use ::loom::future::block_on;
use ::loom::model::Builder;
use ::loom::thread;
use core::future::poll_fn;
use core::task::{Poll, Waker};
use std::vec::Vec;

const KEY: ServiceKey<u32> = ServiceKey::new("key");

struct Member;

impl Actor for Member {
    type Msg = u32;

    async fn handle(&mut self, _: u32, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        Ok(())
    }
}

/// Writes down who joins and who leaves.
struct Ear(Arc<Mutex<Vec<(bool, ActorRef<u32>)>>>);

impl Actor for Ear {
    type Msg = Listing<u32>;

    async fn handle(&mut self, it: Self::Msg, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        let change = match it {
            Listing::All { .. } => return Ok(()),
            Listing::Joined { member, .. } => (true, member),
            Listing::Left { member, .. } => (false, member),
        };
        self.0.with(|heard| heard.push(change));
        Ok(())
    }
}

fn system() -> (System, Worker) {
    let (system, mut workers) = System::builder("loom").work_stealing().build().unwrap();
    (system, workers.pop().unwrap())
}

/// Runs the worker until so many actors are left.
fn serve(system: &System, worker: &mut Worker, left: usize) {
    block_on(poll_fn(|cx| {
        loop {
            match worker.poll(100, cx.waker()) {
                Turn::Ready => {}
                Turn::Idle { .. } if system.metrics().live_actors == left => {
                    return Poll::Ready(());
                }
                Turn::Idle { .. } => return Poll::Pending,
                Turn::Stopped => return Poll::Ready(()),
            }
        }
    }));
}

fn check(model: fn()) {
    let mut builder = Builder::new();
    builder.max_branches = 20_000;
    builder.check(model);
}

/// Someone brings an actor into a list while it ends.
fn entering(enter: fn(&System, &ActorRef<u32>), is_clean: fn(&System) -> bool) {
    let (system, mut worker) = system();
    let actor = system.spawn(|| Member).unwrap();
    serve(&system, &mut worker, 1);
    let other = {
        let (system, actor) = (system.clone(), actor.clone());
        thread::spawn(move || enter(&system, &actor))
    };
    actor.stop();
    serve(&system, &mut worker, 0);
    other.join().unwrap();
    assert!(is_clean(&system));
}

#[test]
fn joining_against_the_end() {
    check(|| {
        entering(
            |system, actor| {
                let _ = system.receptionist().join(&KEY, actor);
            },
            |system| {
                let directory = &system.home().shared.directory;
                directory
                    .desk()
                    .with(|state| state.services.is_empty() && state.of.is_empty())
            },
        );
    });
}

#[test]
fn subscribing_to_events_against_the_end() {
    check(|| {
        entering(
            |system, actor| {
                let _ = system.events().subscribe_with(actor, |_| None);
            },
            |system| !system.home().shared.events().is_listening(),
        );
    });
}

#[test]
fn changes_of_two_threads_arrive_in_order() {
    check(|| {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (system, mut worker) = system();
        let (one, two) = (
            system.spawn(|| Member).unwrap(),
            system.spawn(|| Member).unwrap(),
        );
        let ear = {
            let heard = Arc::clone(&heard);
            system.spawn(move || Ear(Arc::clone(&heard))).unwrap()
        };
        let desk = system.receptionist();
        desk.subscribe(&KEY, &ear.recipient()).unwrap();
        while matches!(worker.poll(100, Waker::noop()), Turn::Ready) {}
        let other = {
            let (system, two) = (system.clone(), two.clone());
            thread::spawn(move || system.receptionist().join(&KEY, &two).unwrap())
        };
        // The other one may come to send what this one has changed.
        desk.join(&KEY, &one).unwrap();
        assert!(desk.leave(&KEY, &one));
        other.join().unwrap();
        // Whoever was sending has sent everything by now.
        while matches!(worker.poll(100, Waker::noop()), Turn::Ready) {}
        heard.with(|heard| {
            assert_eq!(heard.len(), 3);
            let of_one = heard.iter().filter(|(_, member)| *member == one);
            let of_one: Vec<bool> = of_one.map(|(joined, _)| *joined).collect();
            assert_eq!(of_one, [true, false], "{heard:?} {one:?}");
        });
        heard.with(Vec::clear);
        system.force_stop();
        while !matches!(worker.poll(100, Waker::noop()), Turn::Stopped) {}
    });
}
