//! The user lane of whole cells against a plain queue; the system lane; the options.
//!
//! The test is the runner: it takes the cell from the coordinator when it is scheduled, and calls
//! what the invoker calls. So it sees each scheduling, and that there is never one too many.

use super::super::options::CellOptions;
use super::super::system::{Farewell, SystemLane, SystemNode};
use super::super::{Drain, Notice, Overflow, Push, Typed, leave, push, push_all};
use crate::cell::CellPtr;
use crate::state::Release;
use crate::sync::{self, Arc, Here, Mutex};
use crate::{
    Actor, ActorRef, Context, Failure, InvalidOptions, MailboxOptions, MailboxOverflowPolicy,
    RestartPolicy, SendError, SpawnError, SpawnOptions, StopCause, System, Turn, Worker,
};
use core::any::TypeId;
use core::future::Future;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{self, Poll, Waker};
use proptest::prelude::*;
use std::boxed::Box;
use std::collections::VecDeque;
use std::vec;
use std::vec::Vec;

/// A message that is counted.
#[derive(Debug, Clone)]
struct Counted(
    u32,
    #[allow(dead_code, reason = "its references are counted")] Arc<()>,
);

/// A message too large to lie where the chain is.
#[derive(Debug, Clone)]
#[repr(align(32))]
struct Large(Counted, [u8; 40]);

trait Number: Send + Clone + 'static {
    fn new(number: u32, count: &Arc<()>) -> Self;
    fn number(&self) -> u32;
}

impl Number for Counted {
    fn new(number: u32, count: &Arc<()>) -> Self {
        Self(number, Arc::clone(count))
    }

    fn number(&self) -> u32 {
        self.0
    }
}

impl Number for Large {
    fn new(number: u32, count: &Arc<()>) -> Self {
        Self(Counted::new(number, count), [number as u8; 40])
    }

    fn number(&self) -> u32 {
        assert_eq!(self.1, [self.0.0 as u8; 40]);
        self.0.0
    }
}

struct Idle<M>(core::marker::PhantomData<fn(M)>);

impl<M: Number> Actor for Idle<M> {
    type Msg = M;

    async fn handle(&mut self, _: M, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        panic!("the test handles the messages")
    }
}

/// Which cell, and from where it is told.
#[derive(Debug, Clone, Copy)]
struct Flavour {
    owned: bool,
    /// The test's thread passes for the worker's.
    here: bool,
    capacity: Option<usize>,
}

struct Stage<M: Number> {
    flavour: Flavour,
    count: Arc<()>,
    actor: Arc<ActorRef<M>>,
    worker: Worker,
    _system: System,
    held: bool,
    closed: bool,
    /// What is in the mailbox.
    model: VecDeque<u32>,
    /// What became dead letters.
    dead: Arc<Mutex<Vec<u32>>>,
    /// Who waits, with what.
    waiting: VecDeque<(u32, Pin<Box<crate::Sending<'static, M>>>)>,
}

pub(super) fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut task::Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

impl<M: Number> Stage<M> {
    fn new(flavour: Flavour) -> Self {
        let dead = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&dead);
        let builder = System::builder("test").on_dead_letter(move |letter| {
            let message: &M = letter.message.downcast_ref().unwrap();
            listener.with(|dead| dead.push(message.number()));
        });
        let builder = if flavour.owned {
            builder
        } else {
            builder.work_stealing()
        };
        let (system, mut workers) = builder.build().unwrap();
        let mut worker = workers.pop().unwrap();
        let mailbox = flavour
            .capacity
            .map_or(MailboxOptions::unbounded(), MailboxOptions::bounded);
        let actor = system
            .spawn_with(SpawnOptions::new().mailbox(mailbox), || {
                Idle(core::marker::PhantomData)
            })
            .unwrap();
        assert!(matches!(worker.poll(100, Waker::noop()), Turn::Idle { .. }));
        Self {
            flavour,
            count: Arc::new(()),
            actor: Arc::new(actor),
            worker,
            _system: system,
            held: false,
            closed: false,
            model: VecDeque::new(),
            dead,
            waiting: VecDeque::new(),
        }
    }

    fn cell(&self) -> CellPtr {
        self.actor.cell()
    }

    fn message(&self, number: u32) -> M {
        M::new(number, &self.count)
    }

    /// Runs `f` as the flavour says, then looks whether the cell was scheduled.
    fn elsewhere<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        let cell = self.cell();
        let home = core::ptr::from_ref(cell.home()).cast();
        if self.flavour.here {
            sync::set_here(Here {
                home,
                alone: if self.flavour.owned {
                    home
                } else {
                    core::ptr::null()
                },
                lane: core::ptr::from_ref(cell.home().coordinator.lane(0)).cast(),
            });
        }
        let result = f(self);
        sync::set_here(Here::NOWHERE);
        self.look();
        result
    }

    /// Takes the ticket if the cell was scheduled: once, and only if it was not held.
    fn look(&mut self) {
        let cell = self.cell();
        let coordinator = &cell.home().coordinator;
        while let Some(ready) = coordinator.take(coordinator.lane(0)) {
            assert_eq!(ready, self.cell());
            assert!(!self.held, "scheduled twice");
            self.held = true;
        }
    }

    /// Slots that may be kept back until the runner is through.
    fn kept_back(&self) -> usize {
        self.flavour
            .capacity
            .map_or(0, |capacity| (capacity / 4).clamp(1, 64) - 1)
    }

    fn check_push(&mut self, number: u32, pushed: Push<u32>) {
        let room = self.flavour.capacity.map_or(usize::MAX, |capacity| {
            capacity.saturating_sub(self.model.len())
        });
        match pushed {
            Push::Accepted => {
                assert!(!self.closed && room > 0);
                assert!(self.waiting.is_empty(), "overtook one that waits");
                self.model.push_back(number);
                assert!(self.held, "nobody was told");
            }
            Push::Full(back) => {
                assert_eq!(back, number);
                assert!(!self.closed);
                // A waiting one that gave up leaves a bit behind until the runner looks.
                assert!(self.held);
                assert!(room <= self.kept_back() || self.left_bit());
            }
            Push::Closed(back) => {
                assert_eq!(back, number);
                assert!(self.closed);
            }
        }
    }

    /// May a sender that gave up have left the mark that others wait?
    fn left_bit(&self) -> bool {
        self.flavour.capacity.is_some()
    }

    fn tell(&mut self, number: u32) {
        let message = self.message(number);
        // SAFETY: the cell is alive; its messages are `M`.
        let pushed = self.elsewhere(|this| unsafe { push(this.cell(), message, Overflow::Apply) });
        let pushed = match pushed {
            Push::Accepted => Push::Accepted,
            Push::Full(message) => Push::Full(message.number()),
            Push::Closed(message) => Push::Closed(message.number()),
        };
        self.check_push(number, pushed);
    }

    fn tell_all(&mut self, numbers: core::ops::Range<u32>) {
        let messages: Vec<M> = numbers.clone().map(|number| self.message(number)).collect();
        // SAFETY: the cell is alive; its messages are `M`.
        let pushed = self.elsewhere(|this| unsafe { push_all(this.cell(), messages.into_iter()) });
        let back = match &pushed {
            Push::Accepted => vec![],
            Push::Full(rest) | Push::Closed(rest) => rest.iter().map(M::number).collect::<Vec<_>>(),
        };
        let taken = numbers.len() - back.len();
        assert_eq!(back, numbers.clone().skip(taken).collect::<Vec<_>>());
        match pushed {
            Push::Accepted => assert!(numbers.is_empty() || !self.closed),
            Push::Full(_) => assert!(!self.closed && self.flavour.capacity.is_some()),
            Push::Closed(_) => assert!(self.closed),
        }
        self.model.extend(numbers.take(taken));
        assert!(self.model.is_empty() || self.held);
        assert!(
            self.flavour
                .capacity
                .is_none_or(|capacity| self.model.len() <= capacity)
        );
    }

    /// Sends, and stays in the list if there is no room.
    fn send(&mut self, number: u32) {
        let message = self.message(number);
        // SAFETY: the future is dropped before the stage's reference.
        let actor: &'static ActorRef<M> = unsafe { &*Arc::as_ptr(&self.actor) };
        let mut sending = Box::pin(actor.send(message));
        match self.elsewhere(|_| poll(sending.as_mut())) {
            None => {
                assert!(!self.closed);
                self.waiting.push_back((number, sending));
            }
            Some(Ok(())) => self.check_push(number, Push::Accepted),
            Some(Err(SendError::Closed(back))) => {
                self.check_push(number, Push::Closed(back.number()))
            }
            Some(Err(SendError::Full(_))) => panic!("not sent by itself"),
        }
    }

    fn cancel(&mut self, at: usize) {
        if !self.waiting.is_empty() {
            let at = at % self.waiting.len();
            self.waiting.remove(at);
        }
    }

    /// Those who were admitted when the runner gave room back are in the model behind the rest.
    fn admitted(&mut self) {
        while let Some((number, sending)) = self.waiting.front_mut() {
            match poll(sending.as_mut()) {
                None => break,
                Some(Ok(())) => {
                    assert!(!self.closed);
                    self.model.push_back(*number);
                }
                Some(Err(error)) => {
                    assert!(self.closed);
                    assert_eq!(error.into_inner().number(), *number);
                }
            }
            self.waiting.pop_front();
        }
        // In order: none of the others has had its turn.
        for (_, sending) in &mut self.waiting {
            assert!(poll(sending.as_mut()).is_none());
        }
    }

    /// Handles some messages in one run.
    fn handle(&mut self, count: usize) {
        if !self.held {
            return;
        }
        // SAFETY: the ticket is held.
        let mut drain = unsafe { Drain::<Typed<M>>::new(self.cell()) };
        let mut first = drain.first();
        for _ in 0..count {
            let message = first.take().or_else(|| drain.next());
            self.admitted();
            assert_eq!(
                message.map(|message| message.number()),
                self.model.pop_front()
            );
        }
        assert!(first.is_none() || count == 0);
        if let Some(first) = first {
            // A run handles one message at least.
            assert_eq!(Some(first.number()), self.model.pop_front());
        }
        drop(drain);
        self.admitted();
    }

    /// Goes idle, when nothing is left to handle.
    fn rest(&mut self) {
        if !self.held || !self.model.is_empty() {
            return;
        }
        // SAFETY: the ticket is held.
        let release = unsafe { leave::<Typed<M>>(self.cell()) };
        self.admitted();
        match release {
            Release::Idle => {
                assert!(self.model.is_empty() && !self.closed);
                self.held = false;
                assert!(self.waiting.is_empty(), "left waiting");
            }
            // The room that was given back went to one that waited.
            Release::More => assert!(!self.model.is_empty()),
        }
        self.look();
    }

    /// The actor is stopped, and runs to its end on its worker.
    fn close(&mut self) {
        self.actor.stop();
        self.closed = true;
        self.look();
        assert!(core::mem::take(&mut self.held));
        self.cell().home().coordinator.inject(self.cell());
        assert!(matches!(
            self.worker.poll(100, Waker::noop()),
            Turn::Idle { .. }
        ));
        self.admitted();
        assert!(self.waiting.is_empty());
        let dead = self.dead.with(core::mem::take);
        assert_eq!(core::mem::take(&mut self.model), dead);
    }

    /// Everything that went in has come out, and nothing is left of it.
    fn end(mut self) {
        self.waiting.clear();
        while self.held && !self.closed {
            self.handle(3);
            self.rest();
        }
        assert_eq!(Arc::strong_count(&self.count), 1);
    }
}

impl<M: Number> Drop for Stage<M> {
    fn drop(&mut self) {
        self.waiting.clear();
        if self.held {
            // A test that failed: the worker ends the actor when it is dropped, and needs the ticket.
            self.cell().home().coordinator.inject(self.cell());
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Tell,
    TellAll(u32),
    Send,
    Cancel(usize),
    Handle(usize),
    Rest,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Tell),
        1 => (0_u32..6).prop_map(Step::TellAll),
        2 => Just(Step::Send),
        1 => (0_usize..8).prop_map(Step::Cancel),
        3 => (0_usize..6).prop_map(Step::Handle),
        3 => Just(Step::Rest),
    ];
    proptest::collection::vec(step, 0..if cfg!(miri) { 16 } else { 60 })
}

fn play<M: Number>(flavour: Flavour, steps: Vec<Step>, close: bool) {
    let mut stage = Stage::<M>::new(flavour);
    let mut number = 0;
    for step in steps {
        match step {
            Step::Tell => stage.tell(number),
            Step::TellAll(count) => stage.tell_all(number..number + count),
            Step::Send => stage.send(number),
            Step::Cancel(at) => stage.cancel(at),
            Step::Handle(count) => stage.handle(count),
            Step::Rest => stage.rest(),
        }
        number += 10;
    }
    if close {
        stage.close();
        stage.tell(number);
        stage.tell_all(number..number + 2);
        stage.send(number);
    }
    stage.end();
}

/// The same steps on each kind of cell.
macro_rules! flavours {
    ($($name:ident: $message:ty, $owned:expr, $here:expr, $capacity:expr;)*) => {
        proptest! {
            $(
                #[test]
                fn $name(steps in steps(), close in any::<bool>()) {
                    let flavour = Flavour { owned: $owned, here: $here, capacity: $capacity };
                    play::<$message>(flavour, steps, close);
                }
            )*
        }
    };
}

flavours! {
    unbounded_is_a_queue: Counted, false, false, None;
    unbounded_is_a_queue_for_its_worker: Counted, false, true, None;
    unbounded_is_a_queue_for_large_messages: Large, false, false, None;
    unbounded_and_owned_is_a_queue: Counted, true, false, None;
    unbounded_and_owned_is_a_queue_for_its_worker: Counted, true, true, None;
    unbounded_and_owned_is_a_queue_for_large_messages: Large, true, true, None;
    bounded_to_one_is_a_queue: Counted, false, false, Some(1);
    bounded_is_a_queue: Counted, false, false, Some(5);
    bounded_in_batches_is_a_queue: Counted, false, false, Some(17);
    bounded_is_a_queue_for_large_messages: Large, false, false, Some(3);
    bounded_and_owned_to_one_is_a_queue: Counted, true, false, Some(1);
    bounded_and_owned_is_a_queue: Counted, true, false, Some(5);
    bounded_and_owned_is_a_queue_for_its_worker: Counted, true, true, Some(17);
    bounded_and_owned_is_a_queue_for_large_messages: Large, true, true, Some(2);
}

const SHARED: Flavour = Flavour {
    owned: false,
    here: false,
    capacity: None,
};

#[test]
fn a_first_message_of_any_size_survives_a_close() {
    for owned in [false, true] {
        for here in [false, true] {
            let flavour = Flavour {
                owned,
                here,
                ..SHARED
            };
            play::<Counted>(flavour, vec![Step::Tell], true);
            play::<Large>(flavour, vec![Step::Tell, Step::Tell], true);
        }
    }
}

#[test]
fn order_holds_when_a_sender_moves_to_the_workers_thread() {
    for capacity in [None, Some(8)] {
        let mut stage = Stage::<Counted>::new(Flavour {
            owned: true,
            here: false,
            capacity,
        });
        stage.tell(1);
        stage.tell(2);
        stage.flavour.here = true;
        stage.tell(3);
        stage.flavour.here = false;
        stage.tell(4);
        stage.handle(4);
        stage.rest();
        stage.end();
    }
}

#[test]
fn a_run_that_is_broken_off_puts_back_what_it_took() {
    for (owned, capacity) in [
        (false, None),
        (true, None),
        (false, Some(8)),
        (true, Some(8)),
    ] {
        let mut stage = Stage::<Counted>::new(Flavour {
            owned,
            here: false,
            capacity,
        });
        for number in 0..6 {
            stage.tell(number);
        }
        stage.handle(2);
        stage.tell(6);
        stage.handle(1);
        stage.handle(4);
        stage.rest();
        stage.end();
    }
}

#[test]
fn an_iterator_that_panics_leaves_no_message_behind() {
    let mut stage = Stage::<Counted>::new(SHARED);
    stage.tell(0);
    let count = Arc::clone(&stage.count);
    let actor = ActorRef::clone(&stage.actor);
    let result = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
        let messages = (1..4).map(|number| {
            assert!(number < 3, "no more");
            Counted(number, Arc::clone(&count))
        });
        actor.tell_all(messages)
    }));
    assert!(result.is_err());
    // The two of the iterator are gone, the one in the mailbox is there.
    assert_eq!(Arc::strong_count(&count), 3);
    drop((count, actor));
    stage.handle(1);
    stage.rest();
    stage.end();
}

#[test]
fn waiting_senders_are_served_in_order() {
    let mut stage = Stage::<Counted>::new(Flavour {
        capacity: Some(2),
        ..SHARED
    });
    for number in 0..6 {
        stage.send(number);
    }
    assert_eq!((stage.model.len(), stage.waiting.len()), (2, 4));
    stage.cancel(1);
    stage.handle(1);
    stage.tell(9);
    stage.handle(5);
    assert!(stage.waiting.is_empty());
    stage.rest();
    stage.end();
}

#[test]
fn a_waker_is_exchanged_while_waiting() {
    struct Flag(std::sync::atomic::AtomicUsize);
    impl std::task::Wake for Flag {
        fn wake(self: Arc<Self>) {
            // Relaxed: one thread.
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let mut stage = Stage::<Counted>::new(Flavour {
        capacity: Some(1),
        ..SHARED
    });
    stage.tell(0);
    let actor = ActorRef::clone(&stage.actor);
    let flags = [(); 2].map(|()| Arc::new(Flag(0.into())));
    {
        let mut sending = Box::pin(actor.send(stage.message(1)));
        for flag in &flags {
            let waker = Waker::from(Arc::clone(flag));
            assert!(
                sending
                    .as_mut()
                    .poll(&mut task::Context::from_waker(&waker))
                    .is_pending()
            );
        }
        stage.handle(1);
        // Relaxed: one thread.
        let woken = flags
            .each_ref()
            .map(|f| f.0.load(std::sync::atomic::Ordering::Relaxed));
        assert_eq!(woken, [0, 1]);
        assert!(matches!(poll(sending.as_mut()), Some(Ok(()))));
    }
    drop(actor);
    stage.model.push_back(1);
    stage.handle(1);
    stage.rest();
    stage.end();
}

// === system lane ===

fn lane_node() -> NonNull<SystemNode> {
    unsafe fn unread(_: NonNull<SystemNode>, _: CellPtr, _: Option<&Farewell<'_>>) {}
    NonNull::from(Box::leak(Box::new(SystemNode::new(unread))))
}

#[test]
fn the_system_lane_is_first_in_first_out_and_ends_once() {
    let lane = SystemLane::new();
    assert_eq!(lane.take().count(), 0);
    let nodes: Vec<_> = (0..4).map(|_| lane_node()).collect();
    for node in &nodes[..3] {
        // SAFETY: the node is ours.
        assert!(unsafe { lane.push(*node) });
    }
    assert_eq!(lane.take().collect::<Vec<_>>(), nodes[..3]);
    // SAFETY: taken, so ours again.
    assert!(unsafe { lane.push(nodes[0]) });
    assert_eq!(lane.finish().collect::<Vec<_>>(), nodes[..1]);
    // SAFETY: ours.
    assert!(!unsafe { lane.push(nodes[3]) });
    for node in nodes {
        // SAFETY: in no lane any more.
        drop(unsafe { Box::from_raw(node.as_ptr()) });
    }
}

#[test]
fn a_notice_is_told_once() {
    let notice = Notice::new(false);
    assert!(!notice.is_left());
    assert!(notice.poll(Waker::noop()).is_none());
    assert!(notice.poll(Waker::noop()).is_none());
    notice.tell(Some(StopCause::Killed));
    notice.tell(Some(StopCause::Stopped));
    for _ in 0..2 {
        assert!(matches!(
            notice.poll(Waker::noop()),
            Some(Some(StopCause::Killed))
        ));
    }
    notice.leave();
    assert!(notice.is_left());
    notice.tell(None);
    assert!(notice.poll(Waker::noop()).is_none());

    let started = Notice::new(true);
    started.tell(None);
    assert!(matches!(started.poll(Waker::noop()), Some(None)));
}

// === options ===

#[test]
fn options_are_checked() {
    let limit = super::super::bounded::MAX_CAPACITY;
    for (options, capacity, fine) in [
        (MailboxOptions::default(), None, true),
        (MailboxOptions::unbounded(), None, true),
        (MailboxOptions::bounded(0), Some(0), false),
        (MailboxOptions::bounded(1), Some(1), true),
        (MailboxOptions::bounded(64), Some(64), true),
        (MailboxOptions::bounded(limit), Some(limit), true),
        (MailboxOptions::bounded(limit + 1), Some(limit + 1), false),
        (MailboxOptions::bounded(usize::MAX), Some(usize::MAX), false),
        (
            MailboxOptions::bounded(3).overflow(MailboxOverflowPolicy::Block),
            Some(3),
            true,
        ),
    ] {
        assert_eq!(options.capacity(), capacity);
        assert_eq!(
            options.check(TypeId::of::<u32>).is_ok(),
            fine,
            "{options:?}"
        );
        if let Err(InvalidOptions(why)) = options.check(TypeId::of::<u32>) {
            assert_eq!(std::format!("{}", InvalidOptions(why)), why);
        }
    }
}

#[test]
fn a_mailbox_that_cannot_be_laid_out_is_refused() {
    let (system, _workers) = System::builder("test").build().unwrap();
    let limit = super::super::bounded::MAX_CAPACITY;
    for (capacity, invalid) in [(0, true), (usize::MAX, true), (limit, false)] {
        // Miri's memory has no limit, so it would go on and fill all of ours.
        if cfg!(miri) && !invalid {
            continue;
        }
        let options = SpawnOptions::new().mailbox(MailboxOptions::bounded(capacity));
        let spawned = system.spawn_with(options, || Idle::<Large>(core::marker::PhantomData));
        match spawned {
            Err(SpawnError::InvalidOptions(_)) => assert!(invalid),
            Err(SpawnError::Capacity) => assert!(!invalid),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn cell_options_fit_into_one_word() {
    let policies = [
        RestartPolicy::Permanent,
        RestartPolicy::Transient,
        RestartPolicy::Temporary,
    ];
    let bits = [
        CellOptions::STOP_UNREFERENCED,
        CellOptions::OWNED,
        CellOptions::OWN_THROUGHPUT,
        CellOptions::DROPS_NEWEST,
    ];
    for (tail, policy) in [0, 8, 1 << 20, (1 << 29) - 8]
        .into_iter()
        .flat_map(|tail| policies.map(|policy| (tail, policy)))
    {
        for chosen in 0..1 << bits.len() {
            let has = |number: usize| chosen >> number & 1 != 0;
            let options = (0..bits.len())
                .fold(CellOptions::new(tail, policy), |options, number| {
                    options.with(bits[number], has(number))
                });
            assert_eq!(options.policy(), policy);
            assert_eq!(options.tail(), tail as usize);
            assert_eq!(options.has_tail(), tail != 0);
            // Where no thread can tell that it is the owner's, no cell is owned.
            assert_eq!(options.is_owned(), has(1) && sync::KNOWS_HERE);
            assert_eq!(options.is_plain(), tail == 0 && !has(1) && !has(3));
            assert_eq!(options.has_own_throughput(), has(2));
            assert_eq!(options.stops_unreferenced(), has(0));
            assert_eq!(options.drops_newest(), has(3));
        }
    }
}
