//! A scenario drawn from a seed, and the trace that it leaves: the same on every target.
//!
//! This file is compiled into the firmware, into a program for the host, and for WebAssembly; `cargo xtask qemu`
//! compares what they say. Actors pass messages to each other by chance, wait, fail, are restarted and have
//! timers; the worker is polled with budgets by chance, and time goes on by steps of chance.

extern crate alloc;

use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::task::Waker;
use core::time::Duration;
use critical_section::Mutex;
use hikyaku_core::{
    Actor, ActorRef, Clock, Context, Failure, MailboxOptions, ManualDriver, SpawnOptions,
    Supervision, System, Timer, Turn,
};

/// How many actors there are.
const ACTORS: u32 = 4;
/// How many messages each is sent from outside.
const SENT: u32 = 40;
/// How far a message goes at most.
const HOPS: u32 = 12;

static NOW: Mutex<Cell<u64>> = Mutex::new(Cell::new(0));
static TRACE: Mutex<Cell<u64>> = Mutex::new(Cell::new(0));
static PEERS: Mutex<RefCell<Vec<ActorRef<Msg>>>> = Mutex::new(RefCell::new(Vec::new()));

/// Adds to the trace (FNV-1a, a word at a time).
fn note(what: [u32; 3]) {
    critical_section::with(|cs| {
        let trace = TRACE.borrow(cs);
        for word in what {
            trace.set((trace.get() ^ u64::from(word)).wrapping_mul(0x0000_0100_0000_01B3));
        }
    });
}

/// Numbers that look like chance (xorshift).
#[derive(Clone, Copy)]
struct Chance(u32);

impl Chance {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.next().is_multiple_of(count)
    }
}

struct Steps;

impl Clock for Steps {
    fn now(&self) -> Duration {
        Duration::from_millis(critical_section::with(|cs| NOW.borrow(cs).get()))
    }
}

enum Msg {
    Pass { hops: u32, chance: Chance },
    Tick(u32),
}

struct Node(u32);

impl Actor for Node {
    type Msg = Msg;

    async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        note([1, self.0, cx.incarnation().into()]);
        Ok(())
    }

    async fn handle(&mut self, msg: Msg, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        let (hops, mut chance) = match msg {
            Msg::Pass { hops, chance } => (hops, chance),
            Msg::Tick(number) => {
                note([2, self.0, number]);
                return Ok(());
            }
        };
        note([3, self.0, chance.0]);
        if chance.one_in(5) {
            cx.yield_now().await;
            note([4, self.0, chance.0]);
        }
        if chance.one_in(7) {
            let delay = Duration::from_millis(u64::from(chance.next() % 20));
            cx.start_timer(
                u64::from(chance.next() % 2),
                Timer::once(delay, Msg::Tick(chance.0)),
            )?;
        }
        if chance.one_in(31) {
            return Err(Failure::msg("drawn"));
        }
        if let Some(hops) = hops.checked_sub(1) {
            let to = chance.next() % ACTORS;
            let peer = critical_section::with(|cs| PEERS.borrow_ref(cs)[to as usize].clone());
            let sent = peer.try_send(Msg::Pass { hops, chance });
            note([5, to, u32::from(sent.is_ok())]);
        }
        Ok(())
    }
}

/// Plays the scenario and gives the hash of its trace.
pub fn play(seed: u32) -> u64 {
    let mut chance = Chance(seed);
    critical_section::with(|cs| {
        NOW.borrow(cs).set(0);
        TRACE.borrow(cs).set(0xCBF2_9CE4_8422_2325);
    });
    let ticks = ManualDriver::new();
    let built = System::builder("seeded")
        .clock(Steps)
        .tick_driver(ticks.clone())
        .throughput(3)
        .max_actors(ACTORS)
        .max_timers(2 * ACTORS)
        .supervision(Supervision::one_for_one().unlimited_restarts())
        .build();
    let (system, mut workers) = built.unwrap();
    for id in 0..ACTORS {
        let options = SpawnOptions::new().mailbox(MailboxOptions::bounded(4));
        let node = system.spawn_with(options, move || Node(id)).unwrap();
        critical_section::with(|cs| PEERS.borrow_ref_mut(cs).push(node));
    }
    for _ in 0..SENT * ACTORS {
        let to = chance.next() % ACTORS;
        let peer = critical_section::with(|cs| PEERS.borrow_ref(cs)[to as usize].clone());
        let chance_of_it = Chance(chance.next());
        let sent = peer.try_send(Msg::Pass {
            hops: HOPS,
            chance: chance_of_it,
        });
        note([6, to, u32::from(sent.is_ok())]);
        let turn = workers[0].poll(chance.next() as usize % 8, Waker::noop());
        note([7, 0, u32::from(turn == Turn::Ready)]);
        critical_section::with(|cs| {
            let now = NOW.borrow(cs);
            now.set(now.get() + u64::from(chance.next() % 4));
        });
        ticks.tick();
    }
    let _end = system.graceful_shutdown();
    while workers[0].poll(100, Waker::noop()) == Turn::Ready {}
    drop(critical_section::with(|cs| PEERS.take(cs)));
    let counted = system.metrics();
    for count in [
        counted.handled,
        counted.failures,
        counted.restarts,
        counted.dead_letters,
    ] {
        note([8, 0, count as u32]);
    }
    critical_section::with(|cs| TRACE.borrow(cs).get())
}
