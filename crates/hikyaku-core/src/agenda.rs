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
//! made then, so a program that uses no timer does not link them. It is there once for all actors: what makes their
//! messages is an entry's [`Source`], which alone knows their type. What an entry does on its turn is in its table
//! ([`Duty`]), so timers bring neither futures nor signals along.
//!
//! # Concurrency
//!
//! `Mail`: any thread. `Agenda`: the runner.

mod names;
mod signals;
mod task;

pub(crate) use self::task::{Given, More, Task};

use self::names::Names;
use self::signals::Line;
use self::task::Job;
use crate::cell::CellPtr;
use crate::invoker::{self, Ending};
use crate::mailbox::{Mark, Spot, rare};
use crate::state::Orders;
use crate::sync::{self, Arc, Mutex};
use crate::time::{self, NotSet, Target, Time, TimerId};
use crate::timer::{Plan, TimerError, TimerKey};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::pin::Pin;
use core::ptr;
use core::time::Duration;

/// The place of an entry, and how often it has been used. A stale one finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    slot: u32,
    generation: u32,
}

/// Where it is left for the runner whose time it is. Keeps the memory of the cell.
pub(crate) struct Mail {
    cell: CellPtr,
    items: Mutex<Vec<Place>>,
}

impl Mail {
    fn new(cell: CellPtr) -> Arc<Self> {
        cell.hold();
        Arc::new(Self {
            cell,
            items: Mutex::new(Vec::new()),
        })
    }

    /// Leaves an item and sees to it that the actor looks. *Any thread.*
    pub(crate) fn deliver(&self, item: Place) {
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
        self.items
            .with(|items| items.reserve(count.saturating_sub(items.len())));
    }

    /// `into` is empty.
    fn take(&self, into: &mut Vec<Place>) {
        self.items.with(|items| {
            let taken = core::mem::take(items);
            *items = core::mem::replace(into, taken);
        });
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        self.cell.release();
    }
}

/// Makes an actor's messages, for an agenda that does not know them.
pub(crate) trait Source {
    /// Writes the next message. False if there is none.
    ///
    /// # Safety
    /// `out` has room for a message of the actor.
    unsafe fn make(self: Pin<&mut Self>, out: *mut ()) -> bool;

    /// Does a message not count for the receive timeout that this is?
    ///
    /// # Safety
    /// It is a message of the actor.
    unsafe fn ignores(&self, _message: *const ()) -> bool {
        false
    }

    /// The future that the messages come from.
    fn job(self: Pin<&mut Self>) -> Option<Pin<&mut dyn Job>> {
        None
    }
}

/// The message of a receive timeout.
pub(crate) struct Idle<F, M> {
    make: F,
    ignores: fn(&M) -> bool,
    made: PhantomData<fn() -> M>,
}

// Nothing in it is pinned.
impl<F, M> Unpin for Idle<F, M> {}

impl<F: FnMut() -> M, M> Idle<F, M> {
    pub(crate) fn new(make: F, ignores: fn(&M) -> bool) -> Self {
        Self {
            make,
            ignores,
            made: PhantomData,
        }
    }
}

impl<F: FnMut() -> M, M> Source for Idle<F, M> {
    unsafe fn make(self: Pin<&mut Self>, out: *mut ()) -> bool {
        let message = (self.get_mut().make)();
        // SAFETY: as the caller promises; a context makes it for its actor's messages.
        unsafe { out.cast::<M>().write(message) };
        true
    }

    unsafe fn ignores(&self, message: *const ()) -> bool {
        // SAFETY: as the caller promises; likewise.
        (self.ignores)(unsafe { &*message.cast::<M>() })
    }
}

/// Something on an agenda: a timer, the receive timeout, or a future.
///
/// A future is like a timer that goes on when its message has been handled, until its last one.
pub(crate) struct Entry {
    name: Option<TimerKey>,
    duty: &'static Duty,
    source: Pin<Box<dyn Source>>,
    late: Option<Late>,
    /// All times are in nanoseconds: what is reckoned with them takes a third of the code on a small machine.
    period: u64,
    /// When the tick is due that the wheel knows of, or that is in `due`; or the timeout.
    at: u64,
    set: Option<TimerId>,
    /// Ticks that are due by then are handed over at once.
    until: u64,
    /// The last message of the future has not been handled yet.
    waits: bool,
}

/// What is done with an entry. Each rhythm has its own, so a program links those that it uses.
pub(crate) struct Duty {
    /// Its time has come, or it was woken. False if it is over.
    arrive: fn(&mut Entry, &mut Desk, Place) -> bool,
    /// It has its turn, and writes its message.
    ///
    /// # Safety
    /// As [`Source::make`].
    turn: unsafe fn(&mut Entry, &mut Desk, Place, *mut ()) -> Turn,
    /// The message has been handled after which it goes on.
    handled: fn(&mut Entry, &mut Desk, Place),
    /// Does it end with the order to end?
    ends: bool,
}

/// What came of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Nothing,
    Message,
    /// A message, and there will be no other one.
    Last,
}

/// One message.
pub(crate) const ONCE: &Duty = &Duty {
    arrive: is_due,
    turn: once,
    handled: |_, _, _| {},
    ends: true,
};

/// The period goes from one due time to the next.
pub(crate) const RATE: &Duty = &Duty {
    turn: tick,
    ..*ONCE
};

/// It goes from the end of a handler to the next due time.
pub(crate) const DELAY: &Duty = &Duty {
    turn: and_wait,
    handled: go_on,
    ..*ONCE
};

const TIMEOUT: &Duty = &Duty {
    turn: timeout,
    ..*ONCE
};

fn is_due(_: &mut Entry, desk: &mut Desk, place: Place) -> bool {
    desk.due.push(place);
    true
}

/// The only message, or the last one.
///
/// # Safety
/// As [`Source::make`].
unsafe fn once(entry: &mut Entry, _: &mut Desk, _: Place, out: *mut ()) -> Turn {
    // SAFETY: as the caller promises.
    match unsafe { entry.source.as_mut().make(out) } {
        true => Turn::Last,
        false => Turn::Nothing,
    }
}

/// A message, after which it goes on when that has been handled.
///
/// # Safety
/// As [`Source::make`].
unsafe fn and_wait(entry: &mut Entry, desk: &mut Desk, place: Place, out: *mut ()) -> Turn {
    // SAFETY: as the caller promises.
    if !unsafe { entry.source.as_mut().make(out) } {
        return Turn::Nothing;
    }
    desk.in_hand = Some(place);
    Turn::Message
}

/// A tick's turn has come: its message, and the next due time.
///
/// # Safety
/// As [`Source::make`].
unsafe fn tick(entry: &mut Entry, desk: &mut Desk, place: Place, out: *mut ()) -> Turn {
    // SAFETY: as the caller promises.
    if !unsafe { entry.source.as_mut().make(out) } {
        return Turn::Nothing;
    }
    if entry.at >= entry.until {
        entry.until = desk.now();
    }
    entry.at = entry.at.saturating_add(entry.period);
    if let Some(late) = entry.late {
        late(entry);
    }
    if entry.at <= entry.until {
        // Behind what else is due by now.
        desk.due.push(place);
    } else {
        entry.rearm(desk, place);
    }
    Turn::Message
}

/// What becomes of ticks that pile up. Who chooses it brings it along.
pub(crate) type Late = fn(&mut Entry);

/// Of those that were missed there is the last one.
pub(crate) fn coalesce(entry: &mut Entry) {
    if let Some(late) = entry.until.checked_sub(entry.at) {
        let (_, beyond) = time::divide(late, entry.period);
        entry.at = entry.until - beyond;
    }
}

/// Of those that were missed there is none.
pub(crate) fn skip(entry: &mut Entry) {
    coalesce(entry);
    if entry.at <= entry.until {
        entry.at = entry.at.saturating_add(entry.period);
    }
}

/// The delay of a timer begins.
fn go_on(entry: &mut Entry, desk: &mut Desk, place: Place) {
    entry.at = desk.now().saturating_add(entry.period);
    entry.rearm(desk, place);
}

/// The wheel says that the time is over. It knows nothing of the messages since.
///
/// # Safety
/// As [`Source::make`].
unsafe fn timeout(entry: &mut Entry, desk: &mut Desk, place: Place, out: *mut ()) -> Turn {
    let now = desk.now();
    entry.put_off(desk, now);
    // SAFETY: as the caller promises.
    let over = now >= entry.at && unsafe { entry.source.as_mut().make(out) };
    if over {
        // Counted from the end of its handler, so that the messages that wait have their turn.
        entry.at = now.saturating_add(entry.period);
        desk.meets = true;
    }
    entry.rearm(desk, place);
    if over { Turn::Message } else { Turn::Nothing }
}

impl Entry {
    /// Sets the timer anew.
    fn rearm(&mut self, desk: &Desk, place: Place) {
        // If there is no room left the timer ends: its entry was free a moment ago.
        self.set = desk.set(self.at, place).ok();
    }

    /// The receive timeout begins again if a message was handled that counts.
    fn put_off(&mut self, desk: &mut Desk, now: u64) {
        if core::mem::take(&mut desk.touched) {
            self.at = now.saturating_add(self.period);
        }
    }
}

/// Entries, at places that can be taken back.
struct Slots {
    slots: Vec<Slot>,
    /// The first free one, if it is one.
    free: u32,
}

struct Slot {
    generation: u32,
    content: Content,
}

enum Content {
    Entry(Entry),
    /// The next free slot.
    Free(u32),
}

impl Slots {
    /// No slot.
    const NONE: u32 = u32::MAX;

    /// The place that `put` fills next.
    fn next(&mut self) -> Place {
        if self.free == Self::NONE {
            // Fits: there is memory for fewer.
            self.free = self.slots.len() as u32;
            self.slots.push(Slot {
                generation: 0,
                content: Content::Free(Self::NONE),
            });
        }
        let slot = self.free;
        let generation = self.slots[slot as usize].generation;
        Place { slot, generation }
    }

    fn put(&mut self, entry: Entry) -> Place {
        let place = self.next();
        let content = &mut self.slots[place.slot as usize].content;
        if let Content::Free(next) = *content {
            self.free = next;
        }
        *content = Content::Entry(entry);
        place
    }

    fn get(&mut self, place: Place) -> Option<&mut Entry> {
        match self.slots.get_mut(place.slot as usize)? {
            Slot {
                generation,
                content: Content::Entry(entry),
            } if *generation == place.generation => Some(entry),
            _ => None,
        }
    }

    /// Drops the entry that is there.
    fn empty(&mut self, place: Place) {
        if let Some(slot) = self.slots.get_mut(place.slot as usize) {
            slot.generation = slot.generation.wrapping_add(1);
            slot.content = Content::Free(core::mem::replace(&mut self.free, place.slot));
        }
    }
}

/// Places, first come, first served. Two piles: a ring that grows brings what moves memory that may overlap, a kilobyte
/// where the machine is small.
#[derive(Default)]
struct Row {
    /// The last to come lies on top.
    coming: Vec<Place>,
    /// The next to go does.
    going: Vec<Place>,
}

impl Row {
    fn push(&mut self, place: Place) {
        self.coming.push(place);
    }

    fn pop(&mut self) -> Option<Place> {
        if self.going.is_empty() {
            core::mem::swap(&mut self.coming, &mut self.going);
            self.going.reverse();
        }
        self.going.pop()
    }

    fn is_empty(&self) -> bool {
        self.coming.is_empty() && self.going.is_empty()
    }
}

/// What all entries have in common.
pub(crate) struct Desk {
    mail: Arc<Mail>,
    due: Row,
    /// Ends of other actors, which have their turns like messages. There is a line once one is watched.
    signals: Option<Box<dyn Line>>,
    /// An influencing message was handled and the clock has not been read since.
    touched: bool,
    /// Such a message is being handled, or that of the timeout.
    meets: bool,
    /// What was handed over last, if it goes on when that has been handled.
    in_hand: Option<Place>,
    /// How many futures were polled.
    polls: u32,
}

impl Desk {
    /// The one copy of it.
    #[inline(never)]
    fn time(&self) -> Option<&dyn Time> {
        self.mail.cell.home().shared.time.as_deref()
    }

    fn now(&self) -> u64 {
        self.time().map_or(0, Time::nanos)
    }

    fn set(&self, at: u64, item: Place) -> Result<TimerId, TimerError> {
        let mail = Arc::clone(&self.mail);
        let time = self.time().ok_or(TimerError::NoTime)?;
        time.works()
            .insert_at(at, Target::Actor { mail, item })
            .map_err(|not_set| match not_set {
                NotSet::Capacity => TimerError::Capacity,
                NotSet::Stopped => TimerError::Stopping,
            })
    }

    fn unset(&self, entry: &Entry) {
        if let (Some(id), Some(time)) = (entry.set, self.time()) {
            time.works().cancel(id);
        }
    }
}

/// The agenda of one actor.
pub(crate) struct Agenda {
    desk: Desk,
    entries: Slots,
    names: Names,
    idle: Option<Timeout>,
    items: Vec<Place>,
}

/// The agenda as the invoker knows it, which brings nothing of it along.
pub(crate) trait Diary {
    /// Takes the mail in and polls what was woken. What wakes itself meanwhile is left for the next time. Says what
    /// there is to hand over, see [`rare`], and how many futures were polled.
    fn collect(&mut self) -> (u8, u32);

    /// Moves the next message that is due to `out`, or that of the next signal whose turn has come; false if there is
    /// none. `queued` is what is in the mailbox, if it is to be a signal.
    ///
    /// # Safety
    /// `out` has room for a message of the actor.
    unsafe fn next(&mut self, queued: Option<Mark>, out: *mut ()) -> bool;

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

impl Agenda {
    fn new(cell: CellPtr) -> Self {
        Self {
            desk: Desk {
                mail: Mail::new(cell),
                due: Row::default(),
                signals: None,
                touched: false,
                meets: false,
                in_hand: None,
                polls: 0,
            },
            entries: Slots {
                slots: Vec::new(),
                free: Slots::NONE,
            },
            names: Names::new(),
            idle: None,
            items: Vec::new(),
        }
    }

    /// The agenda of an actor, which is made if there is none.
    ///
    /// # Safety
    /// The caller is the runner of the cell, and uses the agenda in its handler.
    pub(crate) unsafe fn of<'a>(cell: CellPtr) -> Result<&'a mut Self, TimerError> {
        let state = cell.mailbox();
        if state.is_winding_down() {
            return Err(TimerError::Stopping);
        }
        // SAFETY: as the caller promises.
        let cold = unsafe {
            invoker::look_beyond(cell, rare::AGENDA);
            cell.cold()
        };
        let diary = cold.agenda.get_or_insert_with(|| Box::new(Self::new(cell)));
        // SAFETY: made here, as one of these; and as the caller promises.
        Ok(unsafe { &mut *ptr::from_mut(&mut **diary).cast() })
    }

    /// The agenda, if there is one.
    ///
    /// # Safety
    /// As [`of`](Self::of).
    pub(crate) unsafe fn if_any<'a>(cell: CellPtr) -> Option<&'a mut Self> {
        // SAFETY: as the caller promises.
        let diary = unsafe { cell.diary() }?;
        // SAFETY: made by `of`.
        Some(unsafe { &mut *ptr::from_mut(diary).cast() })
    }

    // === timers ===

    pub(crate) fn start(
        &mut self,
        key: TimerKey,
        plan: &Plan,
        source: Pin<Box<dyn Source>>,
    ) -> Result<(), TimerError> {
        self.set(key, plan, source).map(drop)
    }

    fn set(
        &mut self,
        name: TimerKey,
        plan: &Plan,
        source: Pin<Box<dyn Source>>,
    ) -> Result<Place, TimerError> {
        let (first, period) = plan.check()?;
        let now = self.desk.time().ok_or(TimerError::NoTime)?.nanos();
        if let Some(old) = self.names.find(name, &self.entries) {
            // The name is the new one's.
            self.drop_entry(old);
        }
        let at = now.saturating_add(first);
        let place = self.entries.next();
        self.make_room();
        let set = self.desk.set(at, place);
        let set = set.inspect_err(|_| self.names.remove(name))?;
        self.names.insert(name, place);
        Ok(self.entries.put(Entry {
            name: Some(name),
            duty: plan.duty,
            source,
            late: plan.late,
            period,
            at,
            set: Some(set),
            until: 0,
            waits: false,
        }))
    }

    /// Room for one item of each entry.
    fn make_room(&mut self) {
        let count = self.entries.slots.len();
        self.desk.mail.reserve(count);
        self.items.reserve(count);
    }

    /// Takes an entry back, with what has not been handed over of it. False if there is none.
    pub(crate) fn cancel(&mut self, name: TimerKey) -> bool {
        let place = self.names.find(name, &self.entries);
        self.names.remove(name);
        place.is_some_and(|place| self.drop_entry(place))
    }

    fn timeout(&mut self) -> Option<&mut Entry> {
        self.entries.get(self.idle?.place)
    }

    /// Takes an entry out that is over. Apart, for the sake of those that go on.
    #[inline(never)]
    fn remove(&mut self, place: Place) {
        if let Some(name) = self.entries.get(place).and_then(|entry| entry.name) {
            self.names.remove(name);
        }
        self.drop_entry(place);
    }

    /// Its name stays. False if there is none.
    fn drop_entry(&mut self, place: Place) -> bool {
        let Some(entry) = self.entries.get(place) else {
            return false;
        };
        self.desk.unset(entry);
        self.entries.empty(place);
        true
    }

    pub(crate) fn is_running(&mut self, key: TimerKey) -> bool {
        let place = self.names.find(key, &self.entries);
        // A name may be left behind by a message that panicked when it was dropped.
        place.is_some_and(|place| self.entries.get(place).is_some())
    }

    pub(crate) fn set_receive_timeout(
        &mut self,
        after: Duration,
        source: Pin<Box<dyn Source>>,
    ) -> Result<(), TimerError> {
        let plan = Plan::every(after, TIMEOUT);
        let place = self.set(TimerKey::TIMEOUT, &plan, source)?;
        self.idle = Some(Timeout {
            place,
            meet,
            settle,
        });
        self.desk.touched = true;
        Ok(())
    }

    pub(crate) fn cancel_receive_timeout(&mut self) -> bool {
        self.cancel(TimerKey::TIMEOUT)
    }

    /// The turn of what is at a place. True if it has written a message.
    ///
    /// # Safety
    /// As [`Diary::next`].
    unsafe fn turn(&mut self, place: Place, out: *mut ()) -> bool {
        let Some(entry) = self.entries.get(place) else {
            return false;
        };
        // An actor that ends when its queue is empty does not wait for a pile of ticks.
        let mailbox = self.desk.mail.cell.mailbox();
        if entry.duty.ends && mailbox.ending.get() != Ending::Not {
            return false;
        }
        // SAFETY: as the caller promises.
        let turn = unsafe { (entry.duty.turn)(entry, &mut self.desk, place, out) };
        if turn == Turn::Last {
            self.remove(place);
        }
        turn != Turn::Nothing
    }
}

/// The receive timeout. Who sets it brings along what it does with each message.
#[derive(Clone, Copy)]
struct Timeout {
    place: Place,
    meet: unsafe fn(&mut Agenda, *const ()),
    settle: fn(&mut Agenda),
}

/// # Safety
/// As [`Diary::meet`].
unsafe fn meet(agenda: &mut Agenda, message: *const ()) {
    if let Some(entry) = agenda.timeout() {
        // SAFETY: as the caller promises.
        let meets = !unsafe { entry.source.ignores(message) };
        agenda.desk.meets = meets;
        agenda.desk.touched |= meets;
    }
}

fn settle(agenda: &mut Agenda) {
    if agenda.desk.touched {
        let now = agenda.desk.now();
        if let Some(place) = agenda.idle.map(|idle| idle.place)
            && let Some(entry) = agenda.entries.get(place)
        {
            entry.put_off(&mut agenda.desk, now);
        }
        agenda.desk.touched = false;
    }
}

impl Diary for Agenda {
    fn collect(&mut self) -> (u8, u32) {
        self.items.clear();
        self.desk.mail.take(&mut self.items);
        for at in 0..self.items.len() {
            let place = self.items[at];
            if let Some(entry) = self.entries.get(place)
                && !(entry.duty.arrive)(entry, &mut self.desk, place)
            {
                self.remove(place);
            }
        }
        let desk = &mut self.desk;
        let mut notes = 0;
        if !desk.due.is_empty() {
            notes |= rare::DUE;
        }
        if desk.signals.as_ref().is_some_and(|line| !line.is_empty()) {
            notes |= rare::SIGNALS;
        }
        (notes, core::mem::take(&mut desk.polls))
    }

    unsafe fn next(&mut self, queued: Option<Mark>, out: *mut ()) -> bool {
        loop {
            let place = match (queued, &mut self.desk.signals) {
                (None, _) => self.desk.due.pop(),
                (Some(queued), Some(line)) => line.next(queued),
                (Some(_), None) => None,
            };
            let Some(place) = place else {
                return false;
            };
            // SAFETY: as the caller promises.
            if unsafe { self.turn(place, out) } {
                return true;
            }
        }
    }

    fn passed(&mut self, spot: Spot) -> bool {
        match &mut self.desk.signals {
            Some(line) => line.passed(spot),
            None => true,
        }
    }

    unsafe fn meet(&mut self, message: *const ()) {
        if let Some(idle) = self.idle {
            // SAFETY: as the caller promises.
            unsafe { (idle.meet)(self, message) };
        }
    }

    fn handled(&mut self) {
        let desk = &mut self.desk;
        desk.touched |= core::mem::take(&mut desk.meets);
        if let Some(place) = desk.in_hand.take()
            && let Some(entry) = self.entries.get(place)
        {
            (entry.duty.handled)(entry, desk, place);
        }
    }

    fn settle(&mut self) {
        if let Some(idle) = self.idle {
            (idle.settle)(self);
        }
    }
}

impl Drop for Agenda {
    fn drop(&mut self) {
        for slot in 0..self.entries.slots.len() {
            let generation = self.entries.slots[slot].generation;
            let slot = slot as u32;
            // Futures and messages are the user's: each may panic when it is dropped.
            sync::quietly(|| {
                self.drop_entry(Place { slot, generation });
            });
        }
    }
}
