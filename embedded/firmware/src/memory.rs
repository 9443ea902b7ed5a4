//! What is allocated when, and what happens when there is nothing left.

use crate::bench::{Bench, end, room, small};
use board::heap;
use core::sync::atomic::Ordering;
use hikyaku_core::{Actor, ActorRef, Context, Failure, SpawnError};
use portable_atomic::AtomicUsize;

static HANDLED: AtomicUsize = AtomicUsize::new(0);

/// Passes what it is sent on, until it comes to nothing.
struct Relay(Option<ActorRef<u32>>);

impl Actor for Relay {
    type Msg = u32;

    async fn handle(&mut self, hops: u32, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        HANDLED.fetch_add(1, Ordering::Relaxed);
        if let (Some(next), Some(hops)) = (&self.0, hops.checked_sub(1)) {
            next.send(hops).await?;
        }
        Ok(())
    }
}

pub(crate) async fn ten_thousand_messages_allocate_nothing(bench: &Bench) {
    let system = bench.start(small(3));
    let last = system.spawn_with(room(4), || Relay(None)).unwrap();
    let next = last.clone();
    let middle = system.spawn_with(room(4), move || Relay(Some(next.clone())));
    let next = middle.unwrap();
    let first = system.spawn_with(room(4), move || Relay(Some(next.clone())));
    let first = first.unwrap();
    let round = async || {
        let before = HANDLED.load(Ordering::Relaxed);
        for _ in 0..4 {
            first.send(2).await.ok().unwrap();
        }
        while HANDLED.load(Ordering::Relaxed) - before < 12 {
            embassy_futures::yield_now().await;
        }
    };
    round().await;
    let before = heap::allocations();
    for _ in 0..834 {
        round().await;
    }
    assert_eq!(heap::allocations(), before);
    assert!(HANDLED.load(Ordering::Relaxed) >= 10_000);
    end(system).await;
}

/// Handles nothing, and is nothing.
struct Nothing;

impl Actor for Nothing {
    type Msg = ();

    async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
        Ok(())
    }
}

/// What the runtime takes besides the actor's own, which is its value, its messages and the future of its handler, here
/// of twelve bytes: 92, with what fills it up to eight. A bound that can be changed takes another 16.
pub(crate) async fn an_actor_takes_little_memory(bench: &Bench) {
    const MOST: usize = if cfg!(feature = "flow") { 108 } else { 92 } + 12;
    let system = bench.start(small(20));
    let taken = [1, 2].map(|messages| {
        let before = heap::used();
        let actor = system.spawn_with(room(messages), || Nothing).unwrap();
        (heap::used() - before, actor)
    });
    let slot = taken[1].0 - taken[0].0;
    assert!(taken[0].0 - slot <= MOST);
    drop(taken);
    end(system).await;
}

pub(crate) async fn what_has_no_room_is_refused(bench: &Bench) {
    let system = bench.start(small(2));
    // A mailbox larger than the memory: no place is taken by it.
    for _ in 0..5 {
        let refused = system.spawn_with(room(30_000), || Relay(None));
        assert_eq!(refused.err(), Some(SpawnError::Capacity));
    }
    let actors = [(); 2].map(|()| system.spawn_with(room(2), || Relay(None)).unwrap());
    let refused = system.spawn_with(room(2), || Relay(None));
    assert_eq!(refused.err(), Some(SpawnError::Capacity));
    // The others go on, and who ends makes room.
    actors[0].tell(0).ok().unwrap();
    actors[1].stop();
    actors[1].stopped().await;
    let third = system.spawn_with(room(2), || Relay(None)).unwrap();
    third.tell(0).ok().unwrap();
    end(system).await;
}
