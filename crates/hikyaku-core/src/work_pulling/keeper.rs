//! The keeper of a pool: who does what, and what waits for whom.
//!
//! ```text
//!   place:  Starting ──ready──► Idle ──job──► Busy ──done──► Idle
//!              ▲  │                             │ ready again: its worker was restarted, the job is tried again
//!              │  └── gone before it was ready ─┼──► Down, for a while
//!              └──────────── gone ──────────────┘
//! ```
//!
//! A job waits in `ready`, or in the backlog of a place: because the place has jobs of the same key, or had
//! the job in hand when its worker failed. A worker takes from the backlog of its place first.

use super::{Answer, JobError, JobOverflow, Work, WorkPoolBuilder, WorkSettings, WorkStats};
use crate::actor::{Actor, Context};
use crate::actor_ref::{ActorRef, WeakRef};
use crate::ask::Reply;
use crate::failure::Failure;
use crate::registry::MailboxIndex;
use crate::supervision::Backoff;
use crate::sync::{self, Arc};
use crate::timer::Timer;
use alloc::boxed::Box;
use alloc::collections::btree_map::Entry;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// The pause before a worker is made anew that ended before it was ready.
const PAUSE: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

/// The actor that does the [`Work`].
#[derive(Debug)]
pub struct Hand<W: Work> {
    worker: W,
    place: usize,
    keeper: WeakRef<Order<W>>,
}

/// A job for a worker.
pub struct Assignment<W: Work> {
    number: u64,
    job: Arc<W::Job>,
}

impl<W: Work> fmt::Debug for Assignment<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Assignment").field(&self.number).finish()
    }
}

impl<W: Work> Hand<W> {
    fn report(&self, order: Order<W>) {
        // If the keeper is about to end, so is this worker.
        if let Some(keeper) = self.keeper.upgrade() {
            let _ = keeper.tell(order);
        }
    }
}

impl<W: Work> Actor for Hand<W> {
    type Msg = Assignment<W>;

    async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.report(Order::Ready(self.place, cx.index()));
        Ok(())
    }

    async fn handle(
        &mut self,
        Assignment { number, job }: Assignment<W>,
        cx: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        let done = self.worker.work(&job, cx).await?;
        drop(job);
        self.report(Order::Done(self.place, number, done));
        Ok(())
    }
}

/// What the keeper is told.
pub(super) enum Order<W: Work> {
    Submit(W::Job, Option<Answer<W>>),
    Configure(Box<dyn FnOnce(&mut WorkSettings) + Send>),
    Stats(Reply<WorkStats>),
    Drain,
    /// The worker of a place has started, perhaps anew.
    Ready(usize, MailboxIndex),
    /// It has done a job.
    Done(usize, u64, W::Done),
    /// It has ended.
    Gone(usize, MailboxIndex),
    /// It is time for something.
    Due,
}

impl<W: Work> Order<W> {
    /// The job that comes back to who handed it in.
    pub(super) fn into_job(self) -> W::Job {
        match self {
            Self::Submit(job, _) => job,
            _ => unreachable!("only what was handed in comes back"),
        }
    }
}

struct Task<W: Work> {
    job: Arc<W::Job>,
    /// In the order in which they came.
    number: u64,
    answer: Option<Answer<W>>,
    key: Option<u64>,
    expires: Duration,
    /// How often it was begun.
    attempts: u32,
    /// It is in a backlog or in hand.
    placed: bool,
}

enum State<W: Work> {
    Starting,
    Idle,
    /// Has a job since then.
    Busy(Task<W>, Duration),
    /// To be made at that time.
    Down(Duration),
}

/// The jobs of one key.
#[derive(Default)]
struct Jobs {
    /// How many are in `ready`.
    waiting: usize,
    /// How many are at the place, the one in hand included.
    placed: usize,
    /// Which place, if there are any.
    place: usize,
}

struct Place<W: Work> {
    state: State<W>,
    actor: Option<ActorRef<Assignment<W>>>,
    backlog: VecDeque<Task<W>>,
    /// Workers in a row that ended before they were ready.
    stillborn: u32,
    /// Takes no more than its backlog, then goes.
    leaving: bool,
}

impl<W: Work> Place<W> {
    fn new() -> Self {
        Self {
            state: State::Starting,
            actor: None,
            backlog: VecDeque::new(),
            stillborn: 0,
            leaving: false,
        }
    }
}

/// The actor.
pub(super) struct Keeper<W: Work> {
    plan: Arc<WorkPoolBuilder<W>>,
    settings: WorkSettings,
    places: BTreeMap<usize, Place<W>>,
    /// The places that are idle.
    idle: BTreeSet<usize>,
    ready: VecDeque<Task<W>>,
    /// Every key that has jobs.
    keys: BTreeMap<u64, Jobs>,
    numbered: u64,
    draining: bool,
    /// When the timer is due.
    due: Duration,
    /// When the rate would be used up, had it all been begun evenly.
    used: Duration,
    stats: WorkStats,
}

impl<W: Work> Keeper<W> {
    pub(super) fn new(plan: Arc<WorkPoolBuilder<W>>) -> Self {
        Self {
            settings: plan.settings.clone(),
            plan,
            places: BTreeMap::new(),
            idle: BTreeSet::new(),
            ready: VecDeque::new(),
            keys: BTreeMap::new(),
            numbered: 0,
            draining: false,
            due: Duration::MAX,
            used: Duration::ZERO,
            stats: WorkStats::default(),
        }
    }

    // === jobs that come ===

    fn submit(&mut self, job: W::Job, answer: Option<Answer<W>>, cx: &mut Context<'_, Self>) {
        if self.draining {
            if let Some(answer) = answer {
                let _ = answer.send(Err(JobError::Closed));
            }
            sync::quietly(|| drop(job));
            return;
        }
        let mut key = None;
        if let Some(key_of) = self.plan.key {
            sync::quietly(|| key = Some(key_of(&job)));
        }
        self.numbered += 1;
        let expires = match self.settings.time_to_live {
            Some(limit) => cx.now().saturating_add(limit),
            None => Duration::MAX,
        };
        let task = Task {
            key,
            job: Arc::new(job),
            number: self.numbered,
            answer,
            expires,
            attempts: 0,
            placed: false,
        };
        self.stats.queued += 1;
        match self.behind_which(task.key) {
            Some(place) => self.put_behind(place, task),
            None => {
                self.count_waiting(&task, true);
                self.ready.push_back(task);
            }
        }
        // An idle place has a backlog only if the rate was used up.
        if !self.ready.is_empty() || self.settings.rate.is_some() {
            self.feed_idle(cx);
        }
        self.shed();
        self.remind(expires, cx);
    }

    /// The place that has jobs of this key.
    fn place_of(&self, key: Option<u64>) -> Option<usize> {
        let jobs = self.keys.get(&key?)?;
        (jobs.placed > 0).then_some(jobs.place)
    }

    /// Where a job that has come is to wait, if not for all: behind others of its key, unless some of these wait for
    /// all, too.
    fn behind_which(&self, key: Option<u64>) -> Option<usize> {
        let jobs = self.keys.get(&key?)?;
        (jobs.waiting == 0).then_some(jobs.place)
    }

    /// A job comes to `ready`, or leaves it.
    fn count_waiting(&mut self, task: &Task<W>, comes: bool) {
        if let Some(key) = task.key {
            let jobs = self.keys.entry(key).or_default();
            if comes {
                jobs.waiting += 1;
            } else {
                jobs.waiting -= 1;
            }
            self.tidy(key);
        }
    }

    /// A job joins a place, and its key with it.
    fn hold(&mut self, task: &mut Task<W>, place: usize) {
        task.placed = true;
        if let Some(key) = task.key {
            let jobs = self.keys.entry(key).or_default();
            jobs.place = place;
            jobs.placed += 1;
        }
    }

    /// A job leaves its place.
    fn release(&mut self, task: &Task<W>) {
        if let Some(key) = task.key
            && let Some(jobs) = self.keys.get_mut(&key)
        {
            jobs.placed -= 1;
            self.tidy(key);
        }
    }

    fn tidy(&mut self, key: u64) {
        if let Some(jobs) = self.keys.get(&key)
            && jobs.placed + jobs.waiting == 0
        {
            self.keys.remove(&key);
        }
    }

    fn put_behind(&mut self, place: usize, mut task: Task<W>) {
        self.hold(&mut task, place);
        if let Some(place) = self.places.get_mut(&place) {
            place.backlog.push_back(task);
        }
    }

    /// Lets jobs go until those that are left have room.
    fn shed(&mut self) {
        while self.stats.queued > self.settings.capacity {
            let oldest = self.settings.overflow == JobOverflow::Oldest;
            let backlogs = self.places.values_mut().map(|place| &mut place.backlog);
            let queue = backlogs
                .chain([&mut self.ready])
                .filter(|queue| !queue.is_empty());
            // Every queue is in the order of the numbers, but for what is tried again.
            let queue = if oldest {
                queue.min_by_key(|queue| queue.front().map(|task| task.number))
            } else {
                queue.max_by_key(|queue| queue.back().map(|task| task.number))
            };
            let task = queue.and_then(|queue| {
                if oldest {
                    queue.pop_front()
                } else {
                    queue.pop_back()
                }
            });
            let Some(task) = task else { break };
            self.let_go(task, JobError::Discarded);
        }
    }

    /// Gives up a job that was waiting.
    fn let_go(&mut self, task: Task<W>, why: JobError) {
        self.stats.queued -= 1;
        if task.placed {
            self.release(&task);
        } else {
            self.count_waiting(&task, false);
        }
        self.give_up(task, why);
    }

    fn give_up(&mut self, task: Task<W>, why: JobError) {
        match why {
            JobError::Discarded => self.stats.discarded += 1,
            JobError::Expired => self.stats.expired += 1,
            _ => self.stats.failed += 1,
        }
        if let Some(handler) = &self.plan.on_discard {
            sync::quietly(|| handler(&task.job, why));
        }
        if let Some(answer) = task.answer {
            let _ = answer.send(Err(why));
        }
        sync::quietly(|| drop(task.job));
    }

    // === jobs that are begun ===

    /// Gives jobs to places that are idle.
    fn feed_idle(&mut self, cx: &mut Context<'_, Self>) {
        let mut from = 0;
        while self.stats.queued > 0
            && let Some(place) = self.idle.range(from..).next().copied()
            && self.feed(place, cx)
        {
            from = place + 1;
        }
    }

    /// Gives the next job to a place that is idle, if there is one. False if the rate is used up.
    fn feed(&mut self, number: usize, cx: &mut Context<'_, Self>) -> bool {
        let now = cx.now();
        loop {
            if self.stats.queued == 0 {
                return true;
            }
            if !self.may_begin(now, cx) {
                return false;
            }
            let Some(task) = self.next_for(number) else {
                return true;
            };
            if task.expires <= now {
                self.let_go(task, JobError::Expired);
                continue;
            }
            self.stats.queued -= 1;
            self.begin(number, task, now, cx);
            return true;
        }
    }

    /// Takes the next job that this place may have out of its queue.
    fn next_for(&mut self, number: usize) -> Option<Task<W>> {
        let place = self.places.get_mut(&number)?;
        if let Some(task) = place.backlog.pop_front() {
            return Some(task);
        }
        if place.leaving {
            return None;
        }
        loop {
            let mut task = self.ready.pop_front()?;
            self.count_waiting(&task, false);
            match self.place_of(task.key) {
                Some(other) if other != number => self.put_behind(other, task),
                _ => {
                    self.hold(&mut task, number);
                    return Some(task);
                }
            }
        }
    }

    fn begin(
        &mut self,
        number: usize,
        mut task: Task<W>,
        now: Duration,
        cx: &mut Context<'_, Self>,
    ) {
        if let Some((count, per)) = self.settings.rate {
            self.used = self.used.max(now).saturating_add(per / count.max(1));
        }
        let Some(place) = self.places.get_mut(&number) else {
            return;
        };
        let assignment = Assignment {
            number: task.number,
            job: Arc::clone(&task.job),
        };
        // If it has ended, that is told soon, and the job is then tried again as if for the first time.
        let begun = place
            .actor
            .as_ref()
            .is_some_and(|actor| actor.tell(assignment).is_ok());
        task.attempts += u32::from(begun);
        place.state = State::Busy(task, now);
        self.idle.remove(&number);
        self.stats.in_hand += 1;
        if let Some(patience) = self.settings.patience {
            self.remind(now.saturating_add(patience), cx);
        }
    }

    /// Does the rate allow for another job? If not, the timer is set to when it does.
    fn may_begin(&mut self, now: Duration, cx: &mut Context<'_, Self>) -> bool {
        let rate = self.settings.rate.filter(|(_, per)| !per.is_zero());
        let Some((count, per)) = rate else {
            return true;
        };
        // What is used up is paid back evenly; the whole of it may be used at once.
        let unpaid = self.used.saturating_sub(now);
        let wait = unpaid.saturating_sub(per - per / count.max(1));
        if !wait.is_zero() {
            self.remind(now.saturating_add(wait), cx);
        }
        wait.is_zero()
    }

    // === what becomes of them ===

    fn done(&mut self, number: usize, job: u64, done: W::Done, cx: &mut Context<'_, Self>) {
        let Some(task) = self.take_from_hand(number, job) else {
            return sync::quietly(|| drop(done));
        };
        self.stats.in_hand -= 1;
        self.stats.done += 1;
        self.release(&task);
        let Task { job, answer, .. } = task;
        // Nobody may wait for it any more: then it is dropped here, as the job is.
        sync::quietly(|| drop(answer.map(|answer| answer.send(Ok(done)))));
        sync::quietly(|| drop(job));
        self.rest(number, cx);
    }

    /// The job in hand at a place, if it is this one.
    fn take_from_hand(&mut self, number: usize, job: u64) -> Option<Task<W>> {
        let place = self.places.get_mut(&number)?;
        if !matches!(&place.state, State::Busy(task, _) if task.number == job) {
            return None;
        }
        match core::mem::replace(&mut place.state, State::Idle) {
            State::Busy(task, _) => Some(task),
            _ => None,
        }
    }

    /// A place has nothing in hand, and a worker that is ready.
    fn rest(&mut self, number: usize, cx: &mut Context<'_, Self>) {
        self.idle.insert(number);
        self.feed(number, cx);
        let place = self.places.get(&number);
        let over = place.is_some_and(|place| {
            place.leaving && matches!(place.state, State::Idle) && place.backlog.is_empty()
        });
        if over {
            self.dismiss(number);
        }
    }

    /// The attempt at the job in hand has failed: the place gets it first, if it may be tried again.
    fn fail(&mut self, number: usize) {
        let Some(place) = self.places.get_mut(&number) else {
            return;
        };
        let State::Busy(task, _) = core::mem::replace(&mut place.state, State::Starting) else {
            return;
        };
        self.stats.in_hand -= 1;
        if task.attempts < self.settings.attempts.max(1) {
            self.stats.retried += usize::from(task.attempts > 0);
            self.stats.queued += 1;
            place.backlog.push_front(task);
        } else {
            self.release(&task);
            self.give_up(task, JobError::Failed);
        }
    }

    // === workers ===

    fn worker_ready(&mut self, number: usize, who: MailboxIndex, cx: &mut Context<'_, Self>) {
        if !self.is_at(number, who) {
            return;
        }
        self.fail(number);
        if let Some(place) = self.places.get_mut(&number) {
            place.state = State::Idle;
            place.stillborn = 0;
        }
        self.rest(number, cx);
    }

    fn is_at(&self, number: usize, who: MailboxIndex) -> bool {
        let actor = self
            .places
            .get(&number)
            .and_then(|place| place.actor.as_ref());
        actor.is_some_and(|actor| actor.index() == who)
    }

    fn worker_gone(&mut self, number: usize, who: MailboxIndex, cx: &mut Context<'_, Self>) {
        if !self.is_at(number, who) {
            return;
        }
        self.idle.remove(&number);
        self.fail_or_note(number);
        let Some(place) = self.places.get_mut(&number) else {
            return;
        };
        place.actor = None;
        let stillborn = place.stillborn;
        if place.leaving {
            self.abandon(number);
            self.places.remove(&number);
        } else if stillborn == 0 {
            self.hire(number, cx);
        } else {
            // Others are to have its jobs meanwhile.
            self.abandon(number);
            let due = cx.now().saturating_add(PAUSE.delay(stillborn - 1, 0));
            if let Some(place) = self.places.get_mut(&number) {
                place.state = State::Down(due);
            }
            self.remind(due, cx);
        }
        self.feed_idle(cx);
    }

    /// A worker has ended, with a job or before it was ready.
    fn fail_or_note(&mut self, number: usize) {
        if let Some(place) = self.places.get_mut(&number)
            && matches!(place.state, State::Starting)
        {
            place.stillborn = place.stillborn.saturating_add(1);
        }
        self.fail(number);
    }

    /// Puts the backlog of a place back to where all can have it, in front.
    fn abandon(&mut self, number: usize) {
        let Some(place) = self.places.get_mut(&number) else {
            return;
        };
        let mut backlog = core::mem::take(&mut place.backlog);
        while let Some(mut task) = backlog.pop_back() {
            self.release(&task);
            task.placed = false;
            self.count_waiting(&task, true);
            self.ready.push_front(task);
        }
    }

    /// Makes the worker of a place.
    fn hire(&mut self, number: usize, cx: &mut Context<'_, Self>) {
        let factory = Arc::clone(&self.plan.factory);
        let keeper = cx.me().downgrade();
        let hand = move || Hand {
            worker: factory(),
            place: number,
            keeper: keeper.clone(),
        };
        // Refused if all is about to end, or there is no room: then later, or never.
        let actor = cx.spawn_with(self.plan.workers.clone(), hand).ok();
        if let Some(actor) = &actor {
            let who = actor.index();
            let _ = cx.watch(actor, move |_| Order::Gone(number, who));
        }
        let due = cx.now().saturating_add(PAUSE.delay(0, 0));
        let down = actor.is_none();
        if let Some(place) = self.places.get_mut(&number) {
            place.state = if down {
                State::Down(due)
            } else {
                State::Starting
            };
            place.actor = actor;
        }
        if down {
            self.remind(due, cx);
        }
    }

    /// Sends away a worker that has nothing to do.
    fn dismiss(&mut self, number: usize) {
        self.idle.remove(&number);
        if let Some(place) = self.places.remove(&number)
            && let Some(actor) = place.actor
        {
            actor.stop_gracefully();
        }
    }

    /// Fits everything to the settings.
    fn fit(&mut self, cx: &mut Context<'_, Self>) {
        let wanted = self.settings.workers;
        // Those that stay are the first ones that do not leave yet; then those that are about to.
        let mut staying = self.places.values().filter(|place| !place.leaving).count();
        for place in self.places.values_mut() {
            if staying < wanted && place.leaving {
                place.leaving = false;
                staying += 1;
            }
        }
        let mut surplus = Vec::new();
        for (number, place) in self.places.iter_mut().rev() {
            if staying > wanted && !place.leaving {
                place.leaving = true;
                staying -= 1;
                surplus.push(*number);
            }
        }
        for number in surplus {
            let place = self.places.get(&number);
            match place.map(|place| (&place.state, place.backlog.is_empty())) {
                Some((State::Idle, true)) => self.dismiss(number),
                Some((State::Starting | State::Down(_), _)) => {
                    self.abandon(number);
                    self.dismiss(number);
                }
                _ => {}
            }
        }
        let mut number = 0;
        while staying < wanted {
            if let Entry::Vacant(place) = self.places.entry(number) {
                place.insert(Place::new());
                self.hire(number, cx);
                staying += 1;
            }
            number += 1;
        }
        self.shed();
        self.feed_idle(cx);
        self.look(cx);
    }

    // === time ===

    /// Sees to it that the timer fires then, or before.
    fn remind(&mut self, at: Duration, cx: &mut Context<'_, Self>) {
        if at < self.due {
            self.due = at;
            let delay = at.saturating_sub(cx.now()).max(Duration::from_nanos(1));
            // Without timers what is late is noticed later.
            let _ = cx.start_timer("due", Timer::once(delay, Order::Due));
        }
    }

    /// Does what is due, and sets the timer to what is due next.
    fn look(&mut self, cx: &mut Context<'_, Self>) {
        self.due = Duration::MAX;
        let now = cx.now();
        let mut next = self.expire(now);
        let (mut missing, mut over) = (Vec::new(), Vec::new());
        for (number, place) in &mut self.places {
            match &mut place.state {
                State::Busy(_, since) => {
                    let Some(patience) = self.settings.patience else {
                        continue;
                    };
                    let late = since.saturating_add(patience);
                    if late > now {
                        next = next.min(late);
                        continue;
                    }
                    // Once. Its end is told in due course.
                    *since = Duration::MAX;
                    self.stats.replaced += 1;
                    if let Some(actor) = &place.actor {
                        actor.kill();
                    }
                }
                State::Down(due) if *due <= now => missing.push(*number),
                State::Down(due) => next = next.min(*due),
                State::Idle if place.leaving && place.backlog.is_empty() => over.push(*number),
                State::Starting | State::Idle => {}
            }
        }
        for number in over {
            self.dismiss(number);
        }
        for number in missing {
            self.hire(number, cx);
        }
        self.feed_idle(cx);
        self.remind(next, cx);
    }

    /// Lets go what has waited for too long. Gives the time when the next will have.
    fn expire(&mut self, now: Duration) -> Duration {
        let mut next = Duration::MAX;
        let mut late = Vec::new();
        let backlogs = self.places.values_mut().map(|place| &mut place.backlog);
        for queue in backlogs.chain([&mut self.ready]) {
            let kept = core::mem::take(queue);
            for task in kept {
                if task.expires <= now {
                    late.push(task);
                } else {
                    next = next.min(task.expires);
                    queue.push_back(task);
                }
            }
        }
        for task in late {
            self.let_go(task, JobError::Expired);
        }
        next
    }

    fn stats(&self) -> WorkStats {
        WorkStats {
            workers: self.places.len(),
            ..self.stats
        }
    }
}

impl<W: Work> Actor for Keeper<W> {
    type Msg = Order<W>;

    async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.fit(cx);
        Ok(())
    }

    async fn handle(&mut self, order: Order<W>, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        match order {
            Order::Submit(job, answer) => self.submit(job, answer, cx),
            Order::Configure(change) => {
                sync::quietly(|| change(&mut self.settings));
                self.fit(cx);
            }
            Order::Stats(reply) => {
                let _ = reply.send(self.stats());
            }
            Order::Drain => self.draining = true,
            Order::Ready(place, who) => self.worker_ready(place, who, cx),
            Order::Done(place, job, done) => self.done(place, job, done, cx),
            Order::Gone(place, who) => self.worker_gone(place, who, cx),
            Order::Due => self.look(cx),
        }
        if self.draining && self.stats.queued + self.stats.in_hand == 0 {
            cx.stop();
        }
        Ok(())
    }
}
