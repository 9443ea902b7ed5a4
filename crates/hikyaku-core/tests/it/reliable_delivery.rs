//! Messages that arrive whatever the way between does to them.

use crate::puppet::Log;
use hikyaku_core::{
    Actor, ActorRef, Assembly, Backoff, Chunk, Consumer, Context, Demand, Failure, Packet,
    Producer, SendError, Timer,
};
use hikyaku_testkit::{Sim, check_seeds};
use std::collections::BTreeMap;
use std::time::Duration;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const RESEND: Backoff = Backoff::new(ms(20), ms(80));

/// What the way does to what is on it, in percent.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    lost: usize,
    doubled: usize,
    /// Up to so many milliseconds late.
    late: usize,
}

/// One direction of the way between the two sides.
#[derive(Debug)]
struct Way<T> {
    faults: Faults,
    /// With the time when it comes.
    under_way: Vec<(u64, T)>,
    carried: usize,
}

impl<T: Clone> Way<T> {
    fn new(faults: Faults) -> Self {
        Self {
            faults,
            under_way: Vec::new(),
            carried: 0,
        }
    }

    fn send(&mut self, sim: &mut Sim, now: u64, what: T) {
        self.carried += 1;
        let copies = if sim.below(100) < self.faults.doubled {
            2
        } else {
            1
        };
        for _ in 0..copies {
            if sim.below(100) >= self.faults.lost {
                let delay = 1 + sim.below(self.faults.late + 1) as u64;
                self.under_way.push((now + delay, what.clone()));
            }
        }
    }

    fn arrivals(&mut self, now: u64) -> Vec<T> {
        let (here, later) = self.under_way.drain(..).partition(|(at, _)| *at <= now);
        self.under_way = later;
        here.into_iter().map(|(_, what)| what).collect()
    }
}

/// Several producers, a consumer, and what has become of the messages.
struct World {
    now: u64,
    producers: Vec<Producer<u64>>,
    consumer: Consumer<u64>,
    session: u64,
    window: usize,
    there: Way<Packet<u64>>,
    back: Way<Demand>,
    /// Producer and message, in the order in which they were handled.
    handled: Vec<(u64, u64)>,
    /// The last number handled, of each producer: what a store would know.
    effects: BTreeMap<u64, u64>,
    applied: Vec<(u64, u64)>,
}

impl World {
    fn new(producers: u64, window: usize, there: Faults, back: Faults) -> Self {
        Self {
            now: 0,
            producers: (0..producers).map(|id| Producer::new(id, RESEND)).collect(),
            consumer: Consumer::new(1, window),
            session: 1,
            window,
            there: Way::new(there),
            back: Way::new(back),
            handled: Vec::new(),
            effects: BTreeMap::new(),
            applied: Vec::new(),
        }
    }

    fn push(&mut self, producer: usize, message: u64) {
        self.producers[producer].push(message).unwrap();
    }

    /// A millisecond passes; the consumer handles so many messages at most.
    fn step(&mut self, sim: &mut Sim, speed: usize) {
        self.now += 1;
        let now = ms(self.now);
        for demand in self.back.arrivals(self.now) {
            for producer in &mut self.producers {
                producer.demand(&demand, now);
            }
        }
        for producer in &mut self.producers {
            while let Some(packet) = producer.poll(now) {
                self.there.send(sim, self.now, packet);
            }
        }
        for packet in self.there.arrivals(self.now) {
            self.consumer.receive(packet);
        }
        for _ in 0..speed {
            let Some(delivery) = self.consumer.take() else {
                break;
            };
            let (from, number) = (delivery.producer, delivery.number);
            self.handled.push((from, delivery.message));
            let last = self.effects.entry(from).or_default();
            if number > *last {
                assert_eq!(number, *last + 1, "a message is left out");
                *last = number;
                self.applied.push((from, delivery.message));
            }
            self.consumer.confirm(from, number);
        }
        while let Some(demand) = self.consumer.poll() {
            self.back.send(sim, self.now, demand);
        }
    }

    fn is_done(&self) -> bool {
        self.producers
            .iter()
            .all(|producer| producer.confirmed() == producer.last())
    }

    /// Until all is confirmed. Gives the time.
    fn finish(&mut self, sim: &mut Sim, speed: usize) -> u64 {
        for _ in 0..200_000 {
            if self.is_done() {
                return self.now;
            }
            self.step(sim, speed);
        }
        panic!("not confirmed: {:?} {:?}", self.producers, self.consumer);
    }

    fn restart_consumer(&mut self, remembers: bool) {
        let ids = 0..self.producers.len() as u64;
        let confirmed: Vec<_> = ids.map(|id| (id, self.consumer.confirmed(id))).collect();
        self.session += 1;
        self.consumer = Consumer::new(self.session, self.window);
        if remembers {
            for (id, confirmed) in confirmed {
                self.consumer = self.consumer.clone().resume(id, confirmed);
            }
        }
    }

    fn restart_producer(&mut self, producer: usize) {
        let old = &self.producers[producer];
        let kept: Vec<_> = old.unconfirmed().copied().collect();
        self.producers[producer] =
            Producer::restore(producer as u64, RESEND, old.confirmed(), kept);
    }
}

/// Of one producer, what was handled or applied.
fn of(list: &[(u64, u64)], producer: u64) -> Vec<u64> {
    let list = list.iter().filter(|(from, _)| *from == producer);
    list.map(|(_, message)| *message).collect()
}

const PERFECT: Faults = Faults {
    lost: 0,
    doubled: 0,
    late: 0,
};

/// Loses the packets of these numbers, each the first time that it is sent in the session.
fn losing(sim: &mut Sim, lost: &[u64], messages: u64) -> World {
    let mut world = World::new(1, 10, PERFECT, PERFECT);
    let mut lost = lost.to_vec();
    for n in 1..=messages {
        world.push(0, n);
    }
    while !world.is_done() {
        world.step(sim, 100);
        world.there.under_way.retain(|(_, packet)| {
            let drops = packet.session.is_some() && lost.contains(&packet.number);
            if drops {
                lost.retain(|number| *number != packet.number);
            }
            !drops
        });
        assert!(world.now < 10_000);
    }
    assert!(lost.is_empty());
    world
}

#[test]
fn row88_what_is_lost_is_sent_again() {
    let all: Vec<u64> = (1..=30).collect();
    let cases: [(&str, &[u64]); 9] = [
        ("nothing", &[]),
        ("the first", &[1]),
        ("the second", &[2]),
        ("one in the middle", &[15]),
        ("several in the middle", &[13, 14, 15]),
        ("two holes", &[12, 15]),
        ("the last", &[30]),
        ("the last ones", &[28, 29, 30]),
        ("everything", &all),
    ];
    check_seeds(3, |sim| {
        for (what, lost) in cases {
            let world = losing(sim, lost, 30);
            assert_eq!(of(&world.handled, 0), all, "{what}");
            // The first one is sent twice, to learn of the consumer. Beyond that, what was lost, and for a hole that
            // nothing follows, one packet to find out.
            let most = 31 + 2 * lost.len() + 1;
            assert!(
                world.there.carried <= most,
                "{what}: {}",
                world.there.carried
            );
        }
    });
}

/// A hole is noticed by what follows it, not by waiting.
#[test]
fn row88_a_hole_is_filled_without_waiting() {
    check_seeds(3, |sim| {
        let (perfect, hole) = (losing(sim, &[], 30).now, losing(sim, &[15], 30).now);
        assert!(hole <= perfect + 4, "{perfect} {hole}");
        let tail = losing(sim, &[30], 30).now;
        assert!(tail >= perfect + 18, "{perfect} {tail}");
        // One wait is enough for all that is lost at the end.
        let tails = losing(sim, &[27, 28, 29, 30], 30).now;
        assert!(tails <= tail + 4, "{tail} {tails}");
    });
}

#[test]
fn row88_slow_and_fast_producers_with_slow_and_fast_consumers() {
    check_seeds(5, |sim| {
        for (every, speed) in [(1, 10), (1, 1), (5, 10), (5, 1), (0, 10), (0, 1)] {
            for window in [1, 2, 10, 100] {
                let mut world = World::new(1, window, PERFECT, PERFECT);
                let mut pushed = 0;
                while pushed < 50 {
                    let now = if every == 0 { 50 } else { 1 };
                    for _ in 0..now {
                        world.push(0, pushed);
                        pushed += 1;
                    }
                    for _ in 0..every {
                        world.step(sim, speed);
                        // No more than the window is under way, or waits.
                        let waiting = world.there.under_way.len();
                        assert!(waiting <= window.max(1));
                    }
                }
                world.finish(sim, speed);
                assert_eq!(of(&world.handled, 0), (0..50).collect::<Vec<_>>());
                // No more is sent again than one packet each time that nothing was heard for a while.
                let most = 51 + world.now as usize / 20;
                assert!(world.there.carried <= most, "{every} {speed} {window}");
            }
        }
    });
}

/// A consumer that is far too slow is not flooded: one packet each time that the time is up.
#[test]
fn row88_a_slow_consumer_is_not_flooded() {
    check_seeds(3, |sim| {
        let mut world = World::new(1, 10, PERFECT, PERFECT);
        for n in 0..20 {
            world.push(0, n);
        }
        for _ in 0..2000 {
            let handles = usize::from(world.now % 100 == 99);
            world.step(sim, handles);
        }
        world.finish(sim, 1);
        assert_eq!(of(&world.handled, 0), (0..20).collect::<Vec<_>>());
        assert!(
            world.there.carried < 21 + 2000 / 20,
            "{}",
            world.there.carried
        );
    });
}

#[test]
fn row88_the_next_window_is_requested_half_way() {
    let mut producer = Producer::new(7, RESEND);
    let mut consumer = Consumer::new(1, 10);
    for n in 1..=100_u64 {
        producer.push(n).unwrap();
    }
    // They get to know each other.
    let first = producer.poll(ms(0)).unwrap();
    assert_eq!((first.session, first.number), (None, 1));
    assert_eq!(producer.poll(ms(0)), None);
    consumer.receive(first);
    let demand = consumer.poll().unwrap();
    assert_eq!((demand.up_to, demand.confirmed), (10, 0));
    producer.demand(&demand, ms(0));
    let mut requests = Vec::new();
    for number in 1..=100 {
        while let Some(packet) = producer.poll(ms(0)) {
            consumer.receive(packet);
        }
        let delivery = consumer.take().unwrap();
        assert_eq!((delivery.number, delivery.message), (number, number));
        consumer.confirm(7, number);
        if let Some(demand) = consumer.poll() {
            requests.push(demand.up_to);
            producer.demand(&demand, ms(0));
        }
        assert_eq!(consumer.poll(), None);
    }
    let half_way: Vec<u64> = (1..=20).map(|n| 10 + 5 * n).collect();
    assert_eq!(requests, half_way);
    assert_eq!((producer.confirmed(), producer.due()), (100, None));
    assert_eq!(producer.poll(ms(99_999)), None);
}

fn packet(number: u64) -> Packet<u64> {
    Packet {
        producer: 7,
        session: Some(1),
        base: 1,
        number,
        message: number,
    }
}

/// What was taken makes room, confirmed or not.
#[test]
fn row88_more_is_requested_for_what_is_taken() {
    let mut consumer = Consumer::new(1, 10);
    for number in 1..=10 {
        consumer.receive(packet(number));
    }
    let mut asked = Vec::new();
    while let Some(delivery) = consumer.take() {
        if let Some(demand) = consumer.poll() {
            asked.push((delivery.number, demand.confirmed, demand.up_to));
        }
    }
    assert_eq!(asked, [(5, 0, 15), (10, 0, 20)]);
    consumer.confirm(7, 99);
    let last = consumer
        .poll()
        .map(|demand| (demand.confirmed, demand.up_to));
    assert_eq!((last, consumer.confirmed(7)), (Some((10, 20)), 10));
    // Too much, twice the same, and somebody else's: all of it is answered, and nothing is taken.
    let foreign = Packet {
        session: Some(2),
        ..packet(11)
    };
    for wrong in [packet(21), packet(10), foreign] {
        consumer.receive(wrong);
        assert!(consumer.poll().is_some() && consumer.take().is_none());
    }
    consumer.forget(7);
    assert_eq!((consumer.confirmed(7), consumer.poll()), (0, None));
}

#[test]
fn row88_a_hole_is_told_once() {
    let mut consumer = Consumer::new(1, 10);
    let mut told = Vec::new();
    for number in [1, 4, 5, 1, 2, 7, 3, 9, 6] {
        consumer.receive(packet(number));
        told.push(consumer.poll().map(|demand| demand.missing));
    }
    let wanted = [
        None,
        Some(3),
        None,
        Some(0),
        None,
        None,
        Some(6),
        None,
        Some(8),
    ];
    assert_eq!(told, wanted);
}

#[test]
fn row88_the_producer_keeps_no_more_than_it_may() {
    let mut producer = Producer::new(1, RESEND).capacity(2);
    assert_eq!((producer.push('a'), producer.push('b')), (Ok(()), Ok(())));
    assert_eq!(producer.push('c'), Err(SendError::Full('c')));
    let demand = Demand {
        producer: 1,
        session: 1,
        confirmed: 1,
        received: 1,
        missing: 0,
        up_to: 9,
    };
    producer.demand(
        &Demand {
            producer: 2,
            ..demand
        },
        ms(0),
    );
    assert_eq!((producer.confirmed(), producer.last()), (0, 2));
    producer.demand(&demand, ms(0));
    assert_eq!((producer.push('c'), producer.last()), (Ok(()), 3));
    assert!(producer.unconfirmed().eq(['b', 'c'].iter()));
    // One of an older life.
    let old = Demand {
        session: 0,
        confirmed: 3,
        ..demand
    };
    producer.demand(&old, ms(0));
    assert_eq!(producer.confirmed(), 1);
}

/// As long as nothing is heard, it waits longer and longer.
#[test]
fn row88_an_absent_consumer_is_tried_ever_more_rarely() {
    let mut producer = Producer::new(1, RESEND);
    producer.push(()).unwrap();
    let sent: Vec<u64> = (0..400)
        .filter(|now| producer.poll(ms(*now)).is_some())
        .collect();
    assert_eq!(sent, [0, 20, 60, 140, 220, 300, 380]);
    let mut eager = Producer::new(1, Backoff::new(ms(0), ms(0)));
    eager.push(()).unwrap();
    assert!(eager.poll(ms(0)).is_some() && eager.poll(ms(0)).is_none());
    assert!(eager.poll(ms(1)).is_some());
}

/// Whatever the way does, as long as it lets something through.
#[test]
fn row88_each_message_comes_once_and_in_order_whatever_the_way_does() {
    check_seeds(300, |sim| {
        let mut faults = || Faults {
            lost: [0, 5, 30, 60][sim.below(4)],
            doubled: [0, 5, 50][sim.below(3)],
            late: [0, 3, 30, 100][sim.below(4)],
        };
        let (there, back) = (faults(), faults());
        let window = 1 + sim.below(12);
        let producers = 1 + sim.below(3) as u64;
        let mut world = World::new(producers, window, there, back);
        for n in 0..40 {
            for producer in 0..producers {
                world.push(producer as usize, n);
            }
            for _ in 0..sim.below(4) {
                let speed = sim.below(5);
                world.step(sim, speed);
            }
        }
        world.finish(sim, 3);
        for producer in 0..producers {
            // Nobody has lost its memory, so nothing is handled twice.
            assert_eq!(of(&world.handled, producer), (0..40).collect::<Vec<_>>());
        }
    });
}

/// The same, and both sides are restarted at any time. Whether the consumer remembers is all that matters for
/// duplicates, and what its effects have remembered takes those out.
#[test]
fn row88_restarts_of_either_side() {
    check_seeds(300, |sim| {
        let faults = Faults {
            lost: [0, 20, 50][sim.below(3)],
            doubled: [0, 30][sim.below(2)],
            late: [0, 40][sim.below(2)],
        };
        let remembers = sim.below(2) == 0;
        let window = 1 + sim.below(12);
        let mut world = World::new(2, window, faults, faults);
        let mut last = [0; 2];
        for n in 0..40 {
            for producer in 0..2 {
                world.push(producer, n);
            }
            match sim.below(10) {
                0 => world.restart_consumer(remembers),
                1 => world.restart_producer(sim.below(2)),
                _ => {}
            }
            for _ in 0..sim.below(6) {
                let speed = sim.below(5);
                world.step(sim, speed);
            }
            // What was confirmed stays so.
            let confirmed = [0, 1].map(|producer: usize| world.producers[producer].confirmed());
            assert!(confirmed[0] >= last[0] && confirmed[1] >= last[1]);
            last = confirmed;
        }
        world.finish(sim, 3);
        for producer in 0..2 {
            let all: Vec<u64> = (0..40).collect();
            assert_eq!(of(&world.applied, producer), all);
            let handled = of(&world.handled, producer);
            if remembers {
                assert_eq!(handled, all);
            }
            // In order within each life: it goes back at restarts only.
            let back = handled
                .windows(2)
                .filter(|pair| pair[1] != pair[0] + 1)
                .count();
            assert!(back < world.session as usize);
        }
    });
}

/// A producer that is restarted may hear only later what an earlier life of the consumer had confirmed. The
/// consumer, which waits for just that, goes on with what comes after it.
#[test]
fn row88_what_another_life_has_confirmed_is_not_waited_for() {
    let restored = || Producer::restore(1, RESEND, 2, 3..=8);
    let demand = |session, confirmed, received| Demand {
        producer: 1,
        session,
        confirmed,
        received,
        missing: 0,
        up_to: confirmed + 10,
    };
    let mut consumer = Consumer::new(2, 10);
    let mut before = restored();
    before.demand(&demand(2, 0, 0), ms(0));
    let packets: Vec<_> = std::iter::from_fn(|| before.poll(ms(0))).collect();
    // The third is lost, and so is the answer.
    consumer.receive(packets[1].clone());
    consumer.receive(packets[3].clone());
    assert!(consumer.take().is_none() && consumer.poll().is_some());
    let mut after = restored();
    after.demand(&demand(1, 5, 5), ms(0));
    after.demand(&demand(2, 2, 2), ms(0));
    while let Some(packet) = after.poll(ms(0)) {
        consumer.receive(packet);
    }
    let numbers: Vec<_> = std::iter::from_fn(|| Some(consumer.take()?.number)).collect();
    assert_eq!(numbers, [6, 7, 8]);
}

/// Chunks of a large message, of which the last one is confirmed.
#[test]
fn row88_large_messages_go_in_chunks() {
    let sizes: [usize; 6] = [0, 1, 7, 8, 9, 1000];
    check_seeds(50, |sim| {
        let faults = Faults {
            lost: 20,
            doubled: 20,
            late: 10,
        };
        let (mut there, mut back) = (Way::new(faults), Way::new(faults));
        let mut producer = Producer::new(1, RESEND);
        let (mut consumer, mut assembly) = (Consumer::new(1, 5), Assembly::default());
        let message = |size: usize| (0..size).map(|n| n as u8).collect::<Vec<u8>>();
        for size in sizes {
            for chunk in Chunk::split(&message(size), 8) {
                producer.push(chunk).unwrap();
            }
        }
        let (mut whole, mut session) = (Vec::new(), 1);
        for now in 0..100_000 {
            for demand in back.arrivals(now) {
                producer.demand(&demand, ms(now));
            }
            while let Some(packet) = producer.poll(ms(now)) {
                there.send(sim, now, packet);
            }
            for packet in there.arrivals(now) {
                consumer.receive(packet);
            }
            while let Some(delivery) = consumer.take() {
                if let Some(bytes) = assembly.push(delivery.message) {
                    whole.push(bytes);
                    consumer.confirm(1, delivery.number);
                }
            }
            while let Some(demand) = consumer.poll() {
                back.send(sim, now, demand);
            }
            // In the midst of the large one.
            if whole.len() == 5 && session == 1 && sim.below(20) == 0 {
                session = 2;
                let confirmed = consumer.confirmed(1);
                consumer = Consumer::new(2, 5).resume(1, confirmed);
                assembly = Assembly::default();
            }
            if producer.confirmed() == producer.last() {
                break;
            }
        }
        assert_eq!(whole, sizes.map(message));
    });
}

// === actors ===

/// Sends numbers.
struct Sender {
    producer: Producer<u64>,
    to: Option<ActorRef<Packet<u64>>>,
}

enum SenderMsg {
    To(ActorRef<Packet<u64>>),
    New(u64),
    Demand(Demand),
    Due,
}

impl Actor for Sender {
    type Msg = SenderMsg;

    async fn handle(&mut self, msg: SenderMsg, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        match msg {
            SenderMsg::To(actor) => self.to = Some(actor),
            SenderMsg::New(n) => self.producer.push(n)?,
            SenderMsg::Demand(demand) => self.producer.demand(&demand, cx.now()),
            SenderMsg::Due => {}
        }
        while let Some(packet) = self.producer.poll(cx.now()) {
            let _ = self.to.as_ref().map(|to| to.tell(packet));
        }
        match self.producer.due() {
            Some(due) => {
                let delay = due.saturating_sub(cx.now()).max(ms(1));
                cx.start_timer("due", Timer::once(delay, SenderMsg::Due))?;
            }
            None => {
                cx.cancel_timer("due");
            }
        }
        Ok(())
    }
}

/// Logs what it gets, and fails now and then.
struct Receiver {
    consumer: Consumer<u64>,
    back: ActorRef<SenderMsg>,
    log: Log,
    fails_at: Vec<u64>,
}

impl Actor for Receiver {
    type Msg = Packet<u64>;

    async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.consumer = Consumer::new(u64::from(cx.incarnation()), 8);
        Ok(())
    }

    async fn handle(
        &mut self,
        packet: Packet<u64>,
        cx: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        self.consumer.receive(packet);
        while let Some(delivery) = self.consumer.take() {
            self.log.push(delivery.message.to_string());
            let life = usize::from(cx.incarnation()) - 1;
            if self.fails_at.get(life) == Some(&delivery.message) {
                return Err(Failure::msg("as asked"));
            }
            self.consumer.confirm(delivery.producer, delivery.number);
        }
        while let Some(demand) = self.consumer.poll() {
            let _ = self.back.tell(SenderMsg::Demand(demand));
        }
        Ok(())
    }
}

/// Drops every so-manieth message.
struct Leak<M>(ActorRef<M>, usize, usize);

impl<M: Send + 'static> Actor for Leak<M> {
    type Msg = M;

    async fn handle(&mut self, msg: M, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.1 += 1;
        if !self.1.is_multiple_of(self.2) {
            let _ = self.0.tell(msg);
        }
        Ok(())
    }
}

#[cfg(feature = "supervision")]
#[test]
fn row88_actors_with_a_leak_between_them_and_a_consumer_that_fails() {
    check_seeds(100, |sim| {
        let log = Log::default();
        let every = 2 + sim.below(5);
        let fails_at = [3, 3, 9, 14];
        let sender = sim
            .spawn(|| Sender {
                producer: Producer::new(5, RESEND),
                to: None,
            })
            .unwrap();
        let back = sim.spawn({
            let sender = sender.clone();
            move || Leak(sender.clone(), 0, every)
        });
        let (shown, back) = (log.clone(), back.unwrap());
        let receiver = sim
            .spawn(move || Receiver {
                consumer: Consumer::new(0, 1),
                back: back.clone(),
                log: shown.clone(),
                fails_at: fails_at.to_vec(),
            })
            .unwrap();
        let there = sim.spawn(move || Leak(receiver.clone(), 0, every)).unwrap();
        sender.tell(SenderMsg::To(there)).unwrap();
        for n in 0..20 {
            sender.tell(SenderMsg::New(n)).unwrap();
            let steps = sim.below(10);
            sim.run_steps(steps);
        }
        sim.run_until_idle();
        sim.run_for(ms(5000));
        let handled: Vec<u64> = log.take().iter().map(|n| n.parse().unwrap()).collect();
        // Again after a failure: the one that failed, and those that had not been confirmed yet.
        let mut next = 0;
        for n in &handled {
            assert!(*n <= next, "{handled:?}");
            next = next.max(n + 1);
        }
        assert_eq!(next, 20, "{handled:?}");
        let times = |n| handled.iter().filter(|m| **m == n).count();
        assert!(
            times(3) >= 3 && times(9) >= 2 && times(14) >= 2,
            "{handled:?}"
        );
    });
}
