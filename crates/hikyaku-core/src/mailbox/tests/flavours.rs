//! Every kind of mailbox against one naive model, from one thread: what is handled, in which order, what is refused,
//! dropped and returned, how deep the queue is, and what is told of pressure.

use super::usual::poll;
use crate::sync::{self, Arc, Here, Mutex};
use crate::{
    Actor, ActorRef, Context, DeadLetterReason, Event, Failure, MailboxOptions,
    MailboxOverflowPolicy, Pressure, Priority, SendError, SpawnOptions, Supervision, System, Turn,
    Worker,
};
use core::pin::Pin;
use core::task::Waker;
use proptest::prelude::*;
use std::boxed::Box;
use std::collections::VecDeque;
use std::vec::Vec;

#[derive(Debug, Clone, Copy)]
struct Letter {
    number: u32,
    priority: u8,
    is_control: bool,
    /// The handler fails.
    fails: bool,
}

struct Counted(
    Letter,
    #[allow(dead_code, reason = "it is counted")] Arc<()>,
);

#[derive(Clone)]
struct Records(Arc<Mutex<Record>>);

/// What can be seen from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Record {
    handled: Vec<u32>,
    /// Dropped by a policy.
    dropped: Vec<u32>,
    /// Left at the end.
    dead: Vec<u32>,
    /// Out of `send().await`.
    returned: Vec<u32>,
    pressure: Vec<(Pressure, usize)>,
}

struct Noter(Records);

impl Actor for Noter {
    type Msg = Counted;

    async fn handle(&mut self, msg: Counted, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.0.0.with(|record| record.handled.push(msg.0.number));
        if msg.0.fails {
            return Err(Failure::msg("as asked"));
        }
        Ok(())
    }
}

/// The options, in words the model understands.
#[derive(Debug, Clone, Copy)]
struct Flavour {
    capacity: Option<usize>,
    policy: MailboxOverflowPolicy,
    ordered: bool,
    reserve: usize,
    marks: Option<(usize, usize)>,
}

impl Flavour {
    fn options(&self) -> MailboxOptions {
        let mut options = match self.capacity {
            None => MailboxOptions::unbounded(),
            Some(capacity) => MailboxOptions::bounded(capacity).overflow(self.policy),
        };
        if self.capacity.is_some() && !self.grows() {
            options = options.up_to(MOST);
        }
        if self.ordered {
            options = options.priority(|msg: &Counted| Priority(msg.0.priority));
        }
        if self.reserve > 0 {
            options = options.control(|msg: &Counted| msg.0.is_control, self.reserve);
        }
        if let Some((high, low)) = self.marks {
            options = options.pressure(high, low);
        }
        options
    }

    fn grows(&self) -> bool {
        matches!(self.policy, MailboxOverflowPolicy::Grow { .. })
    }
}

const MOST: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Accepted,
    Full,
    Closed,
}

/// The naive mailbox.
struct Model {
    flavour: Flavour,
    limit: Option<usize>,
    /// What the runner has been told, and has not looked at.
    resized: VecDeque<usize>,
    user: Vec<Letter>,
    control: VecDeque<Letter>,
    waiting: VecDeque<Letter>,
    is_high: bool,
    closed: bool,
    seen: Record,
}

impl Model {
    fn new(flavour: Flavour) -> Self {
        let limit = match flavour.policy {
            MailboxOverflowPolicy::Grow { max } => Some(max),
            _ => flavour.capacity,
        };
        Self {
            flavour,
            limit,
            resized: VecDeque::new(),
            user: Vec::new(),
            control: VecDeque::new(),
            waiting: VecDeque::new(),
            is_high: false,
            closed: false,
            seen: Record::default(),
        }
    }

    fn depth(&self) -> usize {
        self.user.len() + self.control.len()
    }

    fn has_room(&self) -> bool {
        self.limit.is_none_or(|limit| self.user.len() < limit)
    }

    fn settle(&mut self) {
        let grown = self.flavour.capacity.filter(|_| self.flavour.grows());
        let marks = self.flavour.marks.or(grown.map(|n| (n + 1, n)));
        let Some((high, low)) = marks else { return };
        let depth = self.depth();
        if self.is_high && depth <= low {
            self.seen.pressure.push((Pressure::Low, depth));
            self.is_high = false;
        } else if !self.is_high && depth >= high {
            self.seen.pressure.push((Pressure::High, depth));
            self.is_high = true;
        }
    }

    fn send(&mut self, letter: Letter, how: How) -> Option<Sent> {
        if self.closed {
            if how == How::Send {
                self.seen.returned.push(letter.number);
            }
            return Some(Sent::Closed);
        }
        if letter.is_control && self.flavour.reserve > 0 {
            if self.control.len() == self.flavour.reserve {
                return Some(Sent::Full);
            }
            self.control.push_back(letter);
        } else if self.has_room() && self.waiting.is_empty() {
            self.user.push(letter);
        } else if self.flavour.policy == MailboxOverflowPolicy::DropOldest && how != How::TrySend {
            while !self.has_room() {
                let oldest = self.user.remove(0);
                self.seen.dropped.push(oldest.number);
            }
            self.user.push(letter);
        } else if self.flavour.policy == MailboxOverflowPolicy::DropNewest && how == How::Tell {
            self.seen.dropped.push(letter.number);
        } else if how == How::Send {
            self.waiting.push_back(letter);
            return None;
        } else {
            return Some(Sent::Full);
        }
        self.settle();
        Some(Sent::Accepted)
    }

    fn admit(&mut self) {
        while self.has_room()
            && let Some(letter) = self.waiting.pop_front()
        {
            self.user.push(letter);
        }
    }

    fn look(&mut self) {
        while let Some(limit) = self.resized.pop_front() {
            self.limit = Some(limit);
            if !self.closed {
                self.admit();
            }
            self.settle();
        }
    }

    /// The next message; false if there is none.
    fn pop(&mut self) -> bool {
        self.look();
        let next = self.take();
        if let Some(letter) = next {
            self.seen.handled.push(letter.number);
            if !self.closed {
                self.admit();
            }
            self.settle();
        }
        next.is_some()
    }

    fn take(&mut self) -> Option<Letter> {
        if let Some(letter) = self.control.pop_front() {
            return Some(letter);
        }
        let mut next = 0;
        if self.flavour.ordered {
            for (index, letter) in self.user.iter().enumerate() {
                if letter.priority > self.user[next].priority {
                    next = index;
                }
            }
        }
        (next < self.user.len()).then(|| self.user.remove(next))
    }

    fn close(&mut self) {
        self.closed = true;
        let refused = self.waiting.drain(..).map(|letter| letter.number);
        self.seen.returned.extend(refused);
    }

    fn end(&mut self) {
        while let Some(letter) = self.take() {
            self.seen.dead.push(letter.number);
            self.settle();
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Tell,
    TrySend,
    Send,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Send(How, u8, bool),
    /// Handle so many.
    Run(usize),
    /// The next one fails, and the actor is restarted.
    Fail,
    Resize(usize),
    Stop,
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![5 => Just(How::Tell), 2 => Just(How::TrySend), 2 => Just(How::Send)];
    prop_oneof![
        20 => (how, 0_u8..3, any::<bool>()).prop_map(|(how, p, c)| Step::Send(how, p, c)),
        9 => (1_usize..4).prop_map(Step::Run),
        1 => Just(Step::Fail),
        3 => (1..=MOST).prop_map(Step::Resize),
        1 => Just(Step::Stop),
        1 => Just(Step::Drain),
    ]
}

struct Stage {
    model: Model,
    records: Records,
    count: Arc<()>,
    // Before the actor, which it borrows.
    sending: Vec<Pin<Box<crate::Sending<'static, Counted>>>>,
    actor: Box<ActorRef<Counted>>,
    worker: Worker,
    system: System,
    owned: bool,
    here: bool,
}

impl Stage {
    fn new(flavour: Flavour, owned: bool, here: bool) -> Self {
        let records = Records(Arc::new(Mutex::new(Record::default())));
        let listener = records.clone();
        let builder = System::builder("test")
            .supervision(Supervision::one_for_one().unlimited_restarts())
            .on_dead_letter(move |letter| {
                let message: &Counted = letter.message.downcast_ref().unwrap();
                listener.0.with(|record| {
                    match letter.reason {
                        DeadLetterReason::Overflow => &mut record.dropped,
                        _ => &mut record.dead,
                    }
                    .push(message.0.number);
                });
            });
        let builder = if owned {
            builder
        } else {
            builder.work_stealing()
        };
        let (system, mut workers) = builder.build().unwrap();
        let listener = records.clone();
        system.events().listen(move |event| {
            if let Event::Pressure {
                pressure, depth, ..
            } = event
            {
                listener
                    .0
                    .with(|record| record.pressure.push((*pressure, *depth)));
            }
        });
        let options = SpawnOptions::new().mailbox(flavour.options()).throughput(1);
        let notes = records.clone();
        let actor = system
            .spawn_with(options, move || Noter(notes.clone()))
            .unwrap();
        let mut worker = workers.pop().unwrap();
        assert!(matches!(worker.poll(100, Waker::noop()), Turn::Idle { .. }));
        Self {
            model: Model::new(flavour),
            records,
            count: Arc::new(()),
            sending: Vec::new(),
            actor: Box::new(actor),
            worker,
            system,
            owned,
            here,
        }
    }

    /// Runs `f` as if it were on the worker's thread, or not.
    fn elsewhere<R>(&self, f: impl FnOnce() -> R) -> R {
        let cell = self.actor.cell();
        let home = core::ptr::from_ref(cell.home()).cast();
        if self.here {
            sync::set_here(Here {
                home,
                alone: if self.owned { home } else { core::ptr::null() },
                lane: core::ptr::from_ref(cell.home().coordinator.lane(0)).cast(),
            });
        }
        let result = f();
        sync::set_here(Here::NOWHERE);
        result
    }

    fn send(&mut self, letter: Letter, how: How) {
        let message = Counted(letter, Arc::clone(&self.count));
        let wanted = self.model.send(letter, how);
        let result = match how {
            How::Tell => Some(self.elsewhere(|| self.actor.tell(message))),
            How::TrySend => Some(self.elsewhere(|| self.actor.try_send(message))),
            How::Send => {
                // SAFETY: the future is dropped before the actor.
                let actor: &'static ActorRef<Counted> =
                    unsafe { &*core::ptr::from_ref(&*self.actor) };
                let mut sending = Box::pin(actor.send(message));
                let result = self.elsewhere(|| poll(sending.as_mut()));
                if result.is_none() {
                    self.sending.push(sending);
                }
                result
            }
        };
        let sent = result.map(|result| match result {
            Ok(()) => Sent::Accepted,
            Err(SendError::Full(_)) => Sent::Full,
            Err(SendError::Closed(back)) => {
                if how == How::Send {
                    self.records
                        .0
                        .with(|record| record.returned.push(back.0.number));
                }
                Sent::Closed
            }
        });
        assert_eq!(sent, wanted, "{letter:?} {how:?}");
    }

    fn poll_sending(&mut self) {
        let mut left = Vec::new();
        for mut sending in self.sending.drain(..) {
            match poll(sending.as_mut()) {
                None => left.push(sending),
                Some(Ok(())) => {}
                Some(Err(refused)) => {
                    let number = refused.into_inner().0.number;
                    self.records.0.with(|record| record.returned.push(number));
                }
            }
        }
        self.sending = left;
    }

    /// Until so many more are handled, or nothing is to do.
    fn run(&mut self, count: usize) {
        let handled = |this: &Self| this.records.0.with(|record| record.handled.len());
        let target = handled(self).saturating_add(count);
        while handled(self) < target {
            if let Turn::Idle { .. } = self.worker.poll(1, Waker::noop()) {
                return;
            }
        }
    }

    fn take(&mut self, step: Step, number: u32) {
        let letter = Letter {
            number,
            priority: 0,
            is_control: false,
            fails: false,
        };
        match step {
            Step::Send(how, priority, is_control) => {
                let letter = Letter {
                    priority,
                    is_control: is_control && self.model.flavour.reserve > 0,
                    ..letter
                };
                self.send(letter, how);
            }
            Step::Run(count) => {
                self.run(count);
                self.model.look();
                for _ in 0..count {
                    self.model.pop();
                }
            }
            Step::Fail => {
                self.send(
                    Letter {
                        fails: true,
                        ..letter
                    },
                    How::TrySend,
                );
                self.run(usize::MAX);
                self.model.look();
                while self.model.pop() {}
            }
            Step::Resize(capacity) => {
                let resized = self.actor.set_capacity(capacity);
                assert_eq!(resized.is_ok(), self.model.limit.is_some());
                if resized.is_ok() {
                    self.model.resized.push_back(capacity);
                }
            }
            // Once only.
            Step::Stop | Step::Drain if self.model.closed => {}
            Step::Stop => {
                self.actor.stop();
                self.run(usize::MAX);
                self.model.look_closed();
                self.model.end();
            }
            Step::Drain => {
                self.actor.stop_gracefully();
                self.run(usize::MAX);
                self.model.look_closed();
                while self.model.pop() {}
            }
        }
        self.poll_sending();
        self.check();
    }

    /// What can be seen is what the model says.
    fn check(&self) {
        let depth = self.model.depth();
        if let Some(seen) = self.actor.depth() {
            assert_eq!(seen, depth);
        }
        if self.model.resized.is_empty() && !self.model.closed {
            assert_eq!(self.actor.capacity(), self.model.limit);
        }
        let seen = self.records.0.with(|record| record.clone());
        assert_eq!(seen, self.model.seen);
        assert_eq!(self.system.metrics().overflowed, seen.dropped.len());
        assert_eq!(
            self.system.metrics().dead_letters,
            seen.dropped.len() + seen.dead.len()
        );
        let held = depth + self.model.waiting.len();
        assert_eq!(Arc::strong_count(&self.count), 1 + held);
    }
}

impl Model {
    /// The runner hears of the end and of the bound at once: those who wait are refused.
    fn look_closed(&mut self) {
        self.closed = true;
        self.look();
        self.close();
    }
}

fn check(flavour: Flavour, owned: bool, here: bool, steps: &[Step]) {
    let mut stage = Stage::new(flavour, owned, here);
    for (number, step) in steps.iter().enumerate() {
        // A mailbox that ended takes no other bound.
        if stage.model.closed && matches!(step, Step::Resize(_)) {
            continue;
        }
        stage.take(*step, number as u32);
    }
    stage.actor.kill();
    stage.run(usize::MAX);
    drop(core::mem::take(&mut stage.sending));
    assert_eq!(Arc::strong_count(&stage.count), 1);
}

const PLAIN: Flavour = Flavour {
    capacity: None,
    policy: MailboxOverflowPolicy::Block,
    ordered: false,
    reserve: 0,
    marks: None,
};

/// Each kind, on a cell that is anybody's, on one that is owned, and told from its owner's thread.
macro_rules! flavours {
    ($($name:ident: $flavour:expr;)*) => { $(
        #[test]
        fn $name() {
            let flavour: Flavour = $flavour;
            let config = ProptestConfig {
                failure_persistence: None,
                cases: if cfg!(miri) { 2 } else { 200 },
                max_shrink_iters: 10_000,
                ..ProptestConfig::default()
            };
            proptest!(config, |(steps in prop::collection::vec(step(), 0..if cfg!(miri) { 12 } else { 60 }), cell in 0..3)| {
                check(flavour, cell != 0, cell == 2, &steps);
            });
        }
    )* };
}

flavours! {
    unbounded: PLAIN;
    slots: Flavour { capacity: Some(3), ..PLAIN };
    slots_of_one: Flavour { capacity: Some(1), ..PLAIN };
    drop_newest: Flavour { capacity: Some(3), policy: MailboxOverflowPolicy::DropNewest, ..PLAIN };
    drop_oldest: Flavour { capacity: Some(3), policy: MailboxOverflowPolicy::DropOldest, ..PLAIN };
    latest: Flavour { capacity: Some(1), policy: MailboxOverflowPolicy::DropOldest, ..PLAIN };
    grow: Flavour { capacity: Some(2), policy: MailboxOverflowPolicy::Grow { max: 5 }, ..PLAIN };
    priority: Flavour { ordered: true, ..PLAIN };
    priority_bounded: Flavour { capacity: Some(4), ordered: true, ..PLAIN };
    priority_drop_newest: Flavour {
        capacity: Some(4), ordered: true, policy: MailboxOverflowPolicy::DropNewest, ..PLAIN
    };
    priority_grow: Flavour {
        capacity: Some(2), ordered: true, policy: MailboxOverflowPolicy::Grow { max: 5 }, ..PLAIN
    };
    control: Flavour { reserve: 2, ..PLAIN };
    control_bounded: Flavour { capacity: Some(2), reserve: 2, ..PLAIN };
    control_drop_oldest: Flavour {
        capacity: Some(2), reserve: 2, policy: MailboxOverflowPolicy::DropOldest, ..PLAIN
    };
    pressure: Flavour { marks: Some((3, 1)), ..PLAIN };
    pressure_bounded: Flavour { capacity: Some(4), marks: Some((4, 0)), ..PLAIN };
    pressure_drop_oldest: Flavour {
        capacity: Some(3), marks: Some((3, 1)), policy: MailboxOverflowPolicy::DropOldest, ..PLAIN
    };
    all_at_once: Flavour {
        capacity: Some(3), ordered: true, reserve: 1, marks: Some((3, 1)),
        policy: MailboxOverflowPolicy::DropNewest,
    };
}
