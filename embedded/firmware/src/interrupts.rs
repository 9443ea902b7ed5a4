//! The timer's interrupt, which comes at any moment, as a sender and as the last owner.

use crate::bench::{Bench, end, room, small};
use board::systick;
use core::cell::RefCell;
use core::sync::atomic::Ordering;
use critical_section::Mutex;
use embassy_time::Timer as Alarm;
use hikyaku_core::{Actor, ActorRef, Context, Failure, SendError};
use portable_atomic::AtomicU32;

/// What the interrupt has in its hands.
static TARGET: Mutex<RefCell<Option<ActorRef<u32>>>> = Mutex::new(RefCell::new(None));
/// How many messages of the interrupt were accepted, and how many it is to send.
static SENT: AtomicU32 = AtomicU32::new(0);
static TO_SEND: AtomicU32 = AtomicU32::new(0);
static CHANCE: AtomicU32 = AtomicU32::new(1);
/// The sum of what was handled.
static SUM: AtomicU32 = AtomicU32::new(0);

fn put(target: Option<ActorRef<u32>>) -> Option<ActorRef<u32>> {
    critical_section::with(|cs| core::mem::replace(&mut *TARGET.borrow_ref_mut(cs), target))
}

struct Adder;

impl Actor for Adder {
    type Msg = u32;

    async fn handle(&mut self, n: u32, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        SUM.fetch_add(n, Ordering::Relaxed);
        Ok(())
    }
}

/// In the interrupt: sends a few, outside any critical section.
fn send() {
    let Some(target) = put(None) else {
        return;
    };
    for _ in 0..3 {
        if SENT.load(Ordering::Relaxed) < TO_SEND.load(Ordering::Relaxed) {
            match target.try_send(1) {
                Ok(()) => drop(SENT.fetch_add(1, Ordering::Relaxed)),
                Err(SendError::Full(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    put(Some(target));
}

/// As [`send`], and comes again at a moment that cannot be foreseen: in whatever the runtime is about by then.
fn send_at_any_moment() {
    send();
    // A linear sequence; its high bits look like chance.
    let before = CHANCE.load(Ordering::Relaxed);
    let next = before.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    CHANCE.store(next, Ordering::Relaxed);
    systick::pace(Some(600 + (next >> 22)));
}

fn start_sending(count: u32, target: &ActorRef<u32>) {
    SENT.store(0, Ordering::Relaxed);
    SUM.store(0, Ordering::Relaxed);
    TO_SEND.store(count, Ordering::Relaxed);
    put(Some(target.clone()));
    systick::in_interrupt(Some(send));
}

/// Drops what the interrupt has, and takes it its work.
fn stop_sending() {
    systick::in_interrupt(None);
    put(None);
}

pub(crate) async fn an_interrupt_sends_and_wakes_the_system(bench: &Bench) {
    let system = bench.start(small(1));
    let adder = system.spawn_with(room(8), || Adder).unwrap();
    start_sending(30, &adder);
    // Nobody else sends, so the task of the worker has only the interrupt to wake it.
    while SUM.load(Ordering::Relaxed) < 30 {
        Alarm::after_millis(1).await;
    }
    stop_sending();
    assert_eq!(SUM.load(Ordering::Relaxed), 30);
    end(system).await;
}

pub(crate) async fn interrupts_send_while_tasks_do(bench: &Bench) {
    const MINE: u32 = 10_000;
    let system = bench.start(small(2));
    // Two, so that one of them becomes ready in the middle of the other's becoming so.
    let adders = [(); 2].map(|()| system.spawn_with(room(4), || Adder).unwrap());
    start_sending(u32::MAX, &adders[1]);
    systick::in_interrupt(Some(send_at_any_moment));
    let (mut mine, mut refused) = (0, 0_u32);
    while mine < MINE || SENT.load(Ordering::Relaxed) < 10_000 {
        match adders[mine as usize % 2].try_send(1) {
            Ok(()) => mine += 1,
            Err(SendError::Full(_)) => {
                refused += 1;
                embassy_futures::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    stop_sending();
    systick::pace(None);
    for adder in &adders {
        adder.stop_gracefully();
        adder.stopped().await;
    }
    assert!(refused > 0);
    let sent = mine + SENT.load(Ordering::Relaxed);
    assert_eq!(SUM.load(Ordering::Relaxed), sent, "each once");
    end(system).await;
}

/// In the interrupt: drops what it has.
fn let_go() {
    put(None);
}

pub(crate) async fn the_last_reference_is_dropped_in_an_interrupt(bench: &Bench) {
    let system = bench.start(small(1));
    for _ in 0..20 {
        let options = room(2).stop_when_unreferenced();
        let adder = system.spawn_with(options, || Adder).unwrap();
        adder.tell(1).ok().unwrap();
        let stopped = adder.stopped();
        put(Some(adder));
        systick::in_interrupt(Some(let_go));
        stopped.await;
        systick::in_interrupt(None);
    }
    assert_eq!(system.metrics().handled, 20);
    end(system).await;
}

pub(crate) async fn memory_is_freed_in_an_interrupt(bench: &Bench) {
    let system = bench.start(small(1));
    for _ in 0..20 {
        let used = board::heap::used();
        let adder = system.spawn_with(room(2), || Adder).unwrap();
        adder.stop();
        adder.stopped().await;
        assert!(board::heap::used() > used);
        put(Some(adder));
        systick::in_interrupt(Some(let_go));
        while board::heap::used() > used {
            cortex_m::asm::wfi();
        }
        systick::in_interrupt(None);
    }
    end(system).await;
}
