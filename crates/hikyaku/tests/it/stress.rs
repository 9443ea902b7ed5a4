//! Everything at once, on real threads: every message has exactly one fate, and each sender's
//! messages arrive in order.
//!
//! `HIKYAKU_STRESS=50000000 cargo test --release -p hikyaku stress` sends so many.

use crate::ledger::{Fate, Ledger, Parcel, Withdraw, withdrawing};
use hikyaku::{
    Actor, ActorRef, ActorSystem, Context, Failure, MailboxOptions, Reply, RestartPolicy,
    SendError, SpawnOptions, System, block_on,
};
use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Once, OnceLock, RwLock};
use std::task::{Poll, Waker};
use std::thread;

/// What a node does besides counting.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Nothing,
    /// Send one on, without waiting.
    Tell,
    /// Send one on, and wait for room. Only to a node further up, so that no two wait for each other.
    Send,
    /// Ask a node further up.
    Ask,
    /// Wait until a foreign thread wakes it.
    Await,
    Yield,
    /// Give one to a child.
    Child,
    /// To itself.
    Me,
    Panic,
    Fail,
}

const DEEDS: [(Deed, usize); 10] = [
    (Deed::Nothing, 3000),
    (Deed::Tell, 2000),
    (Deed::Send, 600),
    (Deed::Ask, 300),
    (Deed::Await, 200),
    (Deed::Yield, 300),
    (Deed::Child, 40),
    (Deed::Me, 400),
    (Deed::Panic, 2),
    (Deed::Fail, 2),
];

enum Msg {
    Take(Parcel),
    Answer(Parcel, Reply<u64>),
}

impl Msg {
    fn returned(self) {
        match self {
            Self::Take(parcel) | Self::Answer(parcel, _) => parcel.met(Fate::Returned),
        }
    }
}

/// Whom a foreign thread is to wake.
type Wakes = Sender<(Arc<AtomicBool>, Waker)>;

/// What all share in one round.
struct World {
    ledger: Ledger,
    /// So many may be sent.
    limit: usize,
    nodes: Vec<RwLock<ActorRef<Msg>>>,
    next_sender: AtomicU32,
    wakes: Wakes,
    mailboxes: Vec<MailboxOptions>,
}

impl World {
    fn node(&self, place: usize) -> ActorRef<Msg> {
        self.nodes[place].read().unwrap().clone()
    }

    fn is_over(&self) -> bool {
        self.ledger.sent() >= self.limit
    }
}

/// Numbers its messages.
struct Origin {
    sender: u32,
    number: u64,
    random: fastrand::Rng,
}

impl Origin {
    fn new(world: &World, seed: u64) -> Self {
        let sender = world.next_sender.fetch_add(1, Ordering::Relaxed);
        Self {
            sender,
            number: 0,
            random: fastrand::Rng::with_seed(seed ^ u64::from(sender) << 32),
        }
    }

    fn parcel(&mut self, world: &World) -> Parcel {
        self.number += 1;
        world.ledger.parcel(self.sender, self.number)
    }

    fn deed(&mut self) -> Deed {
        let all: usize = DEEDS.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.random.usize(..all);
        for (deed, weight) in DEEDS {
            if drawn < weight {
                return deed;
            }
            drawn -= weight;
        }
        Deed::Nothing
    }
}

struct Node {
    place: usize,
    world: Arc<World>,
    origin: Origin,
    /// The last number of each sender.
    seen: HashMap<u32, u64>,
    /// Not atomic: right only if handlers never overlap.
    handled: u64,
}

impl Node {
    fn new(world: &Arc<World>, place: usize, seed: u64) -> Self {
        Self {
            place,
            origin: Origin::new(world, seed),
            world: world.clone(),
            seen: HashMap::new(),
            handled: 0,
        }
    }

    fn spawn(
        system: &System,
        world: &Arc<World>,
        place: usize,
        seed: u64,
    ) -> Option<ActorRef<Msg>> {
        let options = SpawnOptions::new()
            .mailbox(world.mailboxes[place])
            .restart(RestartPolicy::Temporary);
        let world = world.clone();
        system
            .spawn_with(options, move || Self::new(&world, place, seed))
            .ok()
    }

    fn take(&mut self, parcel: &Parcel) {
        let last = self.seen.insert(parcel.sender, parcel.number);
        assert!(last < Some(parcel.number), "{parcel:?} came after {last:?}");
        parcel.met(Fate::Handled);
    }

    /// A node further up, if there is one.
    fn upwards(&mut self) -> Option<ActorRef<Msg>> {
        let places = self.place + 1..self.world.nodes.len();
        (!places.is_empty()).then(|| self.world.node(self.origin.random.usize(places)))
    }

    async fn send_on(&mut self, deed: Deed, cx: &mut Context<'_, Self>) {
        let world = self.world.clone();
        match deed {
            Deed::Tell => {
                let to = world.node(self.origin.random.usize(..world.nodes.len()));
                if let Err(back) = to.tell(Msg::Take(self.origin.parcel(&world))) {
                    back.into_inner().returned();
                }
            }
            Deed::Me => {
                let me = cx.me();
                for back in [
                    me.tell(Msg::Take(self.origin.parcel(&world))),
                    Withdraw::new(me.send(Msg::Take(self.origin.parcel(&world)))).await,
                ] {
                    if let Err(back) = back {
                        back.into_inner().returned();
                    }
                }
            }
            Deed::Send => {
                let Some(to) = self.upwards() else { return };
                let parcel = self.origin.parcel(&world);
                if let Err(back) = Withdraw::new(to.send(Msg::Take(parcel))).await {
                    assert!(matches!(back, SendError::Closed(_)));
                    back.into_inner().returned();
                }
            }
            Deed::Ask => {
                let Some(to) = self.upwards() else { return };
                let parcel = self.origin.parcel(&world);
                let number = parcel.number;
                // A question that is refused is dropped in here.
                let asked = withdrawing(|| to.ask(|reply| Msg::Answer(parcel, reply)));
                if let Ok(answer) = asked.await {
                    assert_eq!(answer, number);
                }
            }
            Deed::Child => {
                let (parent, seed) = (world.clone(), self.origin.random.u64(..));
                // At the top: it waits for nobody.
                let options = SpawnOptions::new().restart(RestartPolicy::Temporary);
                let child = cx.spawn_with(options, move || {
                    Self::new(&parent, parent.nodes.len(), seed)
                });
                if let Ok(child) = child {
                    if let Err(back) = child.tell(Msg::Take(self.origin.parcel(&world))) {
                        back.into_inner().returned();
                    }
                    child.stop_gracefully();
                }
            }
            _ => {}
        }
    }
}

impl Actor for Node {
    type Msg = Msg;

    async fn handle(&mut self, msg: Msg, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        let before = self.handled;
        let (parcel, reply) = match msg {
            Msg::Take(parcel) => (parcel, None),
            Msg::Answer(parcel, reply) => (parcel, Some(reply)),
        };
        self.take(&parcel);
        let deed = match reply {
            Some(_) => Deed::Nothing,
            None => self.origin.deed(),
        };
        if !self.world.is_over() {
            self.send_on(deed, cx).await;
        }
        match deed {
            Deed::Await => foreign(&self.world.wakes).await,
            Deed::Yield => cx.yield_now().await,
            Deed::Panic => panic!("{EXPECTED}"),
            Deed::Fail => return Err(Failure::msg(EXPECTED)),
            _ => {}
        }
        if let Some(reply) = reply {
            let _ = reply.send(parcel.number);
        }
        assert_eq!(self.handled, before);
        self.handled += 1;
        Ok(())
    }
}

/// Waits until a foreign thread has said so.
async fn foreign(wakes: &Wakes) {
    let done = Arc::new(AtomicBool::new(false));
    let mut asked = false;
    poll_fn(|cx| {
        if done.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        if !asked {
            asked = true;
            if wakes.send((done.clone(), cx.waker().clone())).is_err() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
}

/// Wakes whoever asks for it; now and then too early and twice.
fn wake_others(asked: &Receiver<(Arc<AtomicBool>, Waker)>) {
    for (number, (done, waker)) in asked.iter().enumerate() {
        if number % 3 == 0 {
            waker.wake_by_ref();
        }
        done.store(true, Ordering::Release);
        waker.wake_by_ref();
        if number % 5 == 0 {
            waker.wake();
        }
    }
}

/// Sends in every way there is, and stops and kills nodes in between.
fn send_from_outside(system: &System, world: &Arc<World>, seed: u64) {
    let mut origin = Origin::new(world, seed);
    while !world.is_over() {
        let place = origin.random.usize(..world.nodes.len());
        let to = world.node(place);
        match origin.random.usize(..1000) {
            0..400 => {
                if let Err(back) = to.tell(Msg::Take(origin.parcel(world))) {
                    back.into_inner().returned();
                }
            }
            400..700 => {
                let parcels: Vec<_> = (0..8).map(|_| Msg::Take(origin.parcel(world))).collect();
                if let Err(back) = to.tell_all(parcels) {
                    back.into_inner().into_iter().for_each(Msg::returned);
                }
            }
            700..900 => {
                let sending = to.send(Msg::Take(origin.parcel(world)));
                if let Err(back) = block_on(sending) {
                    back.into_inner().returned();
                }
            }
            900..950 => {
                let mut sending = Withdraw::new(to.send(Msg::Take(origin.parcel(world))));
                // Looked at once, then dropped.
                let looked = block_on(poll_fn(|cx| {
                    Poll::Ready(std::pin::Pin::new(&mut sending).poll(cx))
                }));
                if let Poll::Ready(Err(back)) = looked {
                    back.into_inner().returned();
                }
            }
            950..990 => {
                let recipient = to.recipient::<Msg>();
                if let Err(back) = recipient.try_send(Msg::Take(origin.parcel(world))) {
                    back.into_inner().returned();
                }
            }
            990..993 => to.stop(),
            993..996 => to.kill(),
            _ => to.stop_gracefully(),
        }
        if !to.is_alive()
            && let Some(new) = Node::spawn(system, world, place, seed)
        {
            *world.nodes[place].write().unwrap() = new;
        }
    }
}

/// The panics of nodes are not told of: there are thousands.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload_as_str() != Some(EXPECTED) {
                tell(panic);
            }
        }));
    });
}

const EXPECTED: &str = "in the middle of it";

/// How a round ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Graceful,
    Force,
    Drop,
}

/// A system of a random shape, which notes its dead letters.
fn some_system(random: &mut fastrand::Rng) -> ActorSystem {
    ActorSystem::builder("stress")
        .workers(random.usize(1..=4))
        .throughput([1, 3, 64, 1024][random.usize(..4)])
        .on_dead_letter(|letter| match letter.message.downcast_ref::<Msg>() {
            Some(Msg::Take(parcel) | Msg::Answer(parcel, _)) => parcel.met(Fate::Dead),
            None => panic!("a dead letter of another type: {letter:?}"),
        })
        .build()
        .unwrap()
}

fn some_world(
    system: &System,
    random: &mut fastrand::Rng,
    wakes: Wakes,
    seed: u64,
    limit: usize,
) -> Arc<World> {
    let nodes = random.usize(2..=12);
    let mailboxes: Vec<_> = (0..nodes)
        .map(|_| match random.usize(..2) {
            0 => MailboxOptions::unbounded(),
            _ => MailboxOptions::bounded([1, 2, 7, 100][random.usize(..4)]),
        })
        .collect();
    let slot = Arc::new(OnceLock::<Arc<World>>::new());
    let spawned = (0..nodes).map(|place| {
        let slot = slot.clone();
        let options = SpawnOptions::new()
            .mailbox(mailboxes[place])
            .restart(RestartPolicy::Temporary);
        let factory = move || Node::new(slot.wait(), place, seed);
        RwLock::new(system.spawn_with(options, factory).unwrap())
    });
    let world = Arc::new(World {
        ledger: Ledger::default(),
        limit,
        nodes: spawned.collect(),
        next_sender: AtomicU32::new(0),
        wakes,
        mailboxes: mailboxes.clone(),
    });
    assert!(slot.set(world.clone()).is_ok());
    world
}

fn end(system: ActorSystem, end: End) {
    let plain = System::clone(&system);
    match end {
        End::Graceful => {
            block_on(system.graceful_shutdown());
            system.join();
        }
        End::Force => {
            system.force_stop();
            system.join();
        }
        End::Drop => drop(system),
    }
    block_on(plain.terminated());
}

/// One system from its beginning to its end. How many messages it handled.
fn round(seed: u64, messages: usize) -> usize {
    let mut random = fastrand::Rng::with_seed(seed);
    let system = some_system(&mut random);
    let plain = System::clone(&system);
    let (wakes, asked) = channel();
    let world = some_world(&system, &mut random, wakes, seed, messages);
    let ledger = world.ledger.clone();
    let waker = thread::spawn(move || wake_others(&asked));
    let senders: Vec<_> = (0..3)
        .map(|_| {
            let (system, world) = (plain.clone(), world.clone());
            thread::spawn(move || send_from_outside(&system, &world, seed))
        })
        .collect();
    let join = |senders: Vec<thread::JoinHandle<()>>| {
        for sender in senders {
            sender.join().unwrap();
        }
    };
    let how = [End::Graceful, End::Force, End::Drop][random.usize(..3)];
    if random.bool() {
        // In the middle of it.
        while ledger.sent() < messages / 2 {
            thread::yield_now();
        }
        end(system, how);
        join(senders);
    } else {
        join(senders);
        end(system, how);
    }
    let metrics = plain.metrics();
    assert_eq!(metrics.live_actors, 0);
    assert_eq!(metrics.dead_letters, ledger.count(Fate::Dead));
    drop((plain, world));
    // Ends when the last actor is gone.
    waker.join().unwrap();
    ledger.close();
    ledger.count(Fate::Handled)
}

fn variable(name: &str, default: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap(),
        Err(_) => default,
    }
}

#[test]
fn row01_row09_row13_row18_row20_every_message_has_one_fate_and_keeps_its_order() {
    hush();
    let total = variable("HIKYAKU_STRESS", 1_000_000);
    let first = variable("HIKYAKU_SEED", 0) as u64;
    let rounds = (total / 20_000).clamp(1, 200);
    let mut handled = 0;
    for seed in first..first + rounds as u64 {
        match catch_unwind(AssertUnwindSafe(|| round(seed, total / rounds))) {
            Ok(messages) => handled += messages,
            Err(panic) => {
                told(seed);
                resume_unwind(panic);
            }
        }
    }
    assert!(handled > total / 50, "{handled} of {total} handled");
}

#[allow(clippy::print_stderr, reason = "shown when the test fails")]
fn told(seed: u64) {
    eprintln!("the round of HIKYAKU_SEED={seed} failed");
}
