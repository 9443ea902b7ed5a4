//! What is allocated when: nothing on the way of a message, and nothing that cannot be refused for a new actor.
//!
//! A program of its own, because it brings an allocator.

use hikyaku_core::{
    Actor, ActorRef, Clock, Context, Failure, MailboxOptions, ManualDriver, SendError, SpawnError,
    SpawnOptions, System, SystemBuilder, Timer, Turn, Worker,
};
use std::alloc::{GlobalAlloc, Layout, System as Memory};
use std::cell::Cell;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

struct Counting;

thread_local! {
    /// Allocations of this thread.
    static COUNT: Cell<u64> = const { Cell::new(0) };
    /// So many more succeed.
    static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
}

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: the system's allocator, which may always be out of memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        match LEFT.get().checked_sub(1) {
            Some(left) => LEFT.set(left),
            None => return ptr::null_mut(),
        }
        // SAFETY: as the caller promises.
        unsafe { Memory.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { Memory.dealloc(block, layout) }
    }
}

/// How often `f` asks for memory.
fn allocations(f: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    f();
    COUNT.get() - before
}

/// What `f` gives if there is memory for so many allocations.
fn with_memory_for<R>(allocations: u64, f: impl FnOnce() -> R) -> R {
    LEFT.set(allocations);
    let result = f();
    LEFT.set(u64::MAX);
    result
}

/// Passes what it is sent on, until it comes to nothing.
struct Relay(Option<ActorRef<u32>>);

impl Actor for Relay {
    type Msg = u32;

    async fn handle(&mut self, hops: u32, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        if let (Some(next), Some(hops)) = (&self.0, hops.checked_sub(1)) {
            next.try_send(hops).map_err(|_| Failure::msg("full"))?;
        }
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Hand(Arc<AtomicU64>);

impl Clock for Hand {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

fn fixed() -> SystemBuilder {
    System::builder("fixed").max_actors(4).max_timers(4)
}

fn bounded() -> SpawnOptions {
    SpawnOptions::new().mailbox(MailboxOptions::bounded(8))
}

fn run(worker: &mut Worker) {
    while worker.poll(1000, Waker::noop()) == Turn::Ready {}
}

#[test]
fn ten_thousand_messages_through_three_actors_allocate_nothing() {
    let (system, mut workers) = fixed().build().unwrap();
    let worker = &mut workers[0];
    let last = system.spawn_with(bounded(), || Relay(None)).unwrap();
    let (next, options) = (last.clone(), bounded());
    let middle = system.spawn_with(options, move || Relay(Some(next.clone())));
    let next = middle.unwrap();
    let first = system
        .spawn_with(bounded(), move || Relay(Some(next.clone())))
        .unwrap();
    let rounds = |worker: &mut Worker, count| {
        for _ in 0..count {
            for _ in 0..4 {
                first.try_send(2).unwrap();
            }
            run(worker);
        }
    };
    rounds(worker, 2);
    let before = system.metrics().handled;
    assert_eq!(allocations(|| rounds(worker, 834)), 0);
    assert!(system.metrics().handled - before >= 10_000);
}

#[test]
fn refused_messages_allocate_nothing() {
    let (system, mut workers) = fixed().build().unwrap();
    let relay = system.spawn_with(bounded(), || Relay(None)).unwrap();
    run(&mut workers[0]);
    let refused = allocations(|| {
        for n in 0..1000 {
            let sent = relay.try_send(n);
            assert_eq!(sent.is_err(), n >= 8);
            assert!(matches!(sent, Ok(()) | Err(SendError::Full(_))));
        }
    });
    assert_eq!(refused, 0);
}

#[test]
fn an_end_that_is_waited_for_allocates_nothing() {
    let builder = fixed().clock(Hand::default());
    let (system, mut workers) = builder.tick_driver(ManualDriver::new()).build().unwrap();
    let _relay = system.spawn_with(bounded(), || Relay(None)).unwrap();
    run(&mut workers[0]);
    let ended = allocations(|| drop(system.graceful_shutdown_within(Duration::from_secs(1))));
    assert_eq!(ended, 0);
}

#[test]
fn ticks_of_timers_allocate_nothing() {
    struct Beat(u32);
    impl Actor for Beat {
        type Msg = ();
        async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
            cx.start_timer("beat", Timer::fixed_rate(Duration::from_millis(10), ()))?;
            cx.set_receive_timeout(Duration::from_secs(1), || ())?;
            Ok(())
        }
        async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
            self.0 += 1;
            Ok(())
        }
    }
    let (hand, driver) = (Hand::default(), ManualDriver::new());
    let builder = fixed().clock(hand.clone()).tick_driver(driver.clone());
    let (system, mut workers) = builder.build().unwrap();
    let _beat = system.spawn_with(bounded(), || Beat(0)).unwrap();
    let ticks = |worker: &mut Worker, count| {
        for _ in 0..count {
            hand.0.fetch_add(10, Ordering::Relaxed);
            driver.tick();
            run(worker);
        }
    };
    ticks(&mut workers[0], 2);
    let before = system.metrics().handled;
    assert_eq!(allocations(|| ticks(&mut workers[0], 1000)), 0);
    // Ticks do not put the timeout off, so that it comes each second.
    assert_eq!(system.metrics().handled - before, 1010);
}

/// Without `std` and `flow` actors are listed in their own memory.
#[cfg(any(feature = "std", feature = "flow"))]
#[test]
fn a_system_without_memory_for_its_actors_is_not_built() {
    for memory in 0..2 {
        let builder = fixed();
        let built = with_memory_for(memory, || builder.build());
        assert!(
            matches!(built, Err(hikyaku_core::BuildError::OutOfMemory)),
            "{memory}"
        );
    }
}

#[test]
fn an_actor_beyond_the_most_is_refused_and_its_place_is_free_again() {
    let (system, mut workers) = fixed().build().unwrap();
    let spawn = || system.spawn_with(bounded(), || Relay(None));
    let mut actors: Vec<_> = (0..4).map(|_| spawn().unwrap()).collect();
    assert_eq!(spawn().unwrap_err(), SpawnError::Capacity);
    actors.pop().unwrap().stop();
    run(&mut workers[0]);
    actors.push(spawn().unwrap());
    assert_eq!(spawn().unwrap_err(), SpawnError::Capacity);
}

#[test]
fn a_timer_beyond_the_most_is_refused() {
    struct Timers(u64);
    impl Actor for Timers {
        type Msg = ();
        async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
            for key in 0..self.0 {
                cx.start_timer(key, Timer::once(Duration::from_secs(1), ()))?;
            }
            Ok(())
        }
        async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
            Ok(())
        }
    }
    for (timers, ends) in [(4, false), (5, true)] {
        let builder = fixed().clock(Hand::default());
        let (system, mut workers) = builder.tick_driver(ManualDriver::new()).build().unwrap();
        let actor = system
            .spawn_with(bounded(), move || Timers(timers))
            .unwrap();
        run(&mut workers[0]);
        assert_eq!(actor.try_send(()).is_err(), ends, "{timers} timers");
    }
}

/// Spawns children as it is told.
struct Parent;

impl Actor for Parent {
    type Msg = u64;

    async fn handle(&mut self, memory: u64, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        let spawned = with_memory_for(memory, || cx.spawn_with(bounded(), || Relay(None)));
        match spawned {
            Ok(_) => cx.stop(),
            Err(error) => assert_eq!(error, SpawnError::Capacity),
        }
        Ok(())
    }
}

#[test]
fn a_spawn_that_finds_no_memory_is_refused() {
    // With a box of its own, for what few actors have.
    let rare = || bounded().throughput(1);
    for options in [bounded, rare] {
        let (system, _workers) = fixed().build().unwrap();
        let mut tries = 0;
        loop {
            let options = options();
            let spawned = with_memory_for(tries, || system.spawn_with(options, || Relay(None)));
            match spawned {
                Ok(_) => break,
                Err(error) => assert_eq!(error, SpawnError::Capacity),
            }
            assert_eq!(system.metrics().live_actors, 0);
            tries += 1;
        }
    }
    // A child, whose parent has to keep a list from then on.
    let (system, mut workers) = fixed().build().unwrap();
    let parent = system.spawn_with(bounded(), || Parent).unwrap();
    for memory in 0.. {
        if parent.tell(memory).is_err() {
            break;
        }
        run(&mut workers[0]);
        assert_eq!(system.metrics().failures, 0);
        assert!(memory < 10, "the parent has never had enough");
    }
}
