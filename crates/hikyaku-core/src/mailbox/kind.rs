//! What is known of a message by code that is the same for all.
//!
//! Sending and handling come in two ways, with one source. By the type (`Own`, `Typed`) they are compiled for each kind of
//! message, and know sizes and places as constants. By the table (`Lent`, `ByTable`) they are there once, for machines
//! that have less room than time; what is done seldom is done so everywhere.

use super::annex::{Annex, Lanes, drop_newcomer};
use super::bounded::{Room, Slot, Tail};
use super::waiting::Waiter;
use super::{Drain, MailboxOptions, Node, Overflow, Push, Spot};
use crate::cell::CellPtr;
use crate::dead_letter::{DeadLetterReason, Lost};
use crate::flow::{FLOW, IfFlow};
use crate::sync;
use alloc::boxed::Box;
use core::alloc::Layout;
use core::any::{Any, TypeId};
use core::marker::PhantomData;
use core::mem::{MaybeUninit, offset_of};
use core::ptr;

/// How messages of one type lie in memory, and what they are.
pub(crate) struct Kind {
    pub(crate) message: Layout,
    /// A queue's node.
    pub(super) node: Layout,
    /// Where the message lies in a node.
    pub(super) in_node: usize,
    /// Where it lies in a waiting sender.
    pub(super) in_waiter: usize,
    /// From one slot of a bounded mailbox to the next.
    pub(super) slot: usize,
    /// Where the first of them lies in the tail.
    pub(super) slots: usize,
    /// Moves one to where there is room for it, as the type knows best.
    pub(super) carry: unsafe fn(*const (), *mut ()),
    /// The message at an address.
    pub(crate) any: fn(*mut ()) -> *mut dyn Any,
    pub(crate) id: fn() -> TypeId,
    pub(crate) name: fn() -> &'static str,
    pub(super) annex: Option<IfFlow<MakeAnnex>>,
}

impl Kind {
    pub(crate) const fn of<M: 'static>() -> &'static Self {
        const {
            &Self {
                message: Layout::new::<M>(),
                node: Layout::new::<Node<M>>(),
                in_node: offset_of!(Node<M>, message),
                in_waiter: offset_of!(Waiter<M>, message),
                slot: size_of::<Slot<M>>(),
                slots: size_of::<Room>().next_multiple_of(align_of::<Slot<M>>()),
                carry: carry::<M>,
                any: |message| message.cast::<M>(),
                id: TypeId::of::<M>,
                name: core::any::type_name::<M>,
                annex: IfFlow::of(|options, name| Some(Annex::<M>::new(options, name)?)),
            }
        }
    }

    /// A message that will not be handled.
    fn lost(&self, message: *mut ()) -> Lost {
        Lost {
            message: (self.any)(message),
            type_name: (self.name)(),
        }
    }
}

/// # Safety
/// `from` holds an `M`, and `to` has room for one. If messages go by the table, they are apart: elsewhere a first message
/// may lie partly in the slot.
unsafe fn carry<M>(from: *const (), to: *mut ()) {
    let (from, to) = (from.cast::<M>(), to.cast::<M>());
    // SAFETY: as the caller promises.
    unsafe {
        if BY_TABLE {
            ptr::copy_nonoverlapping(from, to, 1);
        } else {
            ptr::copy(from, to, 1);
        }
    }
}

/// Do messages go by the table? What is built with flow control has to know their types.
pub(crate) const BY_TABLE: bool = sync::SMALL && !FLOW;

/// Makes an annex for messages of a kind; `None` if there is no memory.
pub(super) type MakeAnnex = fn(&MailboxOptions, Option<&str>) -> Option<Box<dyn Lanes>>;

/// A message on its way into a mailbox.
pub(super) trait Parcel: Sized {
    /// What is kept of it, to have it back if it is refused.
    type Sent;

    /// Moves it to its place.
    ///
    /// # Safety
    /// `place` has room for it, and it is of this kind.
    unsafe fn put(self, kind: &Kind, place: *mut ()) -> Self::Sent;

    /// # Safety
    /// It was put there, and is used there no more.
    unsafe fn back(sent: Self::Sent, place: *mut ()) -> Self;

    /// Pushes it to the annex of the mailbox.
    ///
    /// # Safety
    /// As [`push`](super::push), to a cell with this tail, which has an annex.
    unsafe fn push_aside(self, cell: CellPtr, tail: Tail, overflow: Overflow) -> Push<Self>;

    /// The policy drops it.
    ///
    /// # Safety
    /// It is one of the cell's messages.
    unsafe fn drop_newest(self, cell: CellPtr);
}

/// The message itself.
pub(super) struct Own<M>(pub(super) M);

impl<M: 'static> Parcel for Own<M> {
    type Sent = ();

    #[inline(always)]
    unsafe fn put(self, _: &Kind, place: *mut ()) {
        // SAFETY: as the caller promises.
        unsafe { place.cast::<M>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn back((): (), place: *mut ()) -> Self {
        // SAFETY: as the caller promises.
        Self(unsafe { place.cast::<M>().read() })
    }

    unsafe fn push_aside(self, cell: CellPtr, tail: Tail, overflow: Overflow) -> Push<Self> {
        // SAFETY: as the caller promises.
        match unsafe { tail.annex::<M>() } {
            // SAFETY: likewise.
            Some(annex) => unsafe { annex.push(cell, self.0, overflow) }.map(Self),
            None => Push::Full(self),
        }
    }

    unsafe fn drop_newest(self, cell: CellPtr) {
        drop_newcomer(cell, self.0);
    }
}

/// Where it is. Whoever lends it forgets it, if it is accepted.
pub(super) struct Lent(pub(super) *mut ());

impl Parcel for Lent {
    type Sent = Self;

    unsafe fn put(self, kind: &Kind, place: *mut ()) -> Self {
        // SAFETY: as the caller promises.
        unsafe { (kind.carry)(self.0, place) };
        self
    }

    unsafe fn back(sent: Self, _: *mut ()) -> Self {
        sent
    }

    unsafe fn push_aside(self, _: CellPtr, _: Tail, _: Overflow) -> Push<Self> {
        // Annexes are for those who know the type.
        Push::Full(self)
    }

    unsafe fn drop_newest(self, cell: CellPtr) {
        let lost = cell.kind().lost(self.0);
        let shared = &cell.home().shared;
        shared.one_overflowed();
        let letters = &shared.dead_letters;
        // SAFETY: it counts as accepted, so it is ours.
        unsafe { letters.take_from_here(cell, lost, DeadLetterReason::Overflow) };
    }
}

/// How a runner knows the messages of its cell.
pub(crate) trait Known: Sized {
    /// A message that was moved out of its place.
    type Message: Send + 'static;

    fn kind(cell: CellPtr) -> &'static Kind;

    /// Moves a message out.
    ///
    /// # Safety
    /// The caller is the runner of `cell`, and no message of it is out. `place` holds one.
    unsafe fn take(cell: CellPtr, place: *mut ()) -> Self::Message;

    /// What [`Drain::first`] does: in line, or once for all.
    fn first(drain: &mut Drain<Self>) -> Option<Self::Message>;

    /// What [`Drain::next_with_spot`] does, likewise.
    fn next(drain: &mut Drain<Self>) -> Option<(Self::Message, Spot)>;

    /// Moves a message to another place.
    ///
    /// # Safety
    /// `place` has room for one, and is not where the message lies.
    unsafe fn put(message: Self::Message, place: *mut ());

    /// Where the message lies.
    fn place(message: &Self::Message) -> *const ();

    /// Takes the message that `write` writes, if it says so.
    ///
    /// # Safety
    /// As [`take`](Self::take); `write` returns true if it has written a message of `cell`.
    unsafe fn receive(cell: CellPtr, write: impl FnOnce(*mut ()) -> bool) -> Option<Self::Message>;
}

/// By their type: what is done with them is compiled for it.
pub(crate) struct Typed<M>(PhantomData<M>);

impl<M: Send + 'static> Known for Typed<M> {
    type Message = M;

    #[inline(always)]
    fn kind(_: CellPtr) -> &'static Kind {
        Kind::of::<M>()
    }

    #[inline(always)]
    unsafe fn take(_: CellPtr, place: *mut ()) -> M {
        // SAFETY: as the caller promises.
        unsafe { place.cast::<M>().read() }
    }

    #[inline(always)]
    fn first(drain: &mut Drain<Self>) -> Option<M> {
        drain.take_first()
    }

    #[inline(always)]
    fn next(drain: &mut Drain<Self>) -> Option<(M, Spot)> {
        drain.take_next()
    }

    #[inline(always)]
    unsafe fn put(message: M, place: *mut ()) {
        // SAFETY: as the caller promises.
        unsafe { place.cast::<M>().write(message) }
    }

    #[inline(always)]
    fn place(message: &M) -> *const () {
        ptr::from_ref(message).cast()
    }

    #[inline(always)]
    unsafe fn receive(_: CellPtr, write: impl FnOnce(*mut ()) -> bool) -> Option<M> {
        let mut place = MaybeUninit::<M>::uninit();
        // SAFETY: as the caller promises.
        write(place.as_mut_ptr().cast()).then(|| unsafe { place.assume_init() })
    }
}

/// By the table of the cell: the code is there once for all.
pub(crate) struct ByTable;

/// A message that lies in the slot of its cell, where there is no future then. So there is one at a time.
pub(crate) struct InSlot(CellPtr);

impl InSlot {
    /// It will not be handled.
    pub(crate) fn lose(self, reason: DeadLetterReason) {
        let cell = self.0;
        let lost = cell.kind().lost(self.leave());
        let letters = &cell.home().shared.dead_letters;
        // SAFETY: the message is in the slot, and nobody looks at it any more.
        unsafe { letters.take(cell.index(), lost, reason) };
    }

    /// The message stays in the slot, for the handler.
    pub(crate) fn leave(self) -> *mut () {
        let place = self.0.slot().cast();
        core::mem::forget(self);
        place
    }
}

impl Drop for InSlot {
    #[inline(never)]
    fn drop(&mut self) {
        let message = (self.0.kind().any)(self.0.slot().cast());
        // SAFETY: the message is in the slot, and nobody looks at it any more.
        unsafe { ptr::drop_in_place(message) }
    }
}

impl Known for ByTable {
    type Message = InSlot;

    fn kind(cell: CellPtr) -> &'static Kind {
        cell.kind()
    }

    unsafe fn take(cell: CellPtr, place: *mut ()) -> InSlot {
        // SAFETY: the slot is empty but for the message itself, as the caller promises, and large enough for one.
        unsafe { (cell.kind().carry)(place, cell.slot().cast()) };
        InSlot(cell)
    }

    #[inline(never)]
    fn first(drain: &mut Drain<Self>) -> Option<InSlot> {
        drain.take_first()
    }

    #[inline(never)]
    fn next(drain: &mut Drain<Self>) -> Option<(InSlot, Spot)> {
        drain.take_next()
    }

    unsafe fn put(message: InSlot, place: *mut ()) {
        let kind = message.0.kind();
        // SAFETY: as the caller promises.
        unsafe { (kind.carry)(message.leave(), place) };
    }

    fn place(message: &InSlot) -> *const () {
        message.0.slot().cast_const().cast()
    }

    unsafe fn receive(cell: CellPtr, write: impl FnOnce(*mut ()) -> bool) -> Option<InSlot> {
        write(cell.slot().cast()).then(|| InSlot(cell))
    }
}
