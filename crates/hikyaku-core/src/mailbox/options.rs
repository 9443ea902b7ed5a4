//! What a mailbox can be asked to be.

use super::bounded::MAX_CAPACITY;
use super::order::Priority;
use crate::flow::{FLOW, IfFlow};
use crate::supervision::RestartPolicy;
use crate::sync;
use core::any::TypeId;
use core::fmt;

/// What happens to a message for which there is no room.
///
/// [`tell`](crate::ActorRef::tell), [`ask`](crate::ActorRef::ask) and `tell_all` do what the policy says.
/// [`try_send`](crate::ActorRef::try_send) never lets a message go for another: it refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum MailboxOverflowPolicy {
    /// `send().await` waits for room, in order; `tell` and `try_send` refuse with
    /// [`SendError::Full`](crate::SendError::Full).
    #[default]
    Block,
    /// `tell` accepts the message and drops it: it becomes a dead letter. `send().await` waits for room.
    DropNewest,
    /// `tell` and `send().await` drop the oldest message, which becomes a dead letter. They never wait. `tell` refuses
    /// with [`SendError::Full`](crate::SendError::Full) while the oldest message is still being
    /// put in by another thread.
    DropOldest,
    /// The mailbox takes more than its capacity, up to `max`; what is beyond that is as with `Block`. The room for
    /// messages is not part of the actor's allocation. More than the capacity is
    /// [pressure](MailboxOptions::pressure), unless other limits are given.
    Grow {
        /// How many messages it takes at most.
        max: usize,
    },
}

impl MailboxOverflowPolicy {
    /// Is it more than a bounded mailbox of its own accord does?
    fn needs_annex(self) -> bool {
        matches!(self, Self::DropOldest | Self::Grow { .. })
    }
}

/// A user's function of a message, whose type the options do not show.
#[derive(Debug, Clone, Copy)]
struct Classifier {
    function: fn(),
    message: TypeId,
}

impl PartialEq for Classifier {
    fn eq(&self, other: &Self) -> bool {
        self.message == other.message && core::ptr::fn_addr_eq(self.function, other.function)
    }
}

impl Eq for Classifier {}

impl Classifier {
    const fn of<M: 'static, R>(function: fn(&M) -> R) -> Self {
        Self {
            // SAFETY: both are pointers to functions. It is called only after it was turned back.
            function: unsafe { core::mem::transmute::<fn(&M) -> R, fn()>(function) },
            message: TypeId::of::<M>(),
        }
    }

    /// # Safety
    /// `R` is what it was made with.
    unsafe fn get<M: 'static, R>(&self) -> Option<fn(&M) -> R> {
        // SAFETY: made of such a pointer, as type and caller say.
        (self.message == TypeId::of::<M>())
            .then(|| unsafe { core::mem::transmute::<fn(), fn(&M) -> R>(self.function) })
    }
}

/// The mailbox of an actor, chosen at spawn.
///
/// ```
/// use hikyaku_core::{MailboxOptions, MailboxOverflowPolicy};
///
/// let options = MailboxOptions::bounded(64);
/// assert_eq!(options.capacity(), Some(64));
/// assert_eq!(MailboxOptions::default().capacity(), None);
///
/// enum Job { Stop, Print(String) }
///
/// let options = MailboxOptions::bounded(64)
///     .overflow(MailboxOverflowPolicy::DropNewest)
///     .control(|job: &Job| matches!(job, Job::Stop), 4)
///     .pressure(48, 16);
/// # let _ = (options, Job::Print(String::new()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MailboxOptions {
    capacity: Option<usize>,
    overflow: MailboxOverflowPolicy,
    /// Was one of those below asked for? It may not be built in.
    flow: bool,
    up_to: Option<IfFlow<usize>>,
    control: Option<IfFlow<(Classifier, usize)>>,
    priority: Option<IfFlow<Classifier>>,
    pressure: Option<IfFlow<(usize, usize)>>,
}

type IsControl<M> = fn(&M) -> bool;

const TOO_LARGE: &str = "the capacity of a bounded mailbox is above the platform's limit";

/// The bound of an annex.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound {
    None,
    Permits { limit: usize },
    Latest { limit: usize, most: usize },
}

impl MailboxOptions {
    /// A mailbox that takes what comes. The default.
    pub const fn unbounded() -> Self {
        Self {
            capacity: None,
            overflow: MailboxOverflowPolicy::Block,
            flow: false,
            up_to: None,
            control: None,
            priority: None,
            pressure: None,
        }
    }

    /// A mailbox with room for `capacity` messages besides the one in hand. With the policies `Block` and `DropNewest`,
    /// and neither priorities, control messages nor pressure, the room is part of the actor's single allocation.
    pub const fn bounded(capacity: usize) -> Self {
        let mut this = Self::unbounded();
        this.capacity = Some(capacity);
        this
    }

    /// A mailbox that keeps the latest `capacity` messages: bounded, with
    /// [`DropOldest`](MailboxOverflowPolicy::DropOldest).
    pub const fn latest(capacity: usize) -> Self {
        let mut this = Self::bounded(capacity);
        this.overflow = MailboxOverflowPolicy::DropOldest;
        this
    }

    /// Chooses what happens when there is no room.
    #[must_use]
    pub const fn overflow(mut self, policy: MailboxOverflowPolicy) -> Self {
        self.overflow = policy;
        self
    }

    /// Reserves memory for a capacity of up to so many, where the room is made at spawn:
    /// [`set_capacity`](crate::ActorRef::set_capacity) can go so far.
    #[must_use]
    pub const fn up_to(mut self, most: usize) -> Self {
        self.up_to = IfFlow::of(most);
        self.flow = true;
        self
    }

    /// Lets control messages, those for which `is_control` holds, overtake all others. Among themselves they keep their
    /// order. They have `reserve` places of their own and take no others: when these are taken, such a message is
    /// refused as [`Full`](crate::SendError::Full), by `send().await` too. No policy drops them.
    ///
    /// `is_control` runs where the message is sent; a panic in it means no. The message type has to be the
    /// actor's.
    #[must_use]
    pub const fn control<M: 'static>(mut self, is_control: fn(&M) -> bool, reserve: usize) -> Self {
        self.control = IfFlow::of((Classifier::of(is_control), reserve));
        self.flow = true;
        self
    }

    /// Hands over the messages with the highest priority first, equals in the order in which they were sent. Not
    /// together with [`DropOldest`](MailboxOverflowPolicy::DropOldest).
    ///
    /// `priority` is asked once for each message, by the actor's worker, some time before its turn; a panic in it means
    /// [`Priority::NORMAL`]. The message type has to be the actor's.
    #[must_use]
    pub const fn priority<M: 'static>(mut self, priority: fn(&M) -> Priority) -> Self {
        self.priority = IfFlow::of(Classifier::of(priority));
        self.flow = true;
        self
    }

    /// Publishes an [`Event::Pressure`](crate::Event::Pressure) when `high` messages are queued, and another when the
    /// number has gone down to `low`, in turns.
    #[must_use]
    pub const fn pressure(mut self, high: usize, low: usize) -> Self {
        self.pressure = IfFlow::of((high, low));
        self.flow = true;
        self
    }

    /// The bound, if there is one.
    pub const fn capacity(&self) -> Option<usize> {
        self.capacity
    }

    /// How many slots the tail has; `None` without a tail.
    pub(crate) fn slots(&self) -> Option<usize> {
        if self.needs_annex() {
            return Some(0);
        }
        self.capacity.map(|capacity| self.most(capacity))
    }

    /// What `up_to` says, if it does.
    fn most(&self, capacity: usize) -> usize {
        self.up_to.map_or(capacity, IfFlow::into_inner)
    }

    pub(crate) fn drops_newest(&self) -> bool {
        self.overflow == MailboxOverflowPolicy::DropNewest
    }

    pub(crate) fn needs_annex(&self) -> bool {
        self.control.is_some()
            || self.priority.is_some()
            || self.pressure.is_some()
            || (FLOW && self.overflow.needs_annex())
    }

    pub(super) fn bound(&self) -> Bound {
        match (self.capacity, self.overflow) {
            (None, _) => Bound::None,
            (Some(limit), MailboxOverflowPolicy::DropOldest) => Bound::Latest {
                limit,
                most: self.most(limit),
            },
            (Some(_), MailboxOverflowPolicy::Grow { max }) => Bound::Permits { limit: max },
            (Some(limit), _) => Bound::Permits { limit },
        }
    }

    /// What tells control messages, and how many places they have.
    pub(super) fn control_of<M: 'static>(&self) -> Option<(IsControl<M>, usize)> {
        let (classifier, reserve) = self.control?.into_inner();
        // SAFETY: `control` makes it with a function to `bool`.
        Some((unsafe { classifier.get::<M, bool>() }?, reserve))
    }

    pub(super) fn priority_of<M: 'static>(&self) -> Option<fn(&M) -> Priority> {
        // SAFETY: `priority` makes it with such a function.
        unsafe { self.priority?.into_inner().get::<M, Priority>() }
    }

    /// When the depth is high, and when low again.
    pub(super) fn thresholds(&self) -> Option<(usize, usize)> {
        let grows = matches!(self.overflow, MailboxOverflowPolicy::Grow { .. });
        self.pressure
            .map(IfFlow::into_inner)
            .or_else(|| self.capacity.filter(|_| grows).map(|n| (n + 1, n)))
    }

    /// Refuses what cannot be built for an actor with messages of this type.
    #[inline]
    pub(crate) fn check(&self, message: fn() -> TypeId) -> Result<(), InvalidOptions> {
        let with_flow = self.flow || self.overflow.needs_annex();
        if with_flow && !FLOW {
            return Err(InvalidOptions("this mailbox needs the feature `flow`"));
        }
        let bounds = match self.capacity {
            None if self.overflow == MailboxOverflowPolicy::Block => Ok(()),
            None => Err("an overflow policy needs a bounded mailbox"),
            Some(0) => Err("a bounded mailbox needs room for one message"),
            Some(capacity) if capacity > MAX_CAPACITY => Err(TOO_LARGE),
            Some(_) => Ok(()),
        };
        bounds.map_err(InvalidOptions)?;
        match with_flow {
            true => self.check_flow(message()),
            false => Ok(()),
        }
    }

    /// As [`check`](Self::check), of what comes with the feature `flow`.
    fn check_flow(&self, message: TypeId) -> Result<(), InvalidOptions> {
        let max = match self.overflow {
            MailboxOverflowPolicy::Grow { max } => Some(max),
            _ => self.capacity,
        };
        let up_to = self.up_to.map(IfFlow::into_inner);
        let control = self.control.map(IfFlow::into_inner);
        let pressure = self.pressure.map(IfFlow::into_inner);
        let rules = [
            (
                max > Some(MAX_CAPACITY) || up_to > Some(MAX_CAPACITY),
                TOO_LARGE,
            ),
            (
                up_to.is_some_and(|up_to| up_to < self.capacity.unwrap_or(usize::MAX)),
                "`up_to` needs a bounded mailbox, and must not be below the capacity",
            ),
            (
                matches!(self.overflow, MailboxOverflowPolicy::Grow { max } if Some(max) <= self.capacity),
                "a mailbox that grows needs a `max` above its capacity",
            ),
            (
                self.overflow == MailboxOverflowPolicy::DropOldest && self.priority.is_some(),
                "dropping the oldest and an order by priority exclude each other",
            ),
            (
                matches!(control, Some((_, reserve)) if reserve == 0 || reserve > MAX_CAPACITY),
                "control messages need a reserve, which the platform allows",
            ),
            (
                control.is_some_and(|(control, _)| control.message != message)
                    || self
                        .priority
                        .is_some_and(|priority| priority.message != message),
                "the classifier is for another message type",
            ),
            (
                matches!(pressure, Some((high, low)) if low >= high || max.is_some_and(|max| high > max)),
                "pressure needs a high mark within the bound and a low mark below it",
            ),
        ];
        match rules.iter().find(|(broken, _)| *broken) {
            Some((_, text)) => Err(InvalidOptions(text)),
            None => Ok(()),
        }
    }
}

/// The options of a cell in one word: where its bounded tail begins, and the bits below.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CellOptions(u32);

/// Two bits: the restart policy.
const PERMANENT: u32 = 8;
const TEMPORARY: u32 = 16;
const BITS: u32 = (1 << 6) - 1;

impl CellOptions {
    /// The actor stops when the last strong reference goes.
    pub(crate) const STOP_UNREFERENCED: u32 = 1;
    /// The cell is owned by its system's only worker: see `state.rs`. Other threads may come to ring the
    /// bell after the actor has ended, so the cell keeps its system alive.
    pub(crate) const OWNED: u32 = 2;
    /// The cold box has a throughput of its own.
    pub(crate) const OWN_THROUGHPUT: u32 = 4;
    /// What a tail has no room for is dropped.
    pub(crate) const DROPS_NEWEST: u32 = 32;

    /// Three bits of `tail` are shifted out, and three low ones are zero. It is zero if there is none.
    pub(crate) fn new(tail: u32, policy: RestartPolicy) -> Self {
        let tail = tail << 3;
        debug_assert_eq!(tail & BITS, 0);
        Self(match policy {
            RestartPolicy::Permanent => tail | PERMANENT,
            RestartPolicy::Transient => tail,
            RestartPolicy::Temporary => tail | TEMPORARY,
        })
    }

    pub(crate) fn with(self, bit: u32, set: bool) -> Self {
        Self(if set { self.0 | bit } else { self.0 })
    }

    #[inline(always)]
    fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    pub(crate) fn tail(self) -> usize {
        ((self.0 & !BITS) >> 3) as usize
    }

    #[inline(always)]
    pub(crate) fn has_tail(self) -> bool {
        self.0 > BITS
    }

    #[inline(always)]
    pub(crate) fn is_owned(self) -> bool {
        sync::KNOWS_HERE && self.has(Self::OWNED)
    }

    /// Neither bounded nor owned, and without an annex.
    #[inline(always)]
    pub(crate) fn is_plain(self) -> bool {
        self.0 & !(Self::STOP_UNREFERENCED | Self::OWN_THROUGHPUT | PERMANENT | TEMPORARY) == 0
    }

    #[inline(always)]
    pub(crate) fn has_own_throughput(self) -> bool {
        self.has(Self::OWN_THROUGHPUT)
    }

    pub(crate) fn policy(self) -> RestartPolicy {
        if self.has(PERMANENT) {
            RestartPolicy::Permanent
        } else if self.has(TEMPORARY) {
            RestartPolicy::Temporary
        } else {
            RestartPolicy::Transient
        }
    }

    pub(crate) fn stops_unreferenced(self) -> bool {
        self.has(Self::STOP_UNREFERENCED)
    }

    pub(crate) fn drops_newest(self) -> bool {
        self.has(Self::DROPS_NEWEST)
    }
}

/// Options that contradict each other, or the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidOptions(pub(crate) &'static str);

impl fmt::Display for InvalidOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for InvalidOptions {}
