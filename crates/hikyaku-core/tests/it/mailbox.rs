//! What becomes of messages.

use crate::puppet::{Count, Counted, Do, Gate, Hook, Log, Puppet};
use hikyaku_core::{
    Actor, ActorRef, AskError, Context, DeadLetterReason, Failure, MailboxOptions, SendError,
    SpawnError, SpawnOptions, StopCause, Wrap,
};
use hikyaku_testkit::{Sim, Task, check_seeds};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as Poller, Poll, Waker};

/// Under miri only the first of these.
const MAILBOXES: &[MailboxOptions] = few(&[
    MailboxOptions::unbounded(),
    MailboxOptions::bounded(2),
    MailboxOptions::bounded(1),
    MailboxOptions::bounded(5),
    MailboxOptions::bounded(300),
]);

/// All cases, or under miri, which is slow, two of them.
const fn few<T>(all: &[T]) -> &[T] {
    if cfg!(miri) { all.split_at(2).0 } else { all }
}

// === a storm of senders ===

/// Sender and number.
type Label = (usize, u64);

struct Parcel {
    label: Label,
    _counted: Counted,
}

/// Notes what it gets, and awaits now and then.
struct Sink {
    got: Arc<Mutex<Vec<Label>>>,
}

impl Actor for Sink {
    type Msg = Parcel;

    async fn handle(&mut self, parcel: Parcel, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.got.lock().unwrap().push(parcel.label);
        if parcel.label.1 % 7 == 3 {
            cx.yield_now().await;
        }
        Ok(())
    }
}

/// Sends so many parcels in every way there is, and returns those it got back.
#[derive(Clone)]
struct Courier {
    to: ActorRef<Parcel>,
    sender: usize,
    parcels: u64,
    count: Count,
}

impl Courier {
    async fn deliver(self) -> Vec<Label> {
        let recipient = self.to.recipient::<Parcel>();
        let mut returned = Vec::new();
        let mut number = 0;
        while number < self.parcels {
            let parcel = |number| Parcel {
                label: (self.sender, number),
                _counted: self.count.one(),
            };
            let left = match (number as usize + self.sender) % 5 {
                0 => self
                    .to
                    .tell(parcel(number))
                    .map_err(|error| vec![error.into_inner()]),
                1 => self
                    .to
                    .try_send(parcel(number))
                    .map_err(|error| vec![error.into_inner()]),
                2 => recipient
                    .tell(parcel(number))
                    .map_err(|error| vec![error.into_inner()]),
                3 => {
                    let all = (number..number + 3).map(parcel);
                    number += 2;
                    self.to.tell_all(all).map_err(SendError::into_inner)
                }
                _ => Err(vec![parcel(number)]),
            };
            number += 1;
            for parcel in left.err().unwrap_or_default() {
                if let Err(refused) = self.to.send(parcel).await {
                    assert!(matches!(refused, SendError::Closed(_)));
                    returned.push(refused.into_inner().label);
                }
            }
        }
        returned
    }
}

/// A courier that is an actor.
struct CourierActor(Option<Courier>, Arc<Mutex<Vec<Label>>>);

impl Actor for CourierActor {
    type Msg = ();

    async fn handle(&mut self, (): (), cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        if let Some(courier) = self.0.take() {
            let returned = courier.deliver().await;
            self.1.lock().unwrap().extend(returned);
        }
        cx.stop();
        Ok(())
    }
}

struct Storm {
    sink: ActorRef<Parcel>,
    count: Count,
    got: Arc<Mutex<Vec<Label>>>,
    dead: Arc<Mutex<Vec<Label>>>,
    tasks: Vec<Task<Vec<Label>>>,
    returned: Arc<Mutex<Vec<Label>>>,
    sent: Vec<Label>,
}

impl Storm {
    /// Half of the senders are tasks, half are actors.
    fn new(seed: u64, mailbox: MailboxOptions, parcels: u64) -> (Sim, Self) {
        let dead = Arc::new(Mutex::new(Vec::new()));
        let mut sim = {
            let dead = dead.clone();
            Sim::builder(seed)
                .on_dead_letter(move |letter| {
                    assert_eq!(letter.reason, DeadLetterReason::Stopped);
                    assert!(letter.type_name.ends_with("Parcel"));
                    let parcel = letter.message.downcast_ref::<Parcel>().unwrap();
                    dead.lock().unwrap().push(parcel.label);
                })
                .build()
        };
        let got = Arc::new(Mutex::new(Vec::new()));
        let sink = {
            let got = got.clone();
            let options = SpawnOptions::new().mailbox(mailbox);
            sim.spawn_with(options, move || Sink { got: got.clone() })
                .unwrap()
        };
        let returned = Arc::new(Mutex::new(Vec::new()));
        let count = Count::default();
        let mut tasks = Vec::new();
        let mut sent = Vec::new();
        for sender in 0..4 {
            let courier = Courier {
                to: sink.clone(),
                sender,
                parcels,
                count: count.clone(),
            };
            // The last step of a courier may be one of three.
            sent.push((sender, parcels));
            if sender % 2 == 0 {
                tasks.push(sim.spawn_task(courier.deliver()));
            } else {
                let (mut courier, returned) = (Some(courier), returned.clone());
                let actor = sim
                    .spawn(move || CourierActor(courier.take(), returned.clone()))
                    .unwrap();
                actor.tell(()).unwrap();
            }
        }
        let storm = Self {
            sink,
            count,
            got,
            dead,
            tasks,
            returned,
            sent,
        };
        (sim, storm)
    }

    /// Runs to the end and checks that each parcel had one fate, and that order was kept.
    fn settle(self, sim: &mut Sim, what: &str) -> (usize, usize, usize) {
        sim.run_until_idle();
        let mut returned = std::mem::take(&mut *self.returned.lock().unwrap());
        for task in &self.tasks {
            returned.extend(task.take().expect("a sender is stuck"));
        }
        let got = std::mem::take(&mut *self.got.lock().unwrap());
        let dead = std::mem::take(&mut *self.dead.lock().unwrap());
        assert_eq!(self.count.alive(), 0, "{what}");
        assert_eq!(sim.metrics().dead_letters, dead.len(), "{what}");
        for fate in [&got, &dead] {
            let mut last = [None; 4];
            for &(sender, number) in fate {
                assert!(
                    last[sender] < Some(number),
                    "{what}: {number} of {sender} came late"
                );
                last[sender] = Some(number);
            }
        }
        // What was handled went in before what died.
        for &(sender, number) in &dead {
            assert!(
                got.iter().all(|&(other, n)| other != sender || n < number),
                "{what}"
            );
        }
        let sums = (got.len(), returned.len(), dead.len());
        let mut all: Vec<_> = got.into_iter().chain(returned).chain(dead).collect();
        all.sort_unstable();
        for (sender, parcels) in self.sent {
            let numbers: Vec<_> = all
                .iter()
                .filter(|label| label.0 == sender)
                .map(|label| label.1)
                .collect();
            let wanted: Vec<_> = (0..numbers.len() as u64).collect();
            assert!(
                numbers == wanted && numbers.len() as u64 >= parcels,
                "{what}: {sender} {numbers:?}"
            );
        }
        sums
    }
}

#[test]
fn row01_each_senders_messages_arrive_in_order_none_lost_none_doubled() {
    check_seeds(60, |sim| {
        for &mailbox in MAILBOXES {
            let (mut sim, storm) = Storm::new(sim.seed(), mailbox, 30);
            let what = format!("{mailbox:?}");
            let (_, returned, dead) = storm.settle(&mut sim, &what);
            assert_eq!((returned, dead), (0, 0));
        }
    });
}

#[test]
fn row09_every_message_at_a_close_has_one_fate() {
    type End = fn(&Sim, &ActorRef<Parcel>);
    let ends: [(&str, End); 5] = [
        ("stop", |_, sink| sink.stop()),
        ("kill", |_, sink| sink.kill()),
        ("graceful", |_, sink| sink.stop_gracefully()),
        ("shutdown", |sim, _| drop(sim.graceful_shutdown())),
        ("force", |sim, _| sim.force_stop()),
    ];
    check_seeds(100, |sim| {
        for (what, end) in ends {
            for &mailbox in MAILBOXES {
                let (mut sim, storm) = Storm::new(sim.seed(), mailbox, 12);
                // Senders that are killed take what they carry along, so only tasks here.
                let steps = sim.below(60);
                sim.run_steps(steps);
                if what == "force" || what == "shutdown" {
                    sim.run_until(|| storm.returned_or_done());
                }
                end(&sim, &storm.sink);
                let (_, _, dead) = storm.settle(&mut sim, &format!("{what} {mailbox:?}"));
                assert!(
                    dead == 0 || !matches!(what, "graceful" | "shutdown"),
                    "{what}: {dead} dead"
                );
            }
        }
    });
}

impl Storm {
    /// Have the senders that are actors done their part?
    fn returned_or_done(&self) -> bool {
        let got = self.got.lock().unwrap();
        [1, 3].iter().all(|&sender| {
            let parcels = self.sent[sender].1;
            got.iter()
                .any(|&(other, number)| other == sender && number + 1 >= parcels)
        })
    }
}

// === the system lane ===

/// Those who wait for the end are told in the order they came, whatever is in the user lane.
#[test]
fn row02_system_messages_keep_their_own_order() {
    check_seeds(200, |sim| {
        for &mailbox in MAILBOXES {
            let (log, told, gate) = (Log::default(), Log::default(), Gate::default());
            let options = SpawnOptions::new().mailbox(mailbox);
            let actor = {
                let (log, hook) = (log.clone(), Hook::Wait(gate.clone()));
                sim.spawn_with(options, move || Puppet::new("", &log).started(&hook))
                    .unwrap()
            };
            let mut starts = Vec::new();
            let mut stops = Vec::new();
            for n in 0..8 {
                let mut started = Box::pin(actor.started());
                let mut stopped = Box::pin(actor.stopped());
                let waker = told.waker(format!("+{n}"));
                assert!(
                    started
                        .as_mut()
                        .poll(&mut Poller::from_waker(&waker))
                        .is_pending()
                );
                let waker = told.waker(format!("-{n}"));
                assert!(
                    stopped
                        .as_mut()
                        .poll(&mut Poller::from_waker(&waker))
                        .is_pending()
                );
                starts.push(started);
                stops.push(stopped);
                // Never refused, though the user lane may be.
                let _ = actor.tell(Do::Yield(1, n));
                let steps = sim.below(4);
                sim.run_steps(steps);
            }
            gate.open();
            sim.run_until_idle();
            assert_eq!(told.line(), "+0 +1 +2 +3 +4 +5 +6 +7");
            for n in 0..sim.below(4) as u64 {
                let _ = actor.tell(Do::Yield(1, n));
            }
            actor.stop();
            sim.run_until_idle();
            assert_eq!(told.line(), "-0 -1 -2 -3 -4 -5 -6 -7");
            drop(starts);
        }
    });
}

/// Obituaries of children and watches pass a full user lane and a handler that awaits.
#[test]
fn row02_both_lanes_stay_whole_under_stress() {
    check_seeds(150, |sim| {
        for &mailbox in MAILBOXES {
            let log = Log::default();
            let options = SpawnOptions::new().mailbox(mailbox);
            let parent = sim
                .spawn_with(options, Puppet::factory("", &Log::default()))
                .unwrap();
            let children = Arc::new(Mutex::new(Vec::new()));
            for _ in 0..6 {
                let children = children.clone();
                let spawn = Do::call(move |cx| {
                    let child = cx.spawn(Puppet::factory("", &Log::default())).unwrap();
                    children.lock().unwrap().push(child);
                });
                let parent = parent.clone();
                sim.spawn_task(async move { assert!(parent.send(spawn).await.is_ok()) });
            }
            sim.run_until_idle();
            let children = std::mem::take(&mut *children.lock().unwrap());
            let (gate, parent2) = (Gate::default(), parent.clone());
            let blocked = gate.clone();
            sim.spawn_task(
                async move { assert!(parent2.send(Do::Pass(0, blocked)).await.is_ok()) },
            );
            let tasks: Vec<_> = children
                .into_iter()
                .enumerate()
                .map(|(n, child)| {
                    let (parent, log) = (parent.clone(), log.clone());
                    sim.spawn_task(async move {
                        child.stop();
                        child.stopped().await;
                        assert!(parent.send(Do::Note(n as u64)).await.is_ok());
                        log.push("done");
                    })
                })
                .collect();
            // The children are buried while the parent's handler waits.
            let gate_and = sim.system().clone();
            sim.run_until_idle();
            assert_eq!(gate_and.metrics().live_actors, 1);
            gate.open();
            sim.run_until_idle();
            assert!(tasks.iter().all(Task::is_done));
            let left = sim.block_on(parent.ask(|reply| {
                Do::call(move |cx| {
                    let _ = reply.send(cx.children() as u64);
                })
            }));
            assert_eq!(left, Ok(0));
            parent.stop();
            sim.run_until_idle();
        }
    });
}

// === bounds ===

/// An actor in whose mailbox there is exactly the room of `capacity`: its handler waits at the gate.
fn busy(sim: &mut Sim, capacity: usize, log: &Log) -> (ActorRef<Do>, Gate) {
    let gate = Gate::default();
    let options = SpawnOptions::new().mailbox(MailboxOptions::bounded(capacity));
    let actor = sim.spawn_with(options, Puppet::factory("", log)).unwrap();
    assert!(actor.tell(Do::Pass(0, gate.clone())).is_ok());
    sim.run_until_idle();
    assert_eq!(log.line(), "+ <0");
    (actor, gate)
}

/// The message beyond the bound, as each way to send treats it.
#[test]
fn row03_a_message_beyond_the_bound_is_refused_with_itself_in_hand() {
    type Way = fn(&ActorRef<Do>, Do) -> Result<(), SendError<Do>>;
    let ways: [(&str, Way); 5] = [
        ("tell", |a, m| a.tell(m)),
        ("try_send", |a, m| a.try_send(m)),
        ("recipient tell", |a, m| a.recipient::<Do>().tell(m)),
        ("recipient try_send", |a, m| a.recipient::<Do>().try_send(m)),
        ("tell_all", |a, m| {
            a.tell_all([m]).map_err(|error| match error {
                SendError::Full(mut all) => SendError::Full(all.remove(0)),
                SendError::Closed(mut all) => SendError::Closed(all.remove(0)),
            })
        }),
    ];
    check_seeds(40, |sim| {
        for &capacity in few(&[1, 3, 2, 64, 65]) {
            for (what, way) in ways {
                let before = sim.metrics().dead_letters;
                let (log, count) = (Log::default(), Count::default());
                let (actor, gate) = busy(sim, capacity, &log);
                for n in 1..=capacity as u64 {
                    assert!(
                        way(&actor, Do::Carry(n, count.one())).is_ok(),
                        "{what}: {n} of {capacity}"
                    );
                }
                for n in [900, 901] {
                    match way(&actor, Do::Carry(n, count.one())) {
                        Err(SendError::Full(message)) => assert_eq!(message.number(), Some(n)),
                        other => panic!("{what}: {other:?}"),
                    }
                }
                assert_eq!(
                    sim.block_on(actor.ask(|reply| Do::Answer(reply, 0))),
                    Err(AskError::Full)
                );
                assert_eq!(count.alive(), capacity as isize);
                gate.open();
                sim.run_until_idle();
                // Those queued before are all there, in order; and there is room again.
                let wanted: Vec<_> = (1..=capacity).map(|n| n.to_string()).collect();
                assert_eq!(log.line(), format!("0> {}", wanted.join(" ")), "{what}");
                assert!(way(&actor, Do::Note(5)).is_ok());
                sim.run_until_idle();
                assert_eq!(log.line(), "5");
                assert_eq!(sim.metrics().dead_letters, before + 1, "the question");
                actor.kill();
            }
        }
    });
}

#[test]
fn row03_tell_all_takes_what_there_is_room_for_and_returns_the_rest_in_order() {
    check_seeds(60, |sim| {
        for &(capacity, sent) in few(&[(1, 4), (3, 7), (1, 1), (3, 2), (3, 3)]) {
            let (log, count) = (Log::default(), Count::default());
            let (actor, gate) = busy(sim, capacity, &log);
            let result = actor.tell_all((1..=sent).map(|n| Do::Carry(n, count.one())));
            let taken = (capacity as u64).min(sent);
            match result {
                Ok(()) => assert_eq!(taken, sent),
                Err(SendError::Full(rest)) => {
                    let rest: Vec<_> = rest.iter().filter_map(Do::number).collect();
                    assert_eq!(rest, (taken + 1..=sent).collect::<Vec<_>>());
                }
                Err(other) => panic!("{other:?}"),
            }
            gate.open();
            sim.run_until_idle();
            let wanted: Vec<_> = (1..=taken).map(|n| format!(" {n}")).collect();
            assert_eq!(log.line(), format!("0>{}", wanted.concat()));
            assert_eq!(count.alive(), 0);
        }
    });
}

#[test]
fn row03_a_sender_that_waits_gets_in_and_nobody_overtakes_it() {
    check_seeds(150, |sim| {
        for capacity in [1, 2, 5] {
            let log = Log::default();
            let (actor, gate) = busy(sim, capacity, &log);
            for n in 1..=capacity as u64 {
                assert!(actor.tell(Do::Note(n)).is_ok());
            }
            let waiting = {
                let actor = actor.clone();
                sim.spawn_task(async move { actor.send(Do::Note(50)).await.is_ok() })
            };
            sim.run_until_idle();
            assert!(!waiting.is_done());
            gate.open();
            // While it waits, nobody else is let in.
            while !waiting.is_done() {
                if let Err(refused) = actor.try_send(Do::Note(60)) {
                    assert!(matches!(refused, SendError::Full(Do::Note(60))));
                } else {
                    break;
                }
                sim.run_steps(1);
            }
            sim.run_until_idle();
            assert_eq!(waiting.take(), Some(true));
            let line = log.line();
            let first_60 = line.find(" 60").unwrap_or(line.len());
            assert!(line.find(" 50").unwrap() < first_60, "{line}");
        }
    });
}

#[test]
fn row05_waiting_senders_are_served_in_order_and_a_cancelled_one_takes_its_message_back() {
    check_seeds(200, |sim| {
        for capacity in [1, 3] {
            let (log, count, queue) = (Log::default(), Count::default(), Log::default());
            let (actor, gate) = busy(sim, capacity, &log);
            for _ in 0..capacity {
                assert!(actor.tell(Do::Note(0)).is_ok());
            }
            let mut tasks = Vec::new();
            for n in 1..=8 {
                let (actor, queue, counted) = (actor.clone(), queue.clone(), count.one());
                tasks.push(sim.spawn_task(async move {
                    queue.push(n.to_string());
                    actor.send(Do::Carry(n, counted)).await.is_ok()
                }));
            }
            sim.run_until_idle();
            let mut order = queue.take();
            assert_eq!(order.len(), 8);
            for _ in 0..2 {
                let place = sim.below(order.len());
                let number: usize = order.remove(place).parse().unwrap();
                tasks[number - 1].cancel();
            }
            assert_eq!(count.alive(), 6);
            gate.open();
            sim.run_until_idle();
            let got = log.take();
            assert_eq!(got[1 + capacity..], order, "{got:?}");
            assert_eq!(count.alive(), 0);
        }
    });
}

/// The same while it runs: who waits, and who leaves, changes at every step.
#[test]
fn row05_order_holds_while_senders_come_and_go() {
    check_seeds(300, |sim| {
        let (log, queue) = (Log::default(), Log::default());
        let options = SpawnOptions::new().mailbox(MailboxOptions::bounded(2));
        let actor = sim.spawn_with(options, Puppet::factory("", &log)).unwrap();
        let mut tasks = Vec::new();
        for n in 0..30 {
            let (actor, queue) = (actor.clone(), queue.clone());
            tasks.push(sim.spawn_task(async move {
                queue.push(n.to_string());
                actor.send(Do::Yield(n as usize % 2, n)).await.is_ok()
            }));
            let steps = sim.below(4);
            sim.run_steps(steps);
            if sim.below(3) == 0 {
                let victim = sim.below(tasks.len());
                tasks[victim].cancel();
            }
        }
        sim.run_until_idle();
        let queue = queue.take();
        let got: Vec<_> = log.take().into_iter().filter(|n| n != "+").collect();
        let places = got
            .iter()
            .map(|n| queue.iter().position(|q| q == n).unwrap());
        assert!(places.is_sorted(), "{got:?} of {queue:?}");
        assert!(!got.is_empty());
        // Those that were not cancelled got in.
        for (n, task) in tasks.iter().enumerate() {
            if task.take() == Some(true) {
                assert!(got.contains(&n.to_string()));
            }
        }
    });
}

#[test]
fn row05_when_the_actor_stops_each_waiting_sender_gets_its_message_back() {
    type End = fn(&Sim, &ActorRef<Do>);
    let ends: [(&str, End, &str); 6] = [
        ("stop", |_, a| a.stop(), "0>"),
        ("kill", |_, a| a.kill(), ""),
        ("graceful", |_, a| a.stop_gracefully(), "0> 1"),
        ("shutdown", |sim, _| drop(sim.graceful_shutdown()), "0> 1"),
        ("force", |sim, _| sim.force_stop(), ""),
        ("stop after the gate", |_, a| a.stop(), "0>"),
    ];
    check_seeds(100, |sim| {
        for (what, end, handled) in ends {
            let mut sim = Sim::new(sim.seed());
            let (log, count) = (Log::default(), Count::default());
            let (actor, gate) = busy(&mut sim, 1, &log);
            assert!(actor.tell(Do::Note(1)).is_ok());
            let tasks: Vec<_> = (10..14)
                .map(|n| {
                    let (actor, counted) = (actor.clone(), count.one());
                    sim.spawn_task(async move { actor.send(Do::Carry(n, counted)).await })
                })
                .collect();
            let steps = sim.below(8);
            sim.run_steps(steps);
            end(&sim, &actor);
            sim.run_until_idle();
            gate.open();
            sim.run_until_idle();
            for (n, task) in (10..).zip(tasks) {
                match task.take() {
                    Some(Err(SendError::Closed(message))) => assert_eq!(message.number(), Some(n)),
                    other => panic!("{what}: {other:?}"),
                }
            }
            let line = log.line();
            assert_eq!(line.trim_end_matches(" -"), handled, "{what}");
            assert_eq!(count.alive(), 0, "{what}");
        }
    });
}

/// Dropped in each of its states, `send` leaves nothing and loses nothing the mailbox has.
#[test]
fn row05_send_can_be_dropped_in_every_state() {
    check_seeds(30, |sim| {
        let (log, count) = (Log::default(), Count::default());
        let (actor, gate) = busy(sim, 1, &log);
        let mut cx = Poller::from_waker(Waker::noop());
        // Never polled.
        drop(actor.send(Do::Carry(1, count.one())));
        assert_eq!(count.alive(), 0);
        // Taken at once.
        {
            let mut sending = pin!(actor.send(Do::Carry(2, count.one())));
            assert!(matches!(
                sending.as_mut().poll(&mut cx),
                Poll::Ready(Ok(()))
            ));
        }
        assert_eq!(count.alive(), 1);
        // Waiting, first, in the middle and last.
        for leaves in [[0, 1, 2], [1, 0, 2], [2, 1, 0]] {
            let mut waiting: Vec<_> = (3..6)
                .map(|n| Some(Box::pin(actor.send(Do::Carry(n, count.one())))))
                .collect();
            for sending in waiting.iter_mut().flatten() {
                assert!(sending.as_mut().poll(&mut cx).is_pending());
                assert!(sending.as_mut().poll(&mut cx).is_pending());
            }
            assert_eq!(count.alive(), 4);
            for (left, place) in leaves.into_iter().enumerate() {
                waiting[place] = None;
                assert_eq!(count.alive(), 3 - left as isize);
            }
        }
        // Taken while it waited, and never polled again.
        {
            let mut sending = pin!(actor.send(Do::Carry(6, count.one())));
            assert!(sending.as_mut().poll(&mut cx).is_pending());
            gate.open();
            sim.run_until_idle();
        }
        assert_eq!(count.alive(), 0);
        assert_eq!(log.line(), "0> 2 6");
        // Refused while it waited, and never polled again.
        let (actor, _gate) = busy(sim, 1, &log);
        assert!(actor.tell(Do::Note(1)).is_ok());
        {
            let mut sending = pin!(actor.send(Do::Carry(7, count.one())));
            assert!(sending.as_mut().poll(&mut cx).is_pending());
            actor.kill();
            sim.run_until_idle();
            assert_eq!(count.alive(), 1);
        }
        assert_eq!(count.alive(), 0);
        // Refused at once.
        {
            let mut sending = pin!(actor.send(Do::Carry(8, count.one())));
            assert!(matches!(
                sending.as_mut().poll(&mut cx),
                Poll::Ready(Err(SendError::Closed(_)))
            ));
        }
        assert_eq!(count.alive(), 0);
        // A sender that left is forgotten: room goes to the next one.
        let (actor, gate) = busy(sim, 1, &log);
        assert!(actor.tell(Do::Note(1)).is_ok());
        drop({
            let mut sending = Box::pin(actor.send(Do::Note(2)));
            assert!(sending.as_mut().poll(&mut cx).is_pending());
            sending
        });
        gate.open();
        sim.run_until_idle();
        assert!(actor.tell(Do::Note(3)).is_ok());
        sim.run_until_idle();
        assert_eq!(log.line(), "0> 1 3");
    });
}

// === options ===

#[test]
fn row10_options_that_cannot_be_are_refused_at_spawn_and_leave_nothing() {
    check_seeds(5, |sim| {
        for (capacity, why) in [
            (0, "a bounded mailbox needs room for one message"),
            (
                usize::MAX,
                "the capacity of a bounded mailbox is above the platform's limit",
            ),
        ] {
            let (log, count) = (Log::default(), Count::default());
            let options = SpawnOptions::new()
                .name("n")
                .mailbox(MailboxOptions::bounded(capacity));
            let mut counted = Some(count.one());
            let spawned = {
                let log = log.clone();
                sim.spawn_with(options, move || {
                    Puppet::new("", &log).counted(counted.take().unwrap())
                })
            };
            let Err(SpawnError::InvalidOptions(invalid)) = spawned else {
                panic!("{spawned:?}")
            };
            assert_eq!(invalid.to_string(), why);
            assert_eq!(
                SpawnError::InvalidOptions(invalid).to_string(),
                format!("invalid options: {why}")
            );
            assert_eq!((count.alive(), sim.metrics().live_actors), (0, 0));
            // The name is still free.
            let named = sim
                .spawn_with(SpawnOptions::new().name("n"), Puppet::factory("", &log))
                .unwrap();
            named.stop();
            sim.run_until_idle();
            assert_eq!(sim.metrics().live_actors, 0);
        }
    });
}

// === sending to itself ===

/// Without `std` the program cannot tell which of several threads runs a handler.
#[cfg(feature = "std")]
#[test]
fn row11_an_actor_whose_mailbox_is_full_is_told_when_it_sends_to_itself() {
    struct Loop(Log);
    impl Actor for Loop {
        type Msg = Do;
        async fn handle(&mut self, msg: Do, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
            let number = msg.number().unwrap();
            if number != 0 {
                self.0.push(number.to_string());
                return Ok(());
            }
            let me = cx.me();
            let mut n = 1;
            while me.tell(Do::Note(n)).is_ok() {
                n += 1;
            }
            self.0.push(format!("full at {n}"));
            for refused in [
                me.tell(Do::Note(80)),
                me.try_send(Do::Note(80)),
                me.send(Do::Note(80)).await,
                me.recipient::<Do>().tell(Do::Note(80)),
            ] {
                assert!(matches!(refused, Err(SendError::Full(Do::Note(80)))));
            }
            // Also after an await, when the worker has done other things and room has come back.
            cx.yield_now().await;
            while me.tell(Do::Note(n)).is_ok() {
                n += 1;
            }
            assert!(matches!(
                me.send(Do::Note(80)).await,
                Err(SendError::Full(Do::Note(80)))
            ));
            assert_eq!(
                me.ask(|reply| Do::Answer(reply, 80)).await,
                Err(AskError::Full)
            );
            Ok(())
        }
    }
    check_seeds(100, |sim| {
        for capacity in [1, 2, 9] {
            let log = Log::default();
            let options = SpawnOptions::new().mailbox(MailboxOptions::bounded(capacity));
            let actor = {
                let log = log.clone();
                sim.spawn_with(options, move || Loop(log.clone())).unwrap()
            };
            assert!(actor.tell(Do::Note(0)).is_ok());
            // Others wait meanwhile, and get in afterwards.
            let outside = actor.clone();
            let waiting = sim.spawn_task(async move { outside.send(Do::Note(70)).await.is_ok() });
            sim.run_until_idle();
            assert_eq!(waiting.take(), Some(true));
            let line = log.line();
            assert!(
                line.contains("full at ") && line.contains("70") && !line.contains("80"),
                "{line}"
            );
            assert!(actor.is_alive());
            actor.kill();
            assert!(matches!(sim.block_on(actor.stopped()), StopCause::Killed));
        }
    });
}

// === recipients ===

#[derive(Debug, PartialEq)]
enum Order {
    Tea(u32),
    Cake(String),
}

impl Wrap<u32> for Order {
    fn wrap(n: u32) -> Self {
        Self::Tea(n)
    }

    fn unwrap(self) -> u32 {
        match self {
            Self::Tea(n) => n,
            Self::Cake(_) => unreachable!("never wrapped"),
        }
    }
}

impl Wrap<String> for Order {
    fn wrap(name: String) -> Self {
        Self::Cake(name)
    }

    fn unwrap(self) -> String {
        match self {
            Self::Cake(name) => name,
            Self::Tea(_) => unreachable!("never wrapped"),
        }
    }
}

#[test]
fn a_recipient_wraps_on_the_way_and_hands_back_the_original() {
    struct Shop(Log, Gate);
    impl Actor for Shop {
        type Msg = Order;
        async fn handle(&mut self, order: Order, _: &mut Context<'_, Self>) -> Result<(), Failure> {
            self.0.push(format!("{order:?}"));
            self.1.pass().await;
            Ok(())
        }
    }
    check_seeds(50, |sim| {
        let (log, gate) = (Log::default(), Gate::default());
        let options = SpawnOptions::new().mailbox(MailboxOptions::bounded(1));
        let shop = {
            let (log, gate) = (log.clone(), gate.clone());
            sim.spawn_with(options, move || Shop(log.clone(), gate.clone()))
                .unwrap()
        };
        let teas = shop.recipient::<u32>();
        let cakes = shop.recipient::<String>();
        assert!(teas == shop.recipient::<u32>() && teas.index() == cakes.index());
        teas.tell(1).unwrap();
        sim.run_until_idle();
        cakes.tell("plum".into()).unwrap();
        assert_eq!(teas.clone().tell(3), Err(SendError::Full(3)));
        let cake = String::from("cheese");
        let address = cake.as_ptr();
        let Err(SendError::Full(cake)) = cakes.try_send(cake) else {
            panic!()
        };
        assert_eq!(cake.as_ptr(), address);
        gate.open();
        sim.run_until_idle();
        shop.stop();
        assert_eq!(teas.tell(4), Err(SendError::Closed(4)));
        let Err(SendError::Closed(cake)) = cakes.tell(cake) else {
            panic!()
        };
        assert_eq!(cake.as_ptr(), address);
        assert_eq!(log.line(), "Tea(1) Cake(\"plum\")");
    });
}

// === dead letters ===

/// Dead letters are shown once each, the very value that was sent, with its target.
#[test]
fn row09_dead_letters_are_the_values_that_were_sent() {
    check_seeds(100, |sim| {
        for &mailbox in MAILBOXES {
            let letters = Arc::new(Mutex::new(Vec::new()));
            let mut sim = {
                let letters = letters.clone();
                Sim::builder(sim.seed())
                    .on_dead_letter(move |letter| {
                        let text = letter.message.downcast_ref::<String>().unwrap();
                        letters.lock().unwrap().push((
                            letter.target,
                            text.as_ptr().addr(),
                            text.clone(),
                        ));
                    })
                    .build()
            };
            struct Wait(Gate);
            impl Actor for Wait {
                type Msg = String;
                async fn handle(
                    &mut self,
                    _: String,
                    _: &mut Context<'_, Self>,
                ) -> Result<(), Failure> {
                    self.0.pass().await;
                    Ok(())
                }
            }
            let gate = Gate::default();
            let actor = sim
                .spawn_with(SpawnOptions::new().mailbox(mailbox), move || {
                    Wait(gate.clone())
                })
                .unwrap();
            actor.tell("in hand".into()).unwrap();
            sim.run_until_idle();
            let mut wanted = Vec::new();
            for n in 0..mailbox.capacity().unwrap_or(20).min(20) {
                let text = format!("letter {n}");
                wanted.push((actor.index(), text.as_ptr().addr(), text.clone()));
                actor.tell(text).unwrap();
            }
            actor.kill();
            sim.run_until_idle();
            assert_eq!(*letters.lock().unwrap(), wanted);
            assert_eq!(sim.metrics().dead_letters, wanted.len());
            // What is refused afterwards is its sender's, and no dead letter.
            assert!(actor.tell("late".into()).is_err());
            sim.run_until_idle();
            assert_eq!(letters.lock().unwrap().len(), wanted.len());
        }
    });
}

/// The first message of an idle actor waits where the last hook's future will be.
#[test]
fn row09_the_message_of_an_actor_that_was_idle_dies_with_it_too() {
    type End = fn(&ActorRef<Do>);
    let ends: [(&str, End, bool); 3] = [
        ("stop", |a| a.stop(), false),
        ("kill", |a| a.kill(), false),
        ("graceful", |a| a.stop_gracefully(), true),
    ];
    check_seeds(30, |sim| {
        for (what, end, handled) in ends {
            for more in 0..3 {
                let (log, count) = (Log::default(), Count::default());
                let dead = sim.metrics().dead_letters;
                let actor = sim.spawn(Puppet::factory("", &log)).unwrap();
                sim.run_until_idle();
                for n in 0..=more {
                    assert!(actor.tell(Do::Carry(n, count.one())).is_ok());
                }
                end(&actor);
                sim.run_until_idle();
                let notes = log
                    .take()
                    .iter()
                    .filter(|note| note.parse::<u64>().is_ok())
                    .count();
                let wanted = if handled {
                    (1 + more as usize, 0)
                } else {
                    (0, 1 + more as usize)
                };
                assert_eq!(
                    (notes, sim.metrics().dead_letters - dead),
                    wanted,
                    "{what}, {more}"
                );
                assert_eq!(count.alive(), 0, "{what}, {more}");
            }
        }
    });
}
