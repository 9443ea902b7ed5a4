//! What an actor has to do besides its messages: timers, a receive timeout, futures it was given.
//!
//! All of it ends in messages of the actor's own type. They are handed to the handler between two
//! messages of the mailbox, so they take no room there and cannot be refused, and what has been
//! cancelled meanwhile is simply not there any more.
//!
//! ```text
//!   driver, wakers ──deliver──► Mail ──(order)──► collect ──► due ──next──► handler
//!                             any thread                 the runner
//! ```
//!
//! An actor has an agenda once it uses one. Everything here is reached through the pointer that is
//! made then, so a program that uses no timer does not link them.
//!
//! # Concurrency
//!
//! `Mail`: any thread. `Agenda`: the runner.

use crate::cell::CellPtr;
use crate::failure::Failure;
use crate::invoker::Ending;
use crate::mailbox::{Mark, Spot, rare};
use crate::registry::MailboxIndex;
use crate::state::Orders;
use crate::sync::{self, Arc, Map, Mutex, Wakes, Waking};
use crate::time::{NotSet, Target, Time, TimerId};
use crate::timer::{Make, PileUp, Rhythm, Timer, TimerError, TimerKey};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

/// What comes in from elsewhere: whose time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item {
    Timer(Place),
    Timeout(u32),
    Task(Place),
}

/// A place in a list, and how often it has been used. A stale one finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    slot: u32,
    generation: u32,
}

/// Where items are left for the runner. Keeps the memory of the cell.
pub(crate) struct Mail {
    cell: CellPtr,
    items: Mutex<Vec<Item>>,
}

impl Mail {
    fn new(cell: CellPtr) -> Arc<Self> {
        cell.retain();
        Arc::new(Self {
            cell,
            items: Mutex::new(Vec::new()),
        })
    }

    /// Leaves an item and sees to it that the actor looks. *Any thread.*
    pub(crate) fn deliver(&self, item: Item) {
        let first = self.items.with(|items| {
            items.push(item);
            items.len() == 1
        });
        if first {
            self.cell.order(Orders::AGENDA, false);
        }
    }

    /// Makes room for so many items, so that `deliver` allocates only if stale ones are among them.
    fn reserve(&self, count: usize) {
        self.items.with(|items| {
            let missing = count.saturating_sub(items.capacity());
            if missing > 0 {
                items.reserve(count - items.len());
            }
        });
    }

    fn take(&self, into: &mut Vec<Item>) {
        self.items.with(|items| core::mem::swap(items, into));
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        self.cell.release();
    }
}

/// The waker of a future on an agenda.
struct TaskWaker {
    mail: Arc<Mail>,
    place: Place,
    /// Is an item on its way?
    woken: Mutex<bool>,
}

impl Wakes for TaskWaker {
    fn wake(&self) {
        let before = self.woken.with(|woken| core::mem::replace(woken, true));
        if !before {
            self.mail.deliver(Item::Task(self.place));
        }
    }
}

/// A future that makes messages.
pub(crate) trait Task<M> {
    /// The next message, if there is one, and whether there may be more.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<(Option<M>, More)>;
}

/// What a task does after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum More {
    /// It is polled again when the message has been handled.
    Later,
    Over,
}

/// Something with a place that can be taken back.
struct Slots<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    /// The place that `put` fills next.
    fn next(&mut self) -> Place {
        let slot = match self.free.last() {
            Some(slot) => *slot,
            None => {
                let slot = u32::try_from(self.slots.len()).expect("fewer than 2^32 at a time");
                self.slots.push((0, None));
                self.free.push(slot);
                slot
            }
        };
        let (generation, _) = self.slots[slot as usize];
        Place { slot, generation }
    }

    fn put(&mut self, value: T) {
        let place = self.next();
        self.free.pop();
        self.slots[place.slot as usize].1 = Some(value);
    }

    fn get(&mut self, place: Place) -> Option<&mut T> {
        match self.slots.get_mut(place.slot as usize) {
            Some((generation, value)) if *generation == place.generation => value.as_mut(),
            _ => None,
        }
    }

    fn take(&mut self, place: Place) -> Option<T> {
        let (generation, value) = self.slots.get_mut(place.slot as usize)?;
        if *generation != place.generation {
            return None;
        }
        let value = value.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(place.slot);
        Some(value)
    }

    fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

struct Running<M> {
    key: TimerKey,
    rhythm: Rhythm,
    make: Make<M>,
    /// When the tick is due that the wheel knows of, or that is in `due`.
    at: Duration,
    set: Option<TimerId>,
    /// Ticks that are to be handed over at once, besides the one in `due`.
    backlog: u64,
}

struct IdleWatch<M> {
    after: Duration,
    make: Box<dyn FnMut() -> M + Send>,
    ignores: fn(&M) -> bool,
    /// When the last influencing message had been handled.
    since: Duration,
    generation: u32,
    set: Option<TimerId>,
}

struct Given<M> {
    task: Pin<Box<dyn Task<M>>>,
    waker: Arc<Waking<TaskWaker>>,
    /// Its last message has not been handled yet.
    waits: bool,
    /// What it brings has its turn behind the messages that are queued by then. The actor it tells of.
    signal: Option<MailboxIndex>,
}

/// The end of another actor, which has its turn like a message.
struct Signal<M> {
    of: MailboxIndex,
    /// Which messages come before; to be found out.
    behind: Option<Mark>,
    what: M,
}

enum Due<M> {
    Tick(Place),
    Timeout(u32),
    Message(M, Option<Place>),
}

/// The agenda of one actor.
pub(crate) struct Agenda<M> {
    mail: Arc<Mail>,
    items: Vec<Item>,
    due: VecDeque<Due<M>>,
    timers: Slots<Running<M>>,
    keys: Map<TimerKey, Place>,
    tasks: Slots<Given<M>>,
    signals: VecDeque<Signal<M>>,
    watches: Map<MailboxIndex, Place>,
    idle: Option<IdleWatch<M>>,
    idle_generation: u32,
    /// An influencing message was handled and the clock has not been read since.
    touched: bool,
    /// Such a message is being handled, or that of the timeout.
    meets: bool,
    /// What was handed over last: a tick with a fixed delay, or the message of a task.
    in_hand: Option<Item>,
    /// What a future of it panicked with.
    broken: Option<Failure>,
}

/// What [`Diary::collect`] did.
pub(crate) struct Collected {
    /// What there is to hand over: see [`rare`].
    pub(crate) notes: u8,
    /// How many futures were polled.
    pub(crate) polls: u32,
    /// One of them panicked.
    pub(crate) broken: Option<Failure>,
}

/// The agenda as the invoker knows it, which knows no message type.
pub(crate) trait Diary {
    /// Takes the mail in and polls what was woken. What wakes itself meanwhile is left for the next time.
    fn collect(&mut self) -> Collected;

    /// Moves the next message that is due to `out`; false if there is none.
    ///
    /// # Safety
    /// `out` has room for a message of the actor.
    unsafe fn next(&mut self, out: *mut ()) -> bool;

    /// Moves the message of the next signal whose turn has come to `out`; false if there is none. `queued` is
    /// what is in the mailbox.
    ///
    /// # Safety
    /// As [`next`](Self::next).
    unsafe fn next_signal(&mut self, queued: Mark, out: *mut ()) -> bool;

    /// The message that was there has been taken. True if no signal waits any more.
    fn passed(&mut self, spot: Spot) -> bool;

    /// A message is about to be handled.
    ///
    /// # Safety
    /// `message` is a message of the actor.
    unsafe fn meet(&mut self, message: *const ());

    /// A handler has come to its end.
    fn handled(&mut self);

    /// The activation is over.
    fn settle(&mut self);
}

impl<M: 'static> Agenda<M> {
    pub(crate) fn new(cell: CellPtr) -> Self {
        Self {
            mail: Mail::new(cell),
            items: Vec::new(),
            due: VecDeque::new(),
            timers: Slots::new(),
            keys: Map::new(),
            tasks: Slots::new(),
            signals: VecDeque::new(),
            watches: Map::new(),
            idle: None,
            idle_generation: 0,
            touched: false,
            meets: false,
            in_hand: None,
            broken: None,
        }
    }

    fn time(&self) -> Result<&Time, TimerError> {
        let time = self.mail.cell.home().shared.time.as_deref();
        time.ok_or(TimerError::NoTime)
    }

    // === timers ===

    pub(crate) fn start(&mut self, key: TimerKey, timer: Timer<M>) -> Result<(), TimerError> {
        timer.check()?;
        let at = self.time()?.now().saturating_add(timer.first);
        self.cancel(key);
        let place = self.timers.next();
        self.make_room();
        let set = self.set(at, Item::Timer(place))?;
        self.timers.put(Running {
            key,
            rhythm: timer.rhythm,
            make: timer.make,
            at,
            set: Some(set),
            backlog: 0,
        });
        self.keys.insert(key, place);
        Ok(())
    }

    /// Room for one item of each timer and task, and for the timeout.
    fn make_room(&mut self) {
        let count = self.timers.len() + self.tasks.len() + 2;
        self.mail.reserve(count);
        self.items.reserve(count.saturating_sub(self.items.len()));
    }

    fn set(&self, at: Duration, item: Item) -> Result<TimerId, TimerError> {
        let mail = Arc::clone(&self.mail);
        let target = Target::Actor { mail, item };
        self.time()?
            .insert(at, target)
            .map_err(|not_set| match not_set {
                NotSet::Capacity => TimerError::Capacity,
                NotSet::Stopped => TimerError::Stopping,
            })
    }

    /// Takes a timer back, with the ticks that have not been handed over. False if there is none.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> bool {
        let Some(place) = self.keys.remove(&key) else {
            return false;
        };
        let Some(running) = self.timers.take(place) else {
            return false;
        };
        if let (Some(id), Ok(time)) = (running.set, self.time()) {
            time.cancel(id);
        }
        if self.in_hand == Some(Item::Timer(place)) {
            self.in_hand = None;
        }
        true
    }

    pub(crate) fn is_running(&self, key: TimerKey) -> bool {
        self.keys.contains_key(&key)
    }

    /// A tick's turn has come: its message, and the next due time.
    fn tick(&mut self, place: Place) -> Option<M> {
        let now = self.time().ok()?.now();
        let running = self.timers.get(place)?;
        let message = running.make.make();
        match running.rhythm {
            Rhythm::Once => {
                let key = running.key;
                self.keys.remove(&key);
                self.timers.take(place);
                return message;
            }
            Rhythm::Delay(_) => {
                self.in_hand = Some(Item::Timer(place));
                return message;
            }
            Rhythm::Rate(..) if running.backlog > 0 => running.backlog -= 1,
            Rhythm::Rate(period, pile_up) => {
                let late = now.saturating_sub(running.at);
                let missed = late.as_nanos() / period.as_nanos();
                let beyond = late.as_nanos() % period.as_nanos();
                // The next one that lies in the future. What is left of a period fits into 64 bits: at
                // most a hundred years.
                let left = Duration::from_nanos((period.as_nanos() - beyond) as u64);
                running.at = now.max(running.at).saturating_add(left);
                let missed = u64::try_from(missed).unwrap_or(u64::MAX);
                running.backlog = match pile_up {
                    PileUp::Burst => missed,
                    PileUp::Coalesce => missed.min(1),
                    PileUp::Skip => 0,
                };
            }
        }
        if running.backlog > 0 {
            // Behind what else is due by now.
            self.due.push_back(Due::Tick(place));
        } else {
            let at = running.at;
            self.rearm(place, at);
        }
        message
    }

    fn rearm(&mut self, place: Place, at: Duration) {
        // If there is no room left the timer ends: its entry was free a moment ago.
        let set = self.set(at, Item::Timer(place)).ok();
        if let Some(running) = self.timers.get(place) {
            running.at = at;
            running.set = set;
        }
    }

    // === receive timeout ===

    pub(crate) fn set_receive_timeout(
        &mut self,
        after: Duration,
        make: Box<dyn FnMut() -> M + Send>,
        ignores: fn(&M) -> bool,
    ) -> Result<(), TimerError> {
        if after.is_zero() {
            return Err(TimerError::Zero);
        }
        if after > crate::timer::TOO_FAR {
            return Err(TimerError::TooFar);
        }
        let since = self.time()?.now();
        self.cancel_receive_timeout();
        self.make_room();
        let generation = self.idle_generation;
        let set = self.set(since.saturating_add(after), Item::Timeout(generation))?;
        self.idle = Some(IdleWatch {
            after,
            make,
            ignores,
            since,
            generation,
            set: Some(set),
        });
        self.touched = true;
        Ok(())
    }

    pub(crate) fn cancel_receive_timeout(&mut self) -> bool {
        let Some(idle) = self.idle.take() else {
            return false;
        };
        self.idle_generation = self.idle_generation.wrapping_add(1);
        if let (Some(id), Ok(time)) = (idle.set, self.time()) {
            time.cancel(id);
        }
        true
    }

    /// The wheel says that the time is over. It knows nothing of the messages since.
    fn timeout(&mut self, generation: u32) -> Option<M> {
        self.settle();
        let now = self.time().ok()?.now();
        let idle = self
            .idle
            .as_mut()
            .filter(|idle| idle.generation == generation)?;
        let over = now >= idle.since.saturating_add(idle.after);
        let message = over.then(|| (idle.make)());
        if over {
            // Counted from the end of its handler, so that the messages that wait have their turn.
            idle.since = now;
            self.meets = true;
        }
        let next = idle.since.saturating_add(idle.after);
        let set = self.set(next, Item::Timeout(generation)).ok();
        if let Some(idle) = &mut self.idle {
            idle.set = set;
        }
        message
    }

    // === tasks ===

    /// Takes a future that makes messages. It is polled first when the handler in hand is over.
    pub(crate) fn give(&mut self, task: Pin<Box<dyn Task<M>>>) {
        self.run_task(task, None);
    }

    /// Takes a task that tells of the end of another actor. One that is there already is replaced.
    pub(crate) fn watch(&mut self, of: MailboxIndex, task: Pin<Box<dyn Task<M>>>) {
        self.unwatch(of);
        let place = self.run_task(task, Some(of));
        self.watches.insert(of, place);
    }

    /// Takes a watch back, also if the end is known already and was not handed over.
    pub(crate) fn unwatch(&mut self, of: MailboxIndex) -> bool {
        let Some(place) = self.watches.remove(&of) else {
            return false;
        };
        drop(self.tasks.take(place));
        self.signals.retain(|signal| signal.of != of);
        true
    }

    fn run_task(&mut self, task: Pin<Box<dyn Task<M>>>, signal: Option<MailboxIndex>) -> Place {
        let place = self.tasks.next();
        let waker = Arc::new(Waking(TaskWaker {
            mail: Arc::clone(&self.mail),
            place,
            woken: Mutex::new(false),
        }));
        self.tasks.put(Given {
            task,
            waker: Arc::clone(&waker),
            waits: false,
            signal,
        });
        self.make_room();
        waker.0.wake();
        place
    }

    fn poll_task(&mut self, place: Place) {
        let Some(given) = self.tasks.get(place) else {
            return;
        };
        // Before the poll: a wake that comes during it counts.
        given.waker.0.woken.with(|woken| *woken = false);
        if given.waits {
            return;
        }
        let waker = Waking::waker(&given.waker);
        let task = given.task.as_mut();
        let mut broken = None;
        let (handed, more) = match sync::catch(|| task.poll(&mut Context::from_waker(&waker))) {
            Ok(Poll::Pending) => return,
            Ok(Poll::Ready(step)) => step,
            Err(panic) => {
                broken = Some(panic);
                (None, More::Over)
            }
        };
        let goes_on = more == More::Later;
        given.waits = goes_on && handed.is_some();
        let signal = given.signal;
        if let Some(panic) = broken {
            self.breaks(panic);
        }
        match (handed, signal) {
            (Some(what), Some(of)) => self.signals.push_back(Signal {
                of,
                behind: None,
                what,
            }),
            (Some(handed), None) => {
                self.due
                    .push_back(Due::Message(handed, goes_on.then_some(place)));
            }
            (None, Some(of)) => {
                self.watches.remove(&of);
            }
            (None, None) => {}
        }
        if !goes_on {
            let over = self.tasks.take(place);
            if let Err(panic) = sync::catch(|| drop(over)) {
                self.breaks(panic);
            }
        }
    }

    /// A future panicked. The actor fails when the rest of the mail is in, so that nothing of it is lost.
    #[cold]
    fn breaks(&mut self, panic: sync::Panic) {
        self.broken.get_or_insert_with(|| Failure::panic(panic));
    }
}

impl<M: 'static> Diary for Agenda<M> {
    fn collect(&mut self) -> Collected {
        let mut polls = 0;
        self.mail.take(&mut self.items);
        // Back to front, and taken before it is looked at: a future may panic.
        self.items.reverse();
        while let Some(item) = self.items.pop() {
            match item {
                Item::Timer(place) => self.due.push_back(Due::Tick(place)),
                Item::Timeout(generation) => self.due.push_back(Due::Timeout(generation)),
                Item::Task(place) => {
                    self.poll_task(place);
                    polls += 1;
                }
            }
        }
        let due = if self.due.is_empty() { 0 } else { rare::DUE };
        let signals = if self.signals.is_empty() {
            0
        } else {
            rare::SIGNALS
        };
        Collected {
            notes: due | signals,
            polls,
            broken: self.broken.take(),
        }
    }

    unsafe fn next(&mut self, out: *mut ()) -> bool {
        // An actor that ends when its queue is empty does not wait for a pile of ticks.
        let ends = self.mail.cell.mailbox().ending.get() != Ending::Not;
        while let Some(due) = self.due.pop_front() {
            let handed = match due {
                Due::Tick(_) | Due::Timeout(_) if ends => None,
                Due::Tick(place) => self.tick(place),
                Due::Timeout(generation) => self.timeout(generation),
                Due::Message(handed, place) => {
                    self.in_hand = place.map(Item::Task);
                    Some(handed)
                }
            };
            if let Some(handed) = handed {
                // SAFETY: as the caller promises.
                unsafe { out.cast::<M>().write(handed) };
                return true;
            }
        }
        false
    }

    unsafe fn next_signal(&mut self, queued: Mark, out: *mut ()) -> bool {
        for signal in &mut self.signals {
            signal.behind.get_or_insert(queued);
        }
        match self.signals.front() {
            Some(signal) if signal.behind == Some(Mark::Nothing) => {}
            _ => return false,
        }
        let Some(signal) = self.signals.pop_front() else {
            return false;
        };
        self.watches.remove(&signal.of);
        // SAFETY: as the caller promises.
        unsafe { out.cast::<M>().write(signal.what) };
        true
    }

    fn passed(&mut self, spot: Spot) -> bool {
        for mark in self
            .signals
            .iter_mut()
            .filter_map(|signal| signal.behind.as_mut())
        {
            mark.pass(spot);
        }
        self.signals.is_empty()
    }

    unsafe fn meet(&mut self, message: *const ()) {
        if let Some(idle) = &self.idle {
            // SAFETY: as the caller promises.
            let message = unsafe { &*message.cast::<M>() };
            self.meets = !(idle.ignores)(message);
            self.touched |= self.meets;
        }
    }

    fn handled(&mut self) {
        self.touched |= core::mem::take(&mut self.meets);
        match self.in_hand.take() {
            Some(Item::Timer(place)) => {
                if let Some(Running {
                    rhythm: Rhythm::Delay(delay),
                    ..
                }) = self.timers.get(place)
                {
                    let delay = *delay;
                    if let Ok(time) = self.time() {
                        let at = time.now().saturating_add(delay);
                        self.rearm(place, at);
                    }
                }
            }
            Some(Item::Task(place)) => {
                if let Some(given) = self.tasks.get(place) {
                    given.waits = false;
                    given.waker.0.wake();
                }
            }
            Some(Item::Timeout(_)) | None => {}
        }
    }

    fn settle(&mut self) {
        if !core::mem::take(&mut self.touched) {
            return;
        }
        let Ok(now) = self.time().map(Time::now) else {
            return;
        };
        if let Some(idle) = &mut self.idle {
            idle.since = now;
        }
    }
}

impl<M> Drop for Agenda<M> {
    fn drop(&mut self) {
        let time = self.mail.cell.home().shared.time.as_deref();
        if let Some(time) = time {
            let timers = self.timers.slots.iter_mut();
            let timers = timers.filter_map(|(_, running)| running.as_mut()?.set);
            let idle = self.idle.as_mut().and_then(|idle| idle.set);
            timers.chain(idle).for_each(|id| time.cancel(id));
        }
        // Futures and messages are the user's: each may panic when it is dropped.
        for (_, given) in self.tasks.slots.drain(..) {
            sync::quietly(|| drop(given));
        }
        for due in self.due.drain(..) {
            sync::quietly(|| drop(due));
        }
        for signal in self.signals.drain(..) {
            sync::quietly(|| drop(signal));
        }
        for (_, running) in self.timers.slots.drain(..) {
            sync::quietly(|| drop(running));
        }
        let idle = self.idle.take();
        sync::quietly(|| drop(idle));
    }
}
