//! The cell: one allocation per actor.
//!
//! ```text
//!   Header   home · counts · index · kin · mailbox · vtable · cold box · context
//!   slot     the one live future, or a large first message
//!   actor    the value, beside the future; vacant until the factory has run
//!   factory  for the first time and for each restart
//!   tail     the slots of a bounded mailbox, the way to its annex
//! ```
//!
//! The layout after the header depends on the actor; what others need to know of it is in the
//! [`VTable`]. Only the place of the first message of an idle cell is needed by senders, who know the
//! message type and not the actor. A small one goes where the empty chain is, on the line that the
//! sender has at hand; a large one to the first suitably aligned address after the header, which is
//! inside the slot. Where messages go by the table (`mailbox/kind.rs`) there is none: each has a node.
//!
//! # Two counts
//!
//! `strong` counts the references that can send. All of them together, the living actor, each
//! waker and each weak reference hold one of `memory`. The last of `memory` frees raw memory:
//! future, actor and queue were dropped by the worker when the actor ended.
//!
//! # Concurrency
//!
//! The header is only used through `&Header`, whose changing fields are atomics or cells:
//! `counts` and the mailbox's words by any thread; the `Cell`s by the runner (`mailbox.rs` says
//! which); `cold` by the runner, and by anyone once the system lane has ended. No reference ever
//! spans the cell: slot, actor and tail are reached by raw pointers.

mod waker;

use crate::actor::{Actor, Context};
use crate::agenda::Diary;
use crate::dead_letter::DeadLetterReason;
use crate::dispatcher::Home;
use crate::failure::{Failure, StopCause};
use crate::flow::IfFlow;
use crate::invoker::{self, Activation, Beyond, Family, Links, Outcome, Watchers};
use crate::mailbox::{
    CellOptions, Gate, Kind, MailboxOptions, QueueMailbox, Read, Room, Stock, SystemNode, Tail,
    rare,
};
use crate::middleware::Chain;
use crate::names::Name;
use crate::pool;
use crate::ready::Behind;
use crate::registry::{self, MailboxIndex};
use crate::stash::Shelf;
use crate::state::{Next, Orders};
use crate::supervision::{Asked, RestartPolicy, SUPERVISION, Tally};
use crate::suspension::{Suspension, WantsRoom};
use crate::sync::{self, Arc, AtomicCount, Count, Ordering};
use crate::system::{SpawnError, SpawnOptions};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::any::TypeId;
use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::task::Poll;
use core::time::Duration;

/// The part of a cell that does not depend on the actor.
#[repr(C)]
pub(crate) struct Header {
    // The first line: what senders touch, and what is rare. A runner comes here once per batch, so
    // that the two do not take the line from each other for each message.
    home: NonNull<Home>,
    counts: Counts,
    index: MailboxIndex,
    /// Parent and siblings, if there is a parent.
    kin: *mut Kin,
    /// Its first part is the senders'; the second line begins with the runner's.
    mailbox: QueueMailbox,
    vtable: &'static VTable,
    cold: Cell<*mut Cold>,
    /// A `Context`, which is a pointer to this cell.
    context: Cell<*mut Header>,
    /// In the queue of ready cells.
    #[allow(dead_code, reason = "empty, where queues hold pointers")]
    behind: Behind,
    /// In the registry, likewise.
    #[allow(dead_code, reason = "empty, where the registry holds pointers")]
    links: registry::Links,
}

#[cfg(all(target_pointer_width = "64", not(loom)))]
const _: () = {
    let mailbox = core::mem::offset_of!(Header, mailbox);
    assert!(mailbox + core::mem::offset_of!(QueueMailbox, system) == 64);
    assert!(size_of::<Header>() == 104 + size_of::<Behind>() + size_of::<registry::Links>());
};
// The node that tells the parent lies where the chain was.
#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<SystemNode>() <= size_of::<crate::mailbox::Chain>());
    assert!(align_of::<SystemNode>() <= align_of::<crate::mailbox::Chain>());
};

struct Counts {
    strong: AtomicCount,
    memory: AtomicCount,
}

/// The parent, and the neighbours among its children. All but the first two: *the parent's runner.*
pub(crate) struct Kin {
    pub(crate) parent: CellPtr,
    pub(crate) family: &'static Family,
    previous: Cell<Option<CellPtr>>,
    next: Cell<Option<CellPtr>>,
    /// What the parent remembers of this child. Gone when it is buried.
    tally: Cell<Option<Box<Tally>>>,
}

impl Kin {
    /// Notes something of the child. *The parent's runner.*
    pub(crate) fn note<R>(&self, note: impl FnOnce(&mut Tally) -> R) -> R {
        let mut tally = self.tally.take().unwrap_or_default();
        let noted = note(&mut tally);
        self.tally.set(Some(tally));
        noted
    }

    /// As [`note`](Self::note), if anything is known of the child.
    pub(crate) fn recall<R: Default>(&self, note: impl FnOnce(&mut Tally) -> R) -> R {
        let tally = self.tally.take();
        if tally.is_none() {
            return R::default();
        }
        self.tally.set(tally);
        self.note(note)
    }
}

/// What only some actors have. Made when first used.
#[derive(Default)]
pub(crate) struct Cold {
    pub(crate) name: Option<Name>,
    pub(crate) throughput: Option<u32>,
    /// How it failed, until it is well again. After the end without the error value.
    pub(crate) failure: Option<Failure>,
    /// What it is to fail with: see [`Marks::FAULT`](crate::mailbox::Marks::FAULT).
    pub(crate) fault: Option<Failure>,
    /// The restart that it waits for.
    pub(crate) restart: Option<Awaited>,
    /// The number of the last restart it has been through.
    pub(crate) restarted: u32,
    /// Its turn, if it is restarted with others and has not started yet.
    pub(crate) turn: Option<Turn>,
    /// The first of the children that are restarted together and have not started yet: it has its turn.
    pub(crate) procession: Option<CellPtr>,
    /// It was told to stop by a supervisor that is restarted: so long has each handler in flight, of its
    /// descendants too.
    pub(crate) patience: Option<Duration>,
    /// When the handler in flight is dropped that a restart or a stop waits for.
    pub(crate) hurry: Option<Duration>,
    /// Looks whether the time of either has come.
    pub(crate) look: Option<unsafe fn(CellPtr, Orders)>,
    /// How it supervises its children.
    pub(crate) supervision: Option<Asked>,
    /// What the system's supervision remembers of it, if it has no parent.
    pub(crate) tally: Option<Box<Tally>>,
    /// Who is told when it ends, and tells it.
    pub(crate) links: Option<Box<dyn Links>>,
    pub(crate) watchers: Option<Box<dyn Watchers>>,
    /// Since its first child.
    pub(crate) family: Option<&'static Family>,
    pub(crate) youngest: Option<CellPtr>,
    pub(crate) children: usize,
    /// How many of them are significant.
    pub(crate) significant: usize,
    /// The child that was told to stop; the cell itself if all were killed.
    pub(crate) leaving: Option<CellPtr>,
    /// Since it has more than a mailbox.
    pub(crate) beyond: Option<&'static Beyond>,
    /// Timers and the like. Gone before the actor is.
    pub(crate) agenda: Option<Box<dyn Diary>>,
    /// The deadline of the message in hand.
    pub(crate) deadline: Option<Duration>,
    pub(crate) extra: Option<Box<Extra>>,
}

/// What only actors have whose messages are held up, put aside or shown around.
pub(crate) struct Extra {
    /// What the end of an activation does with it. Only who makes one links it.
    pub(crate) settle: unsafe fn(CellPtr),
    pub(crate) suspension: Suspension,
    /// Actors that wait until this one has room.
    pub(crate) wants_room: Vec<WantsRoom>,
    pub(crate) middleware: Option<IfFlow<Chain>>,
    /// A `Stash` of the actor's messages.
    pub(crate) stash: Option<Box<dyn Shelf>>,
    #[cfg_attr(not(feature = "flow"), expect(dead_code, reason = "there is no stash"))]
    pub(crate) stash_capacity: Option<usize>,
}

impl Default for Extra {
    fn default() -> Self {
        Self {
            settle: invoker::settle_extra,
            suspension: Suspension::default(),
            wants_room: Vec::new(),
            middleware: None,
            stash: None,
            stash_capacity: None,
        }
    }
}

/// A restart to come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Awaited {
    pub(crate) number: u32,
    pub(crate) at: Duration,
    pub(crate) patience: Duration,
}

/// When an actor that is restarted with others may start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// Of the restart.
    pub(crate) number: u32,
    pub(crate) has_come: bool,
}

/// What the runtime needs to know of an actor type.
pub(crate) struct VTable {
    pub(crate) run: unsafe fn(CellPtr, &mut Activation<'_>) -> Outcome,
    /// Goes on with the live future, or begins what is to be done: a hook, or the handler of the message in the slot.
    pub(crate) poll: unsafe fn(CellPtr) -> Poll<Result<(), Failure>>,
    /// Is the time of the message in the slot over?
    pub(crate) is_late: unsafe fn(CellPtr) -> bool,
    /// Makes the actor with the factory.
    pub(crate) construct: unsafe fn(CellPtr),
    /// Moves the factory in, from where the spawner has it.
    take_factory: unsafe fn(CellPtr, *const u8),
    /// Drops the factory.
    pub(crate) drop_factory: unsafe fn(CellPtr),
    /// Drops the live future in the slot.
    pub(crate) drop_future: unsafe fn(CellPtr),
    pub(crate) drop_actor: unsafe fn(CellPtr),
    parts: Parts,
    pub(crate) kind: &'static Kind,
    /// For those whom it is shown to.
    actor_name: Option<IfFlow<fn() -> &'static str>>,
}

/// A pointer to a cell. Says nothing about who keeps it alive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(crate) struct CellPtr(NonNull<Header>);

// SAFETY: a plain address; what may be done with it where is said by each method.
unsafe impl Send for CellPtr {}
// SAFETY: likewise.
unsafe impl Sync for CellPtr {}

/// Offsets in a cell, and its layout without the tail.
struct Parts {
    slot: usize,
    actor: usize,
    factory: usize,
    layout: Layout,
}

/// Where the parts of a cell of `A` lie.
struct Shape<A>(core::marker::PhantomData<A>);

type Handle<A> = fn(&'static mut A, <A as Actor>::Msg, &'static mut Context<'static, A>);

const fn layout_of_handle<A: Actor, F>(
    _: fn(&'static mut A, A::Msg, &'static mut Context<'static, A>) -> F,
) -> Layout {
    Layout::new::<F>()
}

const fn layout_of_hook<A: Actor, F>(
    _: fn(&'static mut A, &'static mut Context<'static, A>) -> F,
) -> Layout {
    Layout::new::<F>()
}

const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

const fn union(a: Layout, b: Layout) -> (usize, usize) {
    (max(a.size(), b.size()), max(a.align(), b.align()))
}

impl<A: Actor> Shape<A> {
    /// Size and alignment of the slot.
    const SLOT: (usize, usize) = {
        let _: Option<Handle<A>> = None;
        let message = Layout::new::<A::Msg>();
        let handle = layout_of_handle::<A, _>(A::handle);
        let started = layout_of_hook::<A, _>(A::started);
        let stopped = layout_of_hook::<A, _>(A::stopped);
        let (size, align) = union(message, handle);
        let restarting = layout_of_hook::<A, _>(A::restarting);
        let (hooks, hooks_align) = union(started, stopped);
        let size = max(max(size, hooks), restarting.size());
        (size, max(max(align, hooks_align), restarting.align()))
    };

    const fn parts(factory: Layout) -> Parts {
        let align = max(max(Self::SLOT.1, factory.align()), align_of::<Header>());
        let slot = size_of::<Header>().next_multiple_of(Self::SLOT.1);
        let actor = (slot + Self::SLOT.0).next_multiple_of(align_of::<A>());
        let factory_at = (actor + size_of::<A>()).next_multiple_of(factory.align());
        let align = max(align, align_of::<A>());
        let size = (factory_at + factory.size()).next_multiple_of(align);
        match Layout::from_size_align(size, align) {
            Ok(layout) => Parts {
                slot,
                actor,
                factory: factory_at,
                layout,
            },
            Err(_) => panic!("the actor is larger than the address space"),
        }
    }
}

/// The memory one actor of type `A` takes, in bytes, with an unbounded mailbox and a factory that captures
/// nothing: the runtime's part, the actor's value, and the largest of its handler futures. The
/// allocator may round it up.
///
/// The slot is as large as the largest future. If one rare handler makes it large, box its body:
/// `Box::pin(async move { .. }).await`.
///
/// ```
/// use hikyaku_core::{Actor, Context, Failure, cell_size};
///
/// struct Counter(u64);
///
/// impl Actor for Counter {
///     type Msg = u64;
///     async fn handle(&mut self, n: u64, _: &mut Context<'_, Self>) -> Result<(), Failure> {
///         self.0 += n;
///         Ok(())
///     }
/// }
/// assert!(cell_size::<Counter>() <= 192);
/// ```
pub const fn cell_size<A: Actor>() -> usize {
    Shape::<A>::parts(Layout::new::<()>()).layout.size()
}

struct Typed<A, F>(core::marker::PhantomData<(A, F)>);

impl<A: Actor, F: FnMut() -> A> Typed<A, F> {
    const PARTS: Parts = Shape::<A>::parts(Layout::new::<F>());

    const VTABLE: &VTable = &VTable {
        run: invoker::run_of::<A>(),
        poll: invoker::poll::<A>,
        is_late: invoker::has_late::<A>,
        construct: Self::construct,
        take_factory: Self::take_factory,
        drop_factory: Self::drop_factory,
        drop_future: invoker::drop_future::<A>,
        drop_actor: Self::drop_actor,
        parts: Self::PARTS,
        kind: Kind::of::<A::Msg>(),
        actor_name: IfFlow::of(core::any::type_name::<A>),
    };

    fn factory(cell: CellPtr) -> *mut F {
        // SAFETY: the factory is inside the allocation.
        unsafe { cell.as_ptr().byte_add(Self::PARTS.factory).cast() }
    }

    /// # Safety
    /// The caller is the runner, the factory is there, and the actor is vacant.
    unsafe fn construct(cell: CellPtr) {
        // SAFETY: as the caller promises.
        unsafe {
            let actor = (*Self::factory(cell))();
            cell.actor::<A>().write(actor);
        }
    }

    /// # Safety
    /// The cell was just made, and `from` is a factory, which the caller uses no more.
    unsafe fn take_factory(cell: CellPtr, from: *const u8) {
        // SAFETY: as the caller promises; what was just made is apart from it.
        unsafe { ptr::copy_nonoverlapping(from.cast::<F>(), Self::factory(cell), 1) }
    }

    /// # Safety
    /// The caller is the runner, and the factory is there. Once.
    unsafe fn drop_factory(cell: CellPtr) {
        // SAFETY: as the caller promises.
        unsafe { ptr::drop_in_place(Self::factory(cell)) }
    }

    /// # Safety
    /// The caller is the runner, and the actor is there.
    unsafe fn drop_actor(cell: CellPtr) {
        // SAFETY: as the caller promises.
        unsafe { ptr::drop_in_place(cell.actor::<A>()) }
    }
}

impl VTable {
    pub(crate) fn actor_name(&self) -> &'static str {
        self.actor_name.as_ref().map_or("", |name| name())
    }

    /// The whole cell's layout with so many slots, and the tail's offset.
    fn layout(&self, slots: Option<usize>) -> Option<(Layout, u32)> {
        let Some(slots) = slots else {
            return Some((self.parts.layout, 0));
        };
        let tail = Room::layout(self.kind, slots)?;
        // Aligned to 8 at least, as nodes are, so the lowest bits of the offset are free.
        let (layout, offset) = self.parts.layout.extend(tail).ok()?;
        // Three bits are needed for other things.
        let offset = u32::try_from(offset).ok()?;
        (offset >> 29 == 0).then_some((layout, offset))
    }
}

/// The part that only a child has; null without a parent, `None` without memory. *The parent's runner.*
fn make_kin(parent: Option<CellPtr>) -> Option<*mut Kin> {
    let Some(parent) = parent else {
        return Some(ptr::null_mut());
    };
    let family = parent.cold_if_any()?.family?;
    let kin = pool::try_take(Layout::new::<Kin>())?.cast::<Kin>();
    // SAFETY: fresh memory of the layout.
    unsafe {
        kin.write(Kin {
            parent,
            family,
            previous: Cell::new(None),
            next: Cell::new(None),
            tally: Cell::new(None),
        });
    }
    Some(kin.as_ptr())
}

/// The cold box of a new cell, and the runner's note of what is in it.
#[cold]
pub(crate) fn new_cold(options: &mut SpawnOptions) -> Result<(Box<Cold>, u8), SpawnError> {
    options.check().map_err(SpawnError::InvalidOptions)?;
    let mut notes = 0;
    let extra = options.extra.take().map(|extra| {
        let extra = *extra.into_inner();
        let middleware = Chain::of(extra.middleware);
        if middleware.is_some() {
            notes = rare::EXTRA;
        }
        Box::new(Extra {
            middleware,
            stash_capacity: extra.stash_capacity,
            ..Extra::default()
        })
    });
    let cold = pool::try_box(Cold {
        name: options.name.take(),
        throughput: options.throughput,
        supervision: options.supervision.take(),
        extra,
        ..Cold::default()
    });
    Ok((cold.ok_or(SpawnError::Capacity)?, notes))
}

/// # Safety
/// Null, or taken from the pool as such, and used no more.
unsafe fn free_kin(kin: *mut Kin) {
    if let Some(kin) = NonNull::new(kin) {
        // SAFETY: as the caller promises.
        unsafe { pool::give(kin.cast(), Layout::new::<Kin>()) }
    }
}

/// A pointer to a cell that keeps its memory.
#[derive(Debug)]
pub(crate) struct WeakCell(CellPtr);

impl WeakCell {
    /// For one who keeps the memory.
    pub(crate) fn new(cell: CellPtr) -> Self {
        cell.retain();
        Self(cell)
    }

    /// Likewise, for what the runtime has of its own.
    pub(crate) fn own(cell: CellPtr) -> Self {
        cell.hold();
        Self(cell)
    }

    pub(crate) fn cell(&self) -> CellPtr {
        self.0
    }
}

impl Drop for WeakCell {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// What is the actor's own in a new cell.
pub(crate) struct Seed {
    pub(crate) vtable: &'static VTable,
    /// Where the factory is, to be moved.
    factory: *const u8,
}

impl Seed {
    pub(crate) fn new<A: Actor, F: FnMut() -> A>(factory: &F) -> Self {
        Self {
            vtable: Typed::<A, F>::VTABLE,
            factory: ptr::from_ref(factory).cast(),
        }
    }
}

/// What a new cell is made from.
pub(crate) struct Birth<'a> {
    pub(crate) seed: Seed,
    pub(crate) home: NonNull<Home>,
    pub(crate) parent: Option<CellPtr>,
    pub(crate) mailbox: &'a MailboxOptions,
    /// With the runner's note of what is in it.
    pub(crate) cold: Option<(Box<Cold>, u8)>,
    pub(crate) own_throughput: bool,
    pub(crate) stop_unreferenced: bool,
    pub(crate) owned: bool,
    pub(crate) policy: RestartPolicy,
}

impl CellPtr {
    /// Makes a cell with one strong reference and the ticket out; `None` if there is no memory.
    /// It gets its index by [`CellPtr::set_index`].
    ///
    /// # Safety
    /// The seed's factory is there, and the caller uses it no more once somebody else has the cell.
    pub(crate) unsafe fn new(birth: Birth<'_>) -> Option<Self> {
        let Seed { vtable, factory } = birth.seed;
        let slots = birth.mailbox.slots();
        let (layout, tail) = vtable.layout(slots)?;
        let stock = match slots {
            Some(slots) => {
                let name = birth
                    .cold
                    .as_ref()
                    .and_then(|(cold, _)| cold.name.as_ref().map(Name::text));
                Some(Stock::new(birth.mailbox, vtable.kind, name, slots)?)
            }
            None => None,
        };
        let kin = make_kin(birth.parent)?;
        let annex = stock.as_ref().is_some_and(Stock::has_annex);
        let annex = if annex { rare::ANNEX } else { 0 };
        let Some(header) = pool::try_take(layout) else {
            // SAFETY: made above, and nobody else has it.
            unsafe { free_kin(kin) };
            return None;
        };
        let (cold, extra) = match birth.cold {
            Some((cold, notes)) => (Box::into_raw(cold), notes),
            None => (ptr::null_mut(), 0),
        };
        let options = CellOptions::new(tail, birth.policy)
            .with(CellOptions::STOP_UNREFERENCED, birth.stop_unreferenced)
            .with(CellOptions::OWNED, birth.owned)
            .with(CellOptions::OWN_THROUGHPUT, birth.own_throughput)
            .with(CellOptions::DROPS_NEWEST, birth.mailbox.drops_newest());
        let header = header.cast::<Header>();
        // SAFETY: alive because somebody spawns.
        unsafe { birth.home.as_ref() }.move_in_cell();
        // SAFETY: fresh memory of the layout; slot and tail are inside it.
        unsafe {
            header.write(Header {
                home: birth.home,
                counts: Counts {
                    strong: AtomicCount::new(1),
                    // One for the living actor, one for all strong references together.
                    memory: AtomicCount::new(2),
                },
                index: MailboxIndex::NONE,
                kin,
                mailbox: QueueMailbox::new(options, annex | extra),
                vtable,
                cold: Cell::new(cold),
                context: Cell::new(header.as_ptr()),
                behind: Behind::new(),
                links: registry::Links::new(),
            });
            let cell = Self(header);
            (vtable.take_factory)(cell, factory);
            if let Some(stock) = stock {
                Room::write(cell.room(), vtable.kind, stock);
            }
            Some(cell)
        }
    }

    /// # Safety
    /// The cell was just made, and nobody else has it.
    pub(crate) unsafe fn set_index(self, index: MailboxIndex) {
        // SAFETY: as the caller promises.
        unsafe { (&raw mut (*self.0.as_ptr()).index).write(index) }
    }

    /// Takes back a cell that was never published.
    ///
    /// # Safety
    /// The cell was just made, and nobody else has it. The factory is the caller's again.
    pub(crate) unsafe fn discard(self) {
        // SAFETY: as the caller promises: nothing is queued.
        unsafe { self.free() }
    }

    // === parts ===

    #[inline(always)]
    fn header(&self) -> &Header {
        // SAFETY: every holder of a `CellPtr` keeps the cell alive while it uses it, and the header
        // is only changed through its cells.
        unsafe { self.0.as_ref() }
    }

    #[inline(always)]
    pub(crate) fn as_ptr(self) -> *mut Header {
        self.0.as_ptr()
    }

    /// # Safety
    /// `header` came from [`CellPtr::as_ptr`].
    #[inline(always)]
    pub(crate) unsafe fn from_ptr(header: *mut Header) -> Self {
        // SAFETY: as the caller promises.
        Self(unsafe { NonNull::new_unchecked(header) })
    }

    #[inline(always)]
    pub(crate) fn mailbox(&self) -> &QueueMailbox {
        &self.header().mailbox
    }

    #[inline(always)]
    pub(crate) fn vtable(self) -> &'static VTable {
        self.header().vtable
    }

    /// What is known of its messages.
    #[inline(always)]
    pub(crate) fn kind(self) -> &'static Kind {
        self.vtable().kind
    }

    #[allow(dead_code, reason = "as the field")]
    pub(crate) fn behind(&self) -> &Behind {
        &self.header().behind
    }

    #[allow(dead_code, reason = "as the field")]
    pub(crate) fn links(&self) -> &registry::Links {
        &self.header().links
    }

    /// Its dispatcher.
    #[inline(always)]
    pub(crate) fn home(&self) -> &Home {
        // SAFETY: the cell holds a reference to it.
        unsafe { self.header().home.as_ref() }
    }

    pub(crate) fn index(self) -> MailboxIndex {
        self.header().index
    }

    #[inline(always)]
    pub(crate) fn slot(self) -> *mut u8 {
        // SAFETY: the slot is inside the allocation.
        unsafe { self.0.as_ptr().byte_add(self.vtable().parts.slot).cast() }
    }

    /// Where a first message goes that is large, or of an owned cell.
    ///
    /// # Safety
    /// The cell's messages have this alignment.
    #[inline(always)]
    pub(crate) unsafe fn message_slot(self, align: usize) -> *mut () {
        // SAFETY: at or before the slot's start, and the slot is as large and as aligned as a message.
        unsafe {
            self.0
                .as_ptr()
                // A power of two: that is less code than `next_multiple_of` where it is not known.
                .byte_add((size_of::<Header>() + align - 1) & !(align - 1))
                .cast()
        }
    }

    /// Where a small first message goes: the chain, which is empty then.
    #[inline(always)]
    pub(crate) fn chain_slot(self) -> *mut () {
        // SAFETY: inside the header.
        unsafe { (&raw mut (*self.0.as_ptr()).mailbox.chain).cast() }
    }

    #[inline(always)]
    pub(crate) fn actor<A>(self) -> *mut A {
        // SAFETY: the actor is inside the allocation.
        unsafe { self.0.as_ptr().byte_add(self.vtable().parts.actor).cast() }
    }

    #[inline(always)]
    pub(crate) fn context<A: Actor>(self) -> *mut Context<'static, A> {
        // SAFETY: inside the header; a context is a pointer to its cell.
        unsafe { (&raw mut (*self.0.as_ptr()).context).cast() }
    }

    #[inline(always)]
    pub(crate) fn options(self) -> CellOptions {
        self.mailbox().options
    }

    #[inline(always)]
    pub(crate) fn has_tail(self) -> bool {
        self.options().has_tail()
    }

    /// Does it belong to its system's only worker?
    #[inline(always)]
    pub(crate) fn is_owned(self) -> bool {
        self.options().is_owned()
    }

    fn room(self) -> NonNull<Room> {
        let offset = self.options().tail();
        // SAFETY: the tail is inside the allocation.
        unsafe { self.0.byte_add(offset).cast() }
    }

    /// # Safety
    /// The cell has a tail and messages of this kind.
    #[inline(always)]
    pub(crate) unsafe fn tail_of(self, kind: &'static Kind) -> Tail {
        // SAFETY: made with the cell; the pointer spans the cell's allocation.
        unsafe { Tail::new(self.room(), kind) }
    }

    /// The same, by those who do not know the kind, or need not be fast.
    ///
    /// # Safety
    /// The cell has a tail.
    pub(crate) unsafe fn tail(self) -> Tail {
        // SAFETY: as the caller promises.
        unsafe { self.tail_of(self.kind()) }
    }

    /// Is there room for another message? *Any thread that keeps the memory alive.*
    pub(crate) fn has_room(self) -> bool {
        // SAFETY: as the caller promises.
        unsafe { self.gate() }.is_none_or(Gate::has_room)
    }

    /// Where senders wait for room; `None` if they never do.
    ///
    /// # Safety
    /// The cell outlives what is done with the gate.
    pub(crate) unsafe fn gate<'a>(self) -> Option<&'a Gate> {
        if !self.has_tail() {
            return None;
        }
        // SAFETY: looked at just now.
        let tail = unsafe { self.tail() };
        match tail.lanes() {
            Some(annex) => annex.gate(),
            None => Some(tail.gate()),
        }
    }

    /// A message of this cell will not be handled. *Any thread that keeps the memory alive.*
    pub(crate) fn dead_letter<M: 'static>(self, message: M, reason: DeadLetterReason) {
        let letters = &self.home().shared.dead_letters;
        letters.receive(self.index(), message, reason);
    }

    pub(crate) fn message_type(self) -> TypeId {
        (self.kind().id)()
    }

    pub(crate) fn message_name(self) -> &'static str {
        (self.kind().name)()
    }

    /// What it has to do with its parent, if it has one.
    pub(crate) fn kin(&self) -> Option<&Kin> {
        // SAFETY: made with the cell and freed with it; only its cells change.
        unsafe { self.header().kin.as_ref() }
    }

    pub(crate) fn parent(self) -> Option<CellPtr> {
        self.kin().map(|kin| kin.parent)
    }

    /// The cold box. *Runner*, or anyone once the system lane has ended.
    pub(crate) fn cold_if_any(&self) -> Option<&Cold> {
        // SAFETY: made by `cold`, freed with the cell; changed by the runner only, through `cold`,
        // whose borrows end before the next call.
        unsafe { self.header().cold.get().as_ref() }
    }

    /// The actor's name, if it has one. *Runner*, or anyone once the system lane has ended.
    pub(crate) fn name(&self) -> Option<&str> {
        self.cold_if_any()?.name.as_ref().map(Name::text)
    }

    /// The actor's own throughput, if it has one. *Runner.*
    #[inline]
    pub(crate) fn throughput(&self) -> Option<u32> {
        if !self.options().has_own_throughput() {
            return None;
        }
        self.cold_if_any().and_then(|cold| cold.throughput)
    }

    /// When it is to be restarted. *Anyone who keeps the cell's parent from burying it, or its runner:*
    /// it never changes.
    pub(crate) fn policy(self) -> RestartPolicy {
        if SUPERVISION {
            self.options().policy()
        } else {
            RestartPolicy::Temporary
        }
    }

    /// The cold box, made if need be.
    ///
    /// # Safety
    /// The caller is the runner and holds no other reference to it.
    #[allow(clippy::mut_from_ref, reason = "the box is apart from the header")]
    pub(crate) unsafe fn cold(&self) -> &mut Cold {
        let cold = &self.header().cold;
        if cold.get().is_null() {
            cold.set(Box::into_raw(Box::default()));
        }
        // SAFETY: just checked; exclusive as the caller promises.
        unsafe { &mut *cold.get() }
    }

    /// The box of what few actors have, if there is one. *Runner*, or anyone once the system lane has ended.
    pub(crate) fn extra_if_any(&self) -> Option<&Extra> {
        self.cold_if_any()?.extra.as_deref()
    }

    /// The same, to change it.
    ///
    /// # Safety
    /// As [`cold`](Self::cold).
    #[allow(clippy::mut_from_ref, reason = "the box is apart from the header")]
    pub(crate) unsafe fn known_extra(&self) -> Option<&mut Extra> {
        self.extra_if_any()?;
        // SAFETY: as the caller promises.
        unsafe { self.cold() }.extra.as_deref_mut()
    }

    /// The same, made if need be.
    ///
    /// # Safety
    /// As [`cold`](Self::cold).
    #[allow(clippy::mut_from_ref, reason = "the box is apart from the header")]
    pub(crate) unsafe fn extra(&self) -> &mut Extra {
        // SAFETY: as the caller promises.
        unsafe { self.cold() }.extra.get_or_insert_default()
    }

    /// Makes the cold box if need be; false if there is no memory.
    ///
    /// # Safety
    /// As [`cold`](Self::cold).
    pub(crate) unsafe fn make_cold(&self) -> bool {
        let cold = &self.header().cold;
        if cold.get().is_null()
            && let Some(made) = pool::try_box(Cold::default())
        {
            cold.set(Box::into_raw(made));
        }
        !cold.get().is_null()
    }

    /// The deadline of the message in hand, if it has one. *Runner.*
    pub(crate) fn deadline(&self) -> Option<Duration> {
        if self.mailbox().rare.get() & rare::DEADLINE == 0 {
            return None;
        }
        self.cold_if_any()?.deadline
    }

    /// The agenda, if there is one.
    ///
    /// # Safety
    /// As [`cold`](Self::cold).
    #[allow(clippy::mut_from_ref, reason = "the box is apart from the header")]
    pub(crate) unsafe fn diary(&self) -> Option<&mut (dyn Diary + 'static)> {
        self.cold_if_any()?;
        // SAFETY: as the caller promises.
        unsafe { self.cold() }.agenda.as_deref_mut()
    }

    // === kin: the parent's runner ===

    /// Adds the youngest child.
    ///
    /// # Safety
    /// The caller is the runner of `self`, the parent of `child`.
    pub(crate) unsafe fn adopt(self, child: CellPtr, significant: bool) {
        // SAFETY: as the caller promises.
        let cold = unsafe { self.cold() };
        let Some(kin) = child.kin() else {
            return;
        };
        kin.previous.set(cold.youngest);
        if let Some(kin) = cold.youngest.as_ref().and_then(CellPtr::kin) {
            kin.next.set(Some(child));
        }
        cold.youngest = Some(child);
        cold.children += 1;
        if SUPERVISION && significant {
            cold.significant += 1;
            kin.note(|tally| tally.significant = true);
        }
        if SUPERVISION && self.mailbox().task.is_holding() {
            child.order(Orders::KIN, false);
        }
    }

    /// Removes a child that has ended, and frees what the parent held of it.
    ///
    /// # Safety
    /// The caller is the runner of `self`, the parent of `child`, once per child.
    pub(crate) unsafe fn bury(self, child: CellPtr) {
        // SAFETY: as the caller promises.
        let cold = unsafe { self.cold() };
        let Some(kin) = child.kin() else {
            return;
        };
        let (previous, next) = (kin.previous.get(), kin.next.get());
        if let Some(older) = previous.as_ref().and_then(CellPtr::kin) {
            older.next.set(next);
        }
        match next.as_ref().and_then(CellPtr::kin) {
            Some(younger) => younger.previous.set(previous),
            None => cold.youngest = previous,
        }
        cold.children -= 1;
        if SUPERVISION && let Some(tally) = kin.tally.take() {
            cold.significant -= usize::from(tally.significant);
        }
        if cold.leaving == Some(child) {
            cold.leaving = None;
        }
        child.release();
    }

    /// The next older sibling. *The parent's runner.*
    pub(crate) fn older_sibling(self) -> Option<CellPtr> {
        self.kin()?.previous.get()
    }

    /// The next younger sibling. *The parent's runner.*
    pub(crate) fn younger_sibling(self) -> Option<CellPtr> {
        self.kin()?.next.get()
    }

    /// The children, the youngest first. *The runner.*
    pub(crate) fn children(self) -> impl Iterator<Item = CellPtr> {
        let youngest = self.cold_if_any().and_then(|cold| cold.youngest);
        core::iter::successors(youngest, |child| child.older_sibling())
    }

    /// The node that tells the parent of the end. It lies where the chain was.
    ///
    /// # Safety
    /// The caller is the runner, and the mailbox is closed.
    pub(crate) unsafe fn obituary(self, read: Read) -> NonNull<SystemNode> {
        // SAFETY: inside the header, so not null; large enough (asserted above) and used no more.
        unsafe {
            let node = (&raw mut (*self.0.as_ptr()).mailbox.chain).cast::<SystemNode>();
            node.write(SystemNode::new(read));
            NonNull::new_unchecked(node)
        }
    }

    /// The cell whose obituary this is.
    ///
    /// # Safety
    /// `node` came from [`CellPtr::obituary`].
    pub(crate) unsafe fn of_obituary(node: NonNull<SystemNode>) -> Self {
        let offset =
            core::mem::offset_of!(Header, mailbox) + core::mem::offset_of!(QueueMailbox, chain);
        // SAFETY: the node is inside its cell, and its pointer was made from the cell's.
        Self(unsafe { node.byte_sub(offset).cast() })
    }

    // === ticket ===

    /// Hands the ticket to the coordinator. *The holder of the ticket.*
    #[inline(always)]
    pub(crate) fn schedule(self) {
        if !self.home().coordinator.register_ready(self) {
            self.schedule_from_outside();
        }
    }

    #[cold]
    fn schedule_from_outside(self) {
        let home = self.header().home.as_ptr();
        // The worker that takes the cell may end it, and its system, before this is through.
        // SAFETY: `home` came from an `Arc`, which the cell keeps.
        let home = unsafe {
            Arc::increment_strong_count(home);
            Arc::from_raw(home)
        };
        home.coordinator.inject(self);
    }

    /// Is this thread the consumer of the cell's mailbox?
    #[inline(always)]
    pub(crate) fn is_consumed_here(self) -> bool {
        sync::KNOWS_HERE
            && ptr::eq(
                sync::here().alone,
                self.header().home.as_ptr().cast_const().cast(),
            )
    }

    /// Gives orders; `close` ends admission. *Any thread that keeps the memory alive.*
    pub(crate) fn order(self, orders: Orders, close: bool) {
        let mailbox = self.mailbox();
        // First the task word, then the queue word: see `state.rs`.
        let woken = mailbox.task.order(orders);
        let claimed = mailbox.word.signal(close);
        if self.is_owned() {
            self.call();
        } else if woken == Next::Schedule || claimed == Next::Schedule {
            self.schedule();
        }
    }

    /// Something is pending for an owned cell. *Any thread that keeps the memory alive.*
    fn call(self) {
        if !self.is_consumed_here() {
            self.ring();
        } else if crate::mailbox::answer(self) {
            self.schedule();
        }
    }

    /// Rings the bell of an owned cell. *Any thread that keeps the
    /// memory alive.*
    #[cold]
    pub(crate) fn ring(self) {
        self.retain();
        self.home().coordinator.ring(self);
    }

    /// How it ended. *Anyone, once it has.*
    pub(crate) fn cause(self) -> StopCause {
        let failure = self.cold_if_any().and_then(|cold| cold.failure.as_ref());
        self.mailbox().ending.get().cause(failure)
    }

    /// The cell whose code this thread runs. It is alive as long as that runs, which the caller is part of.
    pub(crate) fn running() -> Option<Self> {
        NonNull::new(sync::running().cast_mut().cast()).map(Self)
    }

    // === counts ===

    /// One more strong reference, for the holder of one.
    #[inline]
    pub(crate) fn retain_strong(self) {
        // Relaxed: the caller's reference keeps everything alive.
        let old = self.header().counts.strong.fetch_add(1, Ordering::Relaxed);
        if old > Count::MAX / 2 {
            self.release_strong();
            panic!("too many references to one actor");
        }
    }

    /// One strong reference less.
    #[inline]
    pub(crate) fn release_strong(self) {
        // Release: what was done through this reference comes before the order below and the end of
        // the memory. Acquire: the last one speaks for all.
        if self.header().counts.strong.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.last_strong();
        }
    }

    #[cold]
    fn last_strong(self) {
        if self.options().stops_unreferenced() {
            self.order(Orders::DRAIN, true);
        }
        self.release();
    }

    /// A strong reference for the holder of memory; also if there is none at the moment.
    pub(crate) fn revive(self) {
        self.retain();
        // Relaxed: as in `retain_strong`.
        let old = self.header().counts.strong.fetch_add(1, Ordering::Relaxed);
        if old != 0 {
            // There were some already, so the group holds its memory.
            self.release();
        }
        if old > Count::MAX / 2 {
            self.release_strong();
            panic!("too many references to one actor");
        }
    }

    /// Keeps the memory, for one who already does.
    #[inline]
    pub(crate) fn retain(self) {
        if self.hold() > Count::MAX / 2 {
            self.release();
            panic!("too many wakers of one actor");
        }
    }

    /// As `retain`, for what the runtime has of its own: a few at a time, for which the upper half of the count is left.
    #[inline]
    pub(crate) fn hold(self) -> Count {
        // Relaxed: the caller keeps the memory alive.
        self.header().counts.memory.fetch_add(1, Ordering::Relaxed)
    }

    /// Lets go of the memory.
    #[inline]
    pub(crate) fn release(self) {
        // Release: uses before come before the end of the memory. Acquire: the last one sees them.
        if self.header().counts.memory.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: nobody is left.
            unsafe { self.free() };
        }
    }

    /// Does this thread run the cell, or own it? Without threads nobody can tell.
    #[inline]
    fn is_in_hand(self) -> bool {
        if self.is_owned() {
            self.is_consumed_here()
        } else {
            sync::KNOWS_HERE && ptr::eq(sync::running(), self.as_ptr().cast_const().cast())
        }
    }

    /// Lets go of what was kept for wakers. *The runner, in `Life::Dead`.*
    pub(crate) fn release_spare(self) {
        for _ in 0..self.mailbox().spare.take() {
            self.release();
        }
    }

    /// # Safety
    /// Nobody else uses the cell; future, actor and queue are gone.
    #[cold]
    unsafe fn free(self) {
        let cold = self.header().cold.get();
        // SAFETY: as the caller promises.
        unsafe {
            if !cold.is_null() {
                drop(Box::from_raw(cold));
            }
            free_kin(self.header().kin);
            let home = self.header().home;
            let slots = self
                .has_tail()
                .then(|| Room::drop_in_place(self.room().as_ptr()));
            let layout = self.vtable().layout(slots);
            pool::give(self.0.cast(), layout.expect("it was laid out before").0);
            // Last: it may be the system's end.
            Home::move_out_cell(home);
        }
    }
}
