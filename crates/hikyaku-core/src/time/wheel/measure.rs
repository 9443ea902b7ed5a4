//! The wheel beside a heap, measured. Run by hand:
//!
//! ```sh
//! cargo test --release -p hikyaku-core --features std --lib wheel_against_heap -- --ignored --nocapture
//! ```

#![allow(clippy::print_stdout, reason = "the results are its output")]

use super::{Advance, TimerId, Wheel};
use core::cmp::Reverse;
use core::hint::black_box;
use std::collections::BinaryHeap;
use std::println;
use std::time::Instant;
use std::vec::Vec;

const COUNT: u64 = 1_000_000;
/// Timers are set for at most so many ticks ahead: a minute, at a millisecond each.
const AHEAD: u64 = 60_000;
const ROUNDS: usize = 5;

/// What can be measured.
trait Timers {
    type Id: Copy;
    fn new() -> Self;
    fn insert(&mut self, due: u64, payload: u64) -> Self::Id;
    fn cancel(&mut self, id: Self::Id) -> Option<u64>;
    /// How many fired.
    fn advance(&mut self, tick: u64) -> u64;
    fn next_due(&mut self) -> Option<u64>;
    /// Bytes in use for timers, without spare capacity.
    fn bytes(&self) -> usize;
}

impl Timers for Wheel<u64> {
    type Id = TimerId;

    fn new() -> Self {
        Self::new()
    }

    fn insert(&mut self, due: u64, payload: u64) -> TimerId {
        self.insert(due, payload).expect("there is room")
    }

    fn cancel(&mut self, id: TimerId) -> Option<u64> {
        self.cancel(id)
    }

    fn advance(&mut self, tick: u64) -> u64 {
        let mut fired = 0;
        loop {
            match self.advance(tick) {
                Advance::Fired(payload) => fired += u64::from(black_box(payload) < u64::MAX),
                Advance::Busy => {}
                Advance::Done => return fired,
            }
        }
    }

    fn next_due(&mut self) -> Option<u64> {
        Self::next_due(self)
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.nodes)
    }
}

/// A heap whose cancelled timers stay until they come to its top, or are more than half of it.
struct Heap {
    /// Due tick, sequence number, slot.
    heap: BinaryHeap<Reverse<(u64, u64, u32)>>,
    /// The sequence number that lives in a slot, and its payload.
    slots: Vec<(u64, Option<u64>)>,
    free: Vec<u32>,
    sequence: u64,
}

impl Heap {
    /// The payload, if the timer is alive.
    fn take(&mut self, slot: u32, sequence: u64) -> Option<u64> {
        let entry = self.slots.get_mut(slot as usize)?;
        let payload = (entry.0 == sequence).then(|| entry.1.take())??;
        self.free.push(slot);
        Some(payload)
    }

    fn alive(slots: &[(u64, Option<u64>)], slot: u32, sequence: u64) -> bool {
        let (owner, payload) = slots[slot as usize];
        owner == sequence && payload.is_some()
    }
}

impl Timers for Heap {
    type Id = (u32, u64);

    fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            sequence: 0,
        }
    }

    fn insert(&mut self, due: u64, payload: u64) -> (u32, u64) {
        self.sequence += 1;
        let entry = (self.sequence, Some(payload));
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = entry;
            slot
        } else {
            self.slots.push(entry);
            self.slots.len() as u32 - 1
        };
        self.heap.push(Reverse((due, self.sequence, slot)));
        (slot, self.sequence)
    }

    fn cancel(&mut self, (slot, sequence): (u32, u64)) -> Option<u64> {
        let payload = self.take(slot, sequence)?;
        let alive = self.slots.len() - self.free.len();
        if self.heap.len() > 2 * alive + 64 {
            let slots = &self.slots;
            self.heap
                .retain(|Reverse((_, sequence, slot))| Self::alive(slots, *slot, *sequence));
        }
        Some(payload)
    }

    fn advance(&mut self, tick: u64) -> u64 {
        let mut fired = 0;
        while let Some(Reverse((due, sequence, slot))) = self.heap.peek().copied() {
            if due > tick {
                break;
            }
            self.heap.pop();
            if let Some(payload) = self.take(slot, sequence) {
                fired += u64::from(black_box(payload) < u64::MAX);
            }
        }
        fired
    }

    fn next_due(&mut self) -> Option<u64> {
        while let Some(Reverse((due, sequence, slot))) = self.heap.peek().copied() {
            if Self::alive(&self.slots, slot, sequence) {
                return Some(due);
            }
            self.heap.pop();
        }
        None
    }

    fn bytes(&self) -> usize {
        self.heap.len() * size_of::<(u64, u64, u32)>()
            + size_of_val(&*self.slots)
            + size_of_val(&*self.free)
    }
}

/// What one round came to: nanoseconds for each operation.
struct Sample {
    name: &'static str,
    nanos: f64,
    bytes: usize,
}

fn timed<R>(name: &'static str, count: u64, f: impl FnOnce() -> R) -> (Sample, R) {
    let start = Instant::now();
    let result = f();
    let nanos = start.elapsed().as_nanos() as f64 / count as f64;
    let bytes = 0;
    (Sample { name, nanos, bytes }, result)
}

/// The same numbers in each round.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn round<W: Timers>() -> Vec<Sample> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let dues: Vec<u64> = (0..COUNT).map(|_| 1 + random.below(AHEAD)).collect();
    let mut samples = Vec::new();

    let mut wheel = W::new();
    let (mut sample, mut ids) = timed("insert 1M, random", COUNT, || {
        dues.iter()
            .map(|due| wheel.insert(*due, *due))
            .collect::<Vec<_>>()
    });
    sample.bytes = wheel.bytes();
    samples.push(sample);

    for at in (1..ids.len()).rev() {
        ids.swap(at, random.below(at as u64 + 1) as usize);
    }
    let (sample, cancelled) = timed("cancel 1M, shuffled", COUNT, || {
        ids.iter().filter(|id| wheel.cancel(**id).is_some()).count()
    });
    assert_eq!(cancelled as u64, COUNT);
    samples.push(sample);

    for (name, step) in [("fire 1M, tick by tick", 1), ("fire 1M, one jump", AHEAD)] {
        for due in &dues {
            wheel.insert(*due, *due);
        }
        let (sample, fired) = timed(name, COUNT, || {
            (0..=AHEAD)
                .step_by(step as usize)
                .map(|tick| wheel.advance(tick))
                .sum::<u64>()
        });
        assert_eq!(fired, COUNT);
        samples.push(sample);
        wheel = W::new();
    }
    samples.push(sleeper::<W>(&dues));
    samples.extend([100, 10_000].map(mixed::<W>));
    samples
}

/// Ten thousand timers, with a driver that sleeps until the next is due.
fn sleeper<W: Timers>(dues: &[u64]) -> Sample {
    let mut wheel = W::new();
    let (alive, mut fired) = (10_000, 0);
    let mut dues = dues.iter();
    for due in dues.by_ref().take(alive) {
        wheel.insert(*due, *due);
    }
    let count = dues.len() as u64;
    let (mut sample, ()) = timed("fire and set again, 10k set", count, || {
        while let Some(now) = wheel.next_due() {
            let few = wheel.advance(now);
            fired += few;
            for due in dues.by_ref().take(few as usize) {
                wheel.insert(now + due, *due);
            }
        }
    });
    assert_eq!(fired, COUNT);
    sample.bytes = wheel.bytes();
    sample
}

/// Time-outs: set for half a minute, nearly all taken out long before. A hundred come and go in a tick.
fn mixed<W: Timers>(in_flight: u64) -> Sample {
    let mut wheel = W::new();
    let mut ids: Vec<W::Id> = (0..in_flight).map(|at| wheel.insert(30_000, at)).collect();
    let name = match in_flight {
        100 => "time-outs, 100 in flight",
        _ => "time-outs, 10k in flight",
    };
    let count = 4 * COUNT;
    let mut bytes = 0;
    let (sample, fired) = timed(name, count, || {
        let mut fired = 0;
        let mut at = 0;
        for step in 0..count {
            let now = step / 100;
            if step % 100 == 0 {
                fired += wheel.advance(now);
                bytes = bytes.max(wheel.bytes());
            }
            // One in a thousand is left to fire.
            if step % 1000 != 0 {
                black_box(wheel.cancel(ids[at]));
            }
            ids[at] = wheel.insert(now + 30_000, step);
            at = (at + 1) % ids.len();
        }
        fired
    });
    assert!(fired > 0);
    Sample { bytes, ..sample }
}

/// Prints a table: the least time of all rounds, for one timer.
#[test]
#[ignore = "a measurement"]
fn wheel_against_heap() {
    let (wheels, heaps): (Vec<_>, Vec<_>) = (0..ROUNDS)
        .map(|_| (round::<Wheel<u64>>(), round::<Heap>()))
        .unzip();
    println!("| | wheel ns | heap ns | wheel KiB | heap KiB |\n|---|---|---|---|---|");
    for (at, (wheel, heap)) in wheels[0].iter().zip(&heaps[0]).enumerate() {
        println!(
            "| {} | {:.1} | {:.1} | {} | {} |",
            wheel.name,
            least(&wheels, at),
            least(&heaps, at),
            wheel.bytes / 1024,
            heap.bytes / 1024,
        );
    }
}

fn least(rounds: &[Vec<Sample>], at: usize) -> f64 {
    let nanos = rounds.iter().map(|samples| samples[at].nanos);
    nanos.fold(f64::INFINITY, f64::min)
}
