//! Races of whole cells, with a real system whose worker blocks a thread of loom's when it has
//! nothing to do. Each is run on a cell that is owned by the system's only worker and on one that
//! is anybody's. What the handlers write lies in a cell of loom's: overlapping handlers, and ones
//! that do not see what the last one wrote, fail. So do a lost wake-up, and memory that is freed
//! twice or not at all.

use super::super::system::{Farewell, SystemLane, SystemNode};
use super::super::{Node, push_link};
use crate::cell::CellPtr;
use crate::sync::{Arc, Mutex, UnsafeCell};
use crate::{
    Actor, ActorRef, AskError, Context, Event, Failure, MailboxOptions, Pressure, Reply,
    ResumeCondition, SendError, SpawnOptions, StopCause, SuspendReason, System, Turn, Worker,
};
use ::loom::alloc::Track;
use ::loom::future::block_on;
use ::loom::model::Builder;
use ::loom::thread;
use core::future::{Future, poll_fn};
use core::mem::MaybeUninit;
use core::pin::pin;
use core::ptr::NonNull;
use core::task::{self, Poll, Waker};
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

/// Something a handler waits for.
#[derive(Default)]
struct Gate {
    open: bool,
    waker: Option<Waker>,
}

struct Record {
    handled: UnsafeCell<Vec<u32>>,
    /// Values of dead letters.
    dead: Mutex<Vec<u32>>,
    gate: Mutex<Gate>,
}

// SAFETY: loom checks each access.
unsafe impl Send for Record {}
// SAFETY: likewise.
unsafe impl Sync for Record {}

impl Record {
    /// *The actor*, or anyone when it rests for good.
    fn handled<R>(&self, f: impl FnOnce(&mut Vec<u32>) -> R) -> R {
        // SAFETY: loom finds two at a time.
        self.handled.with_mut(|handled| f(unsafe { &mut *handled }))
    }

    fn open(&self) {
        let waker = self.gate.with(|gate| {
            gate.open = true;
            gate.waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn wait(&self) {
        poll_fn(|cx| {
            let mut waker = Some(cx.waker().clone());
            self.gate.with(|gate| {
                if gate.open {
                    return Poll::Ready(());
                }
                core::mem::swap(&mut gate.waker, &mut waker);
                Poll::Pending
            })
        })
        .await;
    }
}

struct Probe {
    record: Arc<Record>,
    _track: Track<()>,
}

enum Msg {
    Note(Track<u32>),
    Wait(Track<u32>),
    Ask(Reply<u32>),
    /// Waits beside the actor.
    Beside(Track<u32>),
}

fn note(value: u32) -> Msg {
    Msg::Note(Track::new(value))
}

fn value(msg: &Msg) -> u32 {
    match msg {
        Msg::Note(value) | Msg::Wait(value) | Msg::Beside(value) => *value.get_ref(),
        Msg::Ask(_) => 0,
    }
}

impl Actor for Probe {
    type Msg = Msg;

    async fn handle(&mut self, msg: Msg, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        if let Msg::Beside(value) = msg {
            let record = Arc::clone(&self.record);
            let wait = async move { record.wait().await };
            return Ok(cx.pipe_to_self(wait, |()| Msg::Note(value))?);
        }
        if let Msg::Wait(_) = &msg {
            self.record.wait().await;
        }
        self.record.handled(|handled| handled.push(value(&msg)));
        if let Msg::Ask(reply) = msg {
            let _ = reply.send(7);
        }
        Ok(())
    }
}

/// A system with one actor.
struct Stage {
    system: System,
    worker: Worker,
    actor: ActorRef<Msg>,
    record: Arc<Record>,
}

impl Stage {
    fn new(owned: bool, options: SpawnOptions) -> Self {
        let record = Arc::new(Record {
            handled: UnsafeCell::new(Vec::new()),
            dead: Mutex::new(Vec::new()),
            gate: Mutex::new(Gate::default()),
        });
        let listener = Arc::clone(&record);
        let builder = System::builder("loom").on_dead_letter(move |letter| {
            let value = value(letter.message.downcast_ref().unwrap());
            listener.dead.with(|dead| dead.push(value));
        });
        let builder = if owned {
            builder
        } else {
            builder.work_stealing()
        };
        let (system, mut workers) = builder.build().unwrap();
        let factory = Arc::clone(&record);
        let actor = system
            .spawn_with(options, move || Probe {
                record: Arc::clone(&factory),
                _track: Track::new(()),
            })
            .unwrap();
        Self {
            system,
            worker: workers.pop().unwrap(),
            actor,
            record,
        }
    }

    fn started(owned: bool, options: SpawnOptions) -> Self {
        let mut this = Self::new(owned, options);
        assert!(this.rests());
        this
    }

    fn rests(&mut self) -> bool {
        matches!(self.worker.poll(100, Waker::noop()), Turn::Idle { .. })
    }

    /// Runs the worker until `done` when it is idle.
    fn serve(&mut self, done: impl Fn(&Self) -> bool) {
        block_on(poll_fn(|cx| {
            loop {
                match self.worker.poll(100, cx.waker()) {
                    Turn::Ready => {}
                    Turn::Idle { .. } if done(self) => return Poll::Ready(()),
                    Turn::Idle { .. } => return Poll::Pending,
                    Turn::Stopped => return Poll::Ready(()),
                }
            }
        }));
    }

    fn handled(&self) -> Vec<u32> {
        self.record.handled(|handled| handled.clone())
    }

    fn serve_until_handled(&mut self, count: usize) {
        self.serve(|this| this.record.handled(|handled| handled.len()) >= count);
    }

    fn serve_to_the_end(&mut self) {
        self.serve(|this| this.system.metrics().live_actors == 0);
    }

    fn other<R: 'static>(
        &self,
        f: impl FnOnce(ActorRef<Msg>, Arc<Record>) -> R + 'static,
    ) -> thread::JoinHandle<R> {
        let (actor, record) = (self.actor.clone(), Arc::clone(&self.record));
        thread::spawn(move || f(actor, record))
    }
}

/// Runs the model for a cell of each kind. `fewer` preemptions are for three threads that block and
/// wake each other, which would take minutes otherwise.
fn both(fewer: usize, model: fn(bool)) {
    for owned in [true, false] {
        let mut builder = Builder::new();
        builder.max_branches = 20_000;
        builder.preemption_bound = builder.preemption_bound.map(|n| n.max(fewer + 1) - fewer);
        builder.check(move || model(owned));
    }
}

fn plain() -> SpawnOptions {
    SpawnOptions::new()
}

fn bounded(capacity: usize) -> SpawnOptions {
    plain().mailbox(MailboxOptions::bounded(capacity))
}

fn waits() -> Msg {
    Msg::Wait(Track::new(100))
}

/// What was refused, and came back.
fn refused(actor: &ActorRef<Msg>, number: u32) -> Vec<u32> {
    match actor.tell(note(number)) {
        Ok(()) => vec![],
        Err(error) => {
            assert!(matches!(error, SendError::Closed(_)));
            vec![value(&error.into_inner())]
        }
    }
}

/// Each of `1..=count` was handled, became a dead letter or came back, and only that.
fn one_winner_each(stage: &Stage, refused: Vec<u32>, count: u32) {
    let mut all = refused;
    all.extend(stage.handled());
    all.extend(stage.record.dead.with(core::mem::take));
    all.sort_unstable();
    assert_eq!(all, (1..=count).collect::<Vec<_>>());
}

/// One sender tells twice; the cell goes idle meanwhile, or not.
fn tells_against_rest(owned: bool, options: SpawnOptions, numbers: [u32; 2]) {
    let mut stage = Stage::started(owned, options);
    let other = stage.other(move |actor, _| {
        for number in numbers {
            actor.tell(note(number)).unwrap();
        }
    });
    stage.serve_until_handled(2);
    other.join().unwrap();
    assert_eq!(stage.handled(), numbers);
}

/// Two senders tell once each, in ascending numbers.
fn two_tell_against_rest(owned: bool, options: SpawnOptions, numbers: [u32; 2]) {
    let mut stage = Stage::started(owned, options);
    let others =
        numbers.map(|number| stage.other(move |actor, _| actor.tell(note(number)).unwrap()));
    stage.serve_until_handled(2);
    for other in others {
        other.join().unwrap();
    }
    let mut handled = stage.handled();
    handled.sort_unstable();
    assert_eq!(handled, numbers);
}

/// One sender tells twice, while the actor is told to stop.
fn tells_against_stop(owned: bool, options: SpawnOptions) {
    let mut stage = Stage::started(owned, options);
    let teller = stage.other(|actor, _| {
        let mut back = refused(&actor, 1);
        back.extend(refused(&actor, 2));
        back
    });
    stage.actor.stop();
    stage.serve_to_the_end();
    let back = teller.join().unwrap();
    one_winner_each(&stage, back, 2);
}

#[test]
fn tell_against_rest() {
    both(0, |owned| tells_against_rest(owned, plain(), [1, 2]));
}

#[test]
fn tell_against_start() {
    both(0, |owned| {
        let mut stage = Stage::new(owned, plain());
        let other = stage.other(|actor, _| actor.tell(note(1)).unwrap());
        stage.serve_until_handled(1);
        other.join().unwrap();
    });
}

#[test]
fn two_tells_against_rest() {
    both(1, |owned| two_tell_against_rest(owned, plain(), [1, 2]));
}

#[test]
fn tell_all_against_tell() {
    both(1, |owned| {
        let mut stage = Stage::started(owned, plain());
        let first = stage.other(|actor, _| actor.tell_all([note(1), note(2)]).unwrap());
        let second = stage.other(|actor, _| actor.tell(note(9)).unwrap());
        stage.serve_until_handled(3);
        first.join().unwrap();
        second.join().unwrap();
        let handled = stage.handled();
        assert!(handled.windows(2).any(|pair| pair == [1, 2]), "{handled:?}");
    });
}

#[test]
fn stop_against_tell() {
    both(0, |owned| tells_against_stop(owned, plain()));
}

#[test]
fn graceful_stop_against_rest() {
    both(0, |owned| {
        let mut stage = Stage::started(owned, plain());
        let other = stage.other(|actor, _| {
            // What was sent before the order is handled.
            actor.tell(note(1)).unwrap();
            actor.stop_gracefully();
        });
        stage.serve_to_the_end();
        other.join().unwrap();
        assert_eq!(stage.handled(), [1]);
    });
}

#[test]
fn two_stops_against_rest() {
    both(1, |owned| {
        let mut stage = Stage::started(owned, plain());
        let first = stage.other(|actor, _| actor.stop());
        let second = stage.other(|actor, _| actor.kill());
        stage.serve_to_the_end();
        first.join().unwrap();
        second.join().unwrap();
    });
}

#[test]
fn wake_against_park() {
    both(0, |owned| {
        let mut stage = Stage::started(owned, plain());
        stage.actor.tell(waits()).unwrap();
        let opener = stage.other(|_, record| record.open());
        stage.serve_until_handled(1);
        opener.join().unwrap();
    });
}

#[test]
fn wake_and_tell_against_park() {
    both(0, |owned| {
        let mut stage = Stage::started(owned, plain());
        stage.actor.tell(waits()).unwrap();
        let opener = stage.other(|actor, record| {
            actor.tell(note(1)).unwrap();
            record.open();
        });
        stage.serve_until_handled(2);
        opener.join().unwrap();
        assert_eq!(stage.handled(), [100, 1]);
    });
}

fn beside() -> Msg {
    Msg::Beside(Track::new(7))
}

/// The mail of an agenda and its order, against the runner that reads the order and then the mail.
#[test]
fn mail_against_collect() {
    both(0, |owned| {
        let mut stage = Stage::started(owned, plain());
        stage.actor.tell(beside()).unwrap();
        let opener = stage.other(|_, record| record.open());
        stage.serve_until_handled(1);
        opener.join().unwrap();
        assert_eq!(stage.handled(), [7]);
    });
}

#[test]
fn mail_against_rest_and_tell() {
    both(1, |owned| {
        let mut stage = Stage::started(owned, plain());
        stage.actor.tell(beside()).unwrap();
        assert!(stage.rests());
        let opener = stage.other(|_, record| record.open());
        let teller = stage.other(|actor, _| actor.tell(note(1)).unwrap());
        stage.serve_until_handled(2);
        opener.join().unwrap();
        teller.join().unwrap();
        let mut handled = stage.handled();
        handled.sort_unstable();
        assert_eq!(handled, [1, 7]);
    });
}

#[test]
fn mail_against_stop() {
    both(0, |owned| {
        let mut stage = Stage::started(owned, plain());
        stage.actor.tell(beside()).unwrap();
        assert!(stage.rests());
        let opener = stage.other(|_, record| record.open());
        stage.actor.stop();
        stage.serve_to_the_end();
        opener.join().unwrap();
        assert!(stage.handled().is_empty() || stage.handled() == [7]);
    });
}

#[test]
fn late_mail_against_end_of_system() {
    both(0, |owned| {
        let mut stage = Stage::started(owned, plain());
        stage.actor.tell(beside()).unwrap();
        assert!(stage.rests());
        let Stage {
            system,
            worker,
            actor,
            record,
        } = stage;
        drop((system, actor));
        let opener = thread::spawn(move || record.open());
        drop(worker);
        opener.join().unwrap();
    });
}

#[test]
fn kill_against_park() {
    both(0, |owned| {
        let mut stage = Stage::started(owned, plain());
        stage.actor.tell(waits()).unwrap();
        let killer = stage.other(|actor, _| actor.kill());
        stage.serve_to_the_end();
        killer.join().unwrap();
        assert!(stage.handled().is_empty());
        // The waker keeps the cell, which keeps the system, whose listener keeps the gate.
        drop(stage.record.gate.with(|gate| gate.waker.take()));
    });
}

#[test]
fn kill_against_wake() {
    both(0, |owned| {
        let mut stage = Stage::started(owned, plain());
        stage.actor.tell(waits()).unwrap();
        assert!(stage.rests());
        let opener = stage.other(|_, record| record.open());
        stage.actor.kill();
        stage.serve_to_the_end();
        opener.join().unwrap();
    });
}

#[test]
fn late_wake_against_end_of_system() {
    both(0, |owned| {
        let mut stage = Stage::started(owned, plain());
        stage.actor.tell(waits()).unwrap();
        assert!(stage.rests());
        let Stage {
            system,
            worker,
            actor,
            record,
        } = stage;
        drop((system, actor));
        let opener = thread::spawn(move || record.open());
        drop(worker);
        opener.join().unwrap();
    });
}

#[test]
fn tell_against_end_of_system() {
    both(0, |owned| {
        let stage = Stage::started(owned, plain());
        let teller = stage.other(|actor, _| {
            let mut back = refused(&actor, 1);
            back.extend(refused(&actor, 2));
            back
        });
        let Stage { worker, record, .. } = stage;
        drop(worker);
        let mut all = teller.join().unwrap();
        all.extend(record.handled(core::mem::take));
        all.extend(record.dead.with(core::mem::take));
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
    });
}

#[test]
fn ask_against_answer() {
    both(0, |owned| {
        let mut stage = Stage::started(owned, plain());
        let asker = stage.other(|actor, _| block_on(actor.ask(Msg::Ask)));
        stage.serve_until_handled(1);
        assert_eq!(asker.join().unwrap(), Ok(7));
    });
}

#[test]
fn ask_against_stop() {
    both(0, |owned| {
        let mut stage = Stage::started(owned, plain());
        let asker = stage.other(|actor, _| block_on(actor.ask(Msg::Ask)));
        stage.actor.stop();
        stage.serve_to_the_end();
        assert!(matches!(
            asker.join().unwrap(),
            Ok(7) | Err(AskError::Closed | AskError::Dropped)
        ));
    });
}

#[test]
fn watch_against_end() {
    both(0, |owned| {
        let mut stage = Stage::started(owned, plain());
        let watcher = stage.other(|actor, _| block_on(actor.stopped()));
        stage.actor.kill();
        stage.serve_to_the_end();
        assert!(matches!(watcher.join().unwrap(), StopCause::Killed));
    });
}

#[test]
fn watch_against_start() {
    both(0, |owned| {
        let mut stage = Stage::new(owned, plain());
        let watcher = stage.other(|actor, _| {
            block_on(actor.started()).unwrap();
            actor.stop();
        });
        stage.serve_to_the_end();
        watcher.join().unwrap();
    });
}

#[test]
fn last_reference_against_tell() {
    both(0, |owned| {
        let stage = Stage::started(owned, plain().stop_when_unreferenced());
        let other = stage.other(|actor, _| actor.tell(note(1)).unwrap());
        let Stage {
            system,
            mut worker,
            actor,
            record,
        } = stage;
        drop(actor);
        block_on(poll_fn(|cx| {
            loop {
                match worker.poll(100, cx.waker()) {
                    Turn::Idle { .. } if system.metrics().live_actors == 0 => {
                        return Poll::Ready(());
                    }
                    Turn::Idle { .. } => return Poll::Pending,
                    _ => {}
                }
            }
        }));
        other.join().unwrap();
        assert_eq!(record.handled(core::mem::take), [1]);
    });
}

#[test]
fn last_reference_against_upgrade() {
    both(0, |owned| {
        let stage = Stage::started(owned, plain().stop_when_unreferenced());
        let weak = stage.actor.downgrade();
        let upgrader = thread::spawn(move || {
            if let Some(actor) = weak.upgrade() {
                let _ = refused(&actor, 1);
            }
        });
        let Stage {
            system,
            worker,
            actor,
            ..
        } = stage;
        drop(actor);
        upgrader.join().unwrap();
        // Nothing is left that could send, so the end has been ordered.
        let mut worker = worker;
        assert!(matches!(worker.poll(100, Waker::noop()), Turn::Idle { .. }));
        assert_eq!(system.metrics().live_actors, 0);
    });
}

#[test]
fn clone_against_last_reference_but_one() {
    both(0, |owned| {
        let mut stage = Stage::started(owned, plain().stop_when_unreferenced());
        let other = stage.other(|actor, _| drop((actor.clone(), actor)));
        let weak = stage.actor.downgrade();
        drop((weak.clone(), weak));
        other.join().unwrap();
        assert!(stage.rests());
        assert_eq!(stage.system.metrics().live_actors, 1);
    });
}

// === bounded ===

#[test]
fn bounded_tell_against_rest() {
    both(0, |owned| {
        let mut stage = Stage::started(owned, bounded(1));
        let other = stage.other(|actor, _| {
            actor.tell(note(1)).unwrap();
            actor.tell(note(2)).is_ok()
        });
        stage.serve_until_handled(1);
        let both = other.join().unwrap();
        stage.serve_until_handled(1 + usize::from(both));
    });
}

#[test]
fn bounded_wait_against_rest() {
    both(0, |owned| {
        let mut stage = Stage::started(owned, bounded(1));
        stage.actor.tell(note(1)).unwrap();
        let other = stage.other(|actor, _| {
            block_on(actor.send(note(2))).unwrap();
            block_on(actor.send(note(3))).unwrap();
        });
        stage.serve_until_handled(3);
        other.join().unwrap();
        assert_eq!(stage.handled(), [1, 2, 3]);
    });
}

#[test]
fn bounded_wait_against_stop() {
    both(0, |owned| {
        let mut stage = Stage::started(owned, bounded(1));
        stage.actor.tell(note(1)).unwrap();
        let sender = stage.other(|actor, _| match block_on(actor.send(note(2))) {
            Ok(()) => vec![],
            Err(error) => vec![value(&error.into_inner())],
        });
        stage.actor.stop();
        stage.serve_to_the_end();
        let back = sender.join().unwrap();
        one_winner_each(&stage, back, 2);
    });
}

/// Sends, or gives up at the first poll.
fn send_or_leave(actor: &ActorRef<Msg>, number: u32) {
    let _ = pin!(actor.send(note(number))).poll(&mut task::Context::from_waker(Waker::noop()));
}

#[test]
fn bounded_wait_against_push_of_the_same_sender() {
    struct SendNode(NonNull<Node<Msg>>);
    // SAFETY: belongs to whoever has it.
    unsafe impl Send for SendNode {}

    both(0, |owned| {
        let mut stage = Stage::started(owned, bounded(2));
        stage.actor.tell(note(1)).unwrap();
        // The sender is between taking the last slot and queueing the message, when another one
        // begins to wait and leaves.
        // SAFETY: the cell is bounded, and this is not its worker.
        let node = unsafe { stage.actor.cell().tail().reserve(None) };
        let node = SendNode(node.unwrap().cast());
        send_or_leave(&stage.actor, 9);
        let sender = stage.other(move |actor, _| {
            let node = { node }.0;
            // SAFETY: the reserved node is ours, until it is queued.
            unsafe {
                (&raw mut (*node.as_ptr()).message).write(MaybeUninit::new(note(2)));
                assert!(push_link(actor.cell(), node.cast()));
            }
            block_on(actor.send(note(3))).unwrap();
        });
        stage.serve_until_handled(3);
        sender.join().unwrap();
        assert_eq!(stage.handled(), [1, 2, 3]);
    });
}

// === with an annex ===

fn with(mailbox: MailboxOptions) -> SpawnOptions {
    plain().mailbox(mailbox)
}

/// Control messages are the numbers from 5 on.
fn with_control() -> SpawnOptions {
    with(MailboxOptions::unbounded().control(|msg: &Msg| value(msg) >= 5, 2))
}

#[test]
fn annex_ring_tells_against_rest() {
    both(0, |owned| {
        let mut stage = Stage::started(owned, with(MailboxOptions::latest(1)));
        let other = stage.other(|actor, _| {
            actor.tell(note(1)).unwrap();
            // Not taken while the runner is in the middle of the other one.
            match actor.tell(note(2)) {
                Ok(()) => vec![],
                Err(refused) => vec![value(&refused.into_inner())],
            }
        });
        stage.serve(|this| {
            let handled = this.handled();
            handled.contains(&2) || handled.contains(&1)
        });
        let back = other.join().unwrap();
        assert!(stage.rests());
        one_winner_each(&stage, back, 2);
    });
}

#[test]
fn annex_ring_tell_against_stop() {
    both(0, |owned| {
        tells_against_stop(owned, with(MailboxOptions::latest(2)))
    });
}

#[test]
fn annex_control_tell_against_rest() {
    both(0, |owned| tells_against_rest(owned, with_control(), [5, 6]));
}

#[test]
fn annex_control_tell_against_tell_and_rest() {
    both(1, |owned| {
        two_tell_against_rest(owned, with_control(), [1, 5])
    });
}

#[test]
fn annex_control_tell_against_stop() {
    both(0, |owned| {
        let mailbox = MailboxOptions::unbounded().control(|_: &Msg| true, 2);
        tells_against_stop(owned, with(mailbox));
    });
}

#[test]
fn annex_permits_tells_against_stop() {
    both(0, |owned| {
        let mailbox = MailboxOptions::bounded(2).pressure(2, 0);
        tells_against_stop(owned, with(mailbox));
    });
}

/// With slots, and with permits: what came before the bound was lowered stays, and then it holds.
#[test]
fn tells_against_lowered_capacity() {
    both(0, |owned| {
        tells_against_lowering(owned, MailboxOptions::bounded(2))
    });
    both(0, |owned| {
        tells_against_lowering(owned, MailboxOptions::bounded(2).pressure(2, 0))
    });
}

fn tells_against_lowering(owned: bool, mailbox: MailboxOptions) {
    let mut stage = Stage::started(owned, with(mailbox));
    let other = stage.other(|actor, _| {
        let accepted = [1, 2].map(|number| actor.tell(note(number)).is_ok().then_some(number));
        accepted.into_iter().flatten().collect::<Vec<_>>()
    });
    stage.actor.set_capacity(1).unwrap();
    stage.serve(|_| true);
    let accepted = other.join().unwrap();
    stage.serve(|_| true);
    assert_eq!(stage.handled(), accepted);
    assert!(stage.actor.tell(note(3)).is_ok());
    assert!(stage.actor.tell(note(4)).is_err());
}

/// With slots, and with permits: who waits is served by the room that is added.
#[test]
fn wait_against_set_capacity() {
    both(1, |owned| {
        let mailbox = MailboxOptions::bounded(1);
        wait_against_change(owned, mailbox.up_to(2));
    });
    both(1, |owned| {
        let mailbox = MailboxOptions::bounded(1);
        wait_against_change(owned, mailbox.pressure(1, 0));
    });
}

fn wait_against_change(owned: bool, mailbox: MailboxOptions) {
    let mut stage = Stage::started(owned, with(mailbox));
    stage.actor.tell(waits()).unwrap();
    assert!(stage.rests());
    stage.actor.tell(note(1)).unwrap();
    stage.actor.set_capacity(2).unwrap();
    let other = stage.other(|actor, record| {
        block_on(actor.send(note(2))).unwrap();
        record.open();
    });
    stage.serve_until_handled(3);
    other.join().unwrap();
    assert_eq!(stage.handled(), [100, 1, 2]);
}

#[test]
fn pressure_against_relief() {
    both(0, |owned| {
        let mailbox = MailboxOptions::unbounded().pressure(1, 0);
        let mut stage = Stage::started(owned, with(mailbox));
        let told: Arc<Mutex<Vec<Pressure>>> = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&told);
        stage.system.events().listen(move |event| {
            if let Event::Pressure { pressure, .. } = event {
                notes.with(|told| told.push(*pressure));
            }
        });
        let other = stage.other(|actor, _| {
            actor.tell(note(1)).unwrap();
            actor.tell(note(2)).unwrap();
        });
        stage.serve_until_handled(2);
        other.join().unwrap();
        let told = told.with(core::mem::take);
        assert!(told.len() % 2 == 0 && told.len() <= 4);
        for pair in told.chunks(2) {
            assert_eq!(pair, [Pressure::High, Pressure::Low]);
        }
    });
}

// === system lane ===

struct Lane(SystemLane);

// SAFETY: loom checks each access.
unsafe impl Send for Lane {}
// SAFETY: likewise.
unsafe impl Sync for Lane {}

type LaneNode = (SystemNode, u32, Track<()>);

impl Lane {
    fn push(&self, number: u32) -> bool {
        unsafe fn unread(_: NonNull<SystemNode>, _: CellPtr, _: Option<&Farewell<'_>>) {}
        let node = (SystemNode::new(unread), number, Track::new(()));
        let node = NonNull::from(Box::leak(Box::new(node)));
        // SAFETY: the node is ours.
        let pushed = unsafe { self.0.push(NonNull::from(&mut (*node.as_ptr()).0)) };
        if !pushed {
            // SAFETY: refused, so still ours.
            drop(unsafe { Box::from_raw(node.as_ptr()) });
        }
        pushed
    }

    fn numbers(taken: impl Iterator<Item = NonNull<SystemNode>>) -> Vec<u32> {
        taken
            .map(|node| {
                let start = core::mem::offset_of!(LaneNode, 0);
                // SAFETY: a taken node is ours, and was made by `push`.
                unsafe { Box::from_raw(node.byte_sub(start).cast::<LaneNode>().as_ptr()) }.1
            })
            .collect()
    }
}

fn lane_race<const N: usize>(others: [fn(&Lane) -> Vec<u32>; N], runner: fn(&Lane) -> Vec<u32>) {
    ::loom::model(move || {
        let lane = Arc::new(Lane(SystemLane::new()));
        let threads = others.map(|other| {
            let lane = Arc::clone(&lane);
            thread::spawn(move || other(&lane))
        });
        let mut taken = runner(&lane);
        let sent: Vec<Vec<u32>> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        if lane.push(0) {
            taken.extend(Lane::numbers(lane.0.finish()));
            assert_eq!(taken.pop(), Some(0));
        }
        for sent in &sent {
            let mine: Vec<u32> = taken.iter().copied().filter(|n| sent.contains(n)).collect();
            assert_eq!(&mine, sent);
        }
        assert_eq!(taken.len(), sent.iter().map(Vec::len).sum::<usize>());
    });
}

fn sends(lane: &Lane, numbers: [u32; 2]) -> Vec<u32> {
    numbers.into_iter().filter(|n| lane.push(*n)).collect()
}

#[test]
fn lane_push_against_take() {
    lane_race(
        [|lane| sends(lane, [1, 2]), |lane| sends(lane, [3, 4])],
        |lane| {
            let mut taken = Lane::numbers(lane.0.take());
            taken.extend(Lane::numbers(lane.0.take()));
            taken
        },
    );
}

#[test]
fn lane_push_against_finish() {
    lane_race(
        [|lane| sends(lane, [1, 2]), |lane| sends(lane, [3, 4])],
        |lane| {
            let taken = Lane::numbers(lane.0.finish());
            // From now on it refuses.
            assert!(!lane.push(5));
            taken
        },
    );
}

// === suspension ===

const EXPLICIT: ResumeCondition = ResumeCondition::Explicit;

fn suspend(actor: &ActorRef<Msg>, until: ResumeCondition) {
    actor.suspend(SuspendReason::UserDefined, until).unwrap();
}

#[test]
fn suspend_tell_resume_against_rest() {
    both(1, |owned| {
        for options in [plain(), bounded(1)] {
            let mut stage = Stage::started(owned, options);
            let other = stage.other(|actor, _| {
                suspend(&actor, EXPLICIT);
                actor.tell(note(1)).unwrap();
                actor.resume();
            });
            stage.serve_until_handled(1);
            other.join().unwrap();
        }
    });
}

/// Whoever suspends and then sends finds the message unhandled until the resume.
#[test]
fn a_suspended_cell_handles_nothing() {
    both(0, |owned| {
        let mut stage = Stage::started(owned, plain());
        let other = stage.other(|actor, _| {
            suspend(&actor, EXPLICIT);
            actor.tell(note(1)).unwrap();
        });
        // It may be anywhere in the middle of that, and nothing may be handled.
        while !stage.rests() {}
        assert_eq!(stage.handled(), []);
        other.join().unwrap();
        while !stage.rests() {}
        assert_eq!(stage.handled(), []);
        stage.actor.resume();
        stage.serve_until_handled(1);
    });
}

#[test]
fn resume_against_the_rest_of_a_suspended_cell() {
    both(0, |owned| {
        let mut stage = Stage::started(owned, plain());
        suspend(&stage.actor, EXPLICIT);
        stage.actor.tell(note(1)).unwrap();
        let other = stage.other(|actor, _| actor.resume());
        stage.serve_until_handled(1);
        other.join().unwrap();
    });
}

#[test]
fn signal_against_suspend() {
    both(0, |owned| {
        let mut stage = Stage::started(owned, plain());
        let other = stage.other(|actor, _| actor.signal("go"));
        suspend(&stage.actor, ResumeCondition::ExternalSignal("go".into()));
        stage.actor.tell(note(1)).unwrap();
        // Whichever came first, it is not lost.
        stage.serve_until_handled(1);
        other.join().unwrap();
    });
}

#[test]
fn suspend_against_stop() {
    both(0, |owned| {
        let mut stage = Stage::started(owned, plain());
        let other = stage.other(|actor, _| {
            let _late = actor.suspend(SuspendReason::UserDefined, EXPLICIT);
            refused(&actor, 1)
        });
        stage.actor.stop();
        stage.serve_to_the_end();
        let back = other.join().unwrap();
        one_winner_each(&stage, back, 1);
    });
}

/// The one who waits for room is told, whichever way it comes about.
#[test]
fn waiting_for_room_against_its_appearance() {
    both(1, |owned| {
        let mut stage = Stage::started(owned, bounded(1));
        let record = Arc::clone(&stage.record);
        let waiter = stage.system.spawn(move || Probe {
            record: Arc::clone(&record),
            _track: Track::new(()),
        });
        let waiter = waiter.unwrap();
        stage.actor.tell(note(1)).unwrap();
        let room = ResumeCondition::WhenCapacityAvailable(stage.actor.index());
        let other = thread::spawn(move || {
            suspend(&waiter, room);
            waiter.tell(note(2)).unwrap();
        });
        stage.serve_until_handled(2);
        other.join().unwrap();
    });
}
