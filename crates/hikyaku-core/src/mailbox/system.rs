//! The system lane: messages that are never refused and never lost.
//!
//! Each message has its storage before it is sent: a node that the sender made, or a part of the
//! cell that sends it. The lane is a stack that the runner takes whole and turns over, so it is
//! first in, first out. When the cell ends, the lane ends with it, in the same exchange that takes
//! the last messages.
//!
//! # Concurrency
//!
//! `push`: any thread. `take`, `finish`: the runner.

use crate::cell::CellPtr;
use crate::failure::{Failure, StopCause};
use crate::invoker::Ending;
use crate::sync::{self, Arc, AtomicPtr, Mutex, Ordering};
use alloc::boxed::Box;
use core::ptr::{self, NonNull};
use core::task::Waker;

/// What the runtime tells a cell, in a box of its own. Who writes it brings what is done with it: what nobody writes
/// is not linked.
pub(crate) trait Letter: Sized + 'static {
    /// It has come.
    ///
    /// # Safety
    /// The ticket of `cell` is held, to which it was written.
    unsafe fn read(self, cell: CellPtr);

    /// It has come too late: the actor has ended.
    fn read_late(self, _cell: CellPtr, _farewell: &Farewell<'_>) {}

    /// Boxed for the lane.
    fn seal(self) -> NonNull<SystemNode> {
        let envelope = Box::new(Envelope {
            node: SystemNode::new(Envelope::<Self>::read),
            letter: self,
        });
        NonNull::from(Box::leak(envelope)).cast()
    }

    /// # Safety
    /// The node came from [`seal`](Self::seal) of this type, and is the caller's. Once.
    unsafe fn open(node: NonNull<SystemNode>) -> Self {
        // SAFETY: as the caller promises; the node is the envelope's first part, and its pointer was made
        // from the whole.
        unsafe { Box::from_raw(node.cast::<Envelope<Self>>().as_ptr()) }.letter
    }
}

#[repr(C)]
struct Envelope<L> {
    node: SystemNode,
    letter: L,
}

impl<L: Letter> Envelope<L> {
    /// # Safety
    /// As [`SystemNode::read`]; the node came from a letter of this type.
    unsafe fn read(node: NonNull<SystemNode>, cell: CellPtr, farewell: Option<&Farewell<'_>>) {
        // SAFETY: as the caller promises.
        unsafe {
            let letter = L::open(node);
            match farewell {
                None => letter.read(cell),
                Some(farewell) => letter.read_late(cell, farewell),
            }
        }
    }
}

/// What an actor leaves that has ended.
pub(crate) struct Farewell<'a> {
    pub(crate) ending: Ending,
    /// How it failed, with the error value.
    pub(crate) failure: Option<&'a Failure>,
}

impl Farewell<'_> {
    /// How it ended.
    pub(crate) fn cause(&self) -> StopCause {
        self.ending.cause(self.failure)
    }
}

/// Does what a message is about.
pub(crate) type Read = unsafe fn(NonNull<SystemNode>, CellPtr, Option<&Farewell<'_>>);

/// A message in the lane.
#[derive(Debug)]
pub(crate) struct SystemNode {
    next: *mut SystemNode,
    read: Read,
}

impl SystemNode {
    pub(crate) fn new(read: Read) -> Self {
        Self {
            next: ptr::null_mut(),
            read,
        }
    }

    /// Does what the message is about; with a farewell, if the actor has ended.
    ///
    /// # Safety
    /// The ticket of `cell` is held; the node was taken from its lane. Once.
    pub(crate) unsafe fn read(node: NonNull<Self>, cell: CellPtr, farewell: Option<&Farewell<'_>>) {
        // SAFETY: as the caller promises.
        unsafe { (node.as_ref().read)(node, cell, farewell) }
    }
}

/// The lane of one cell.
#[derive(Debug)]
pub(crate) struct SystemLane(AtomicPtr<SystemNode>);

/// The lane of a cell that has ended.
fn ended() -> *mut SystemNode {
    ptr::without_provenance_mut(1)
}

impl SystemLane {
    pub(crate) fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Queues a node. *Any thread.* False if the cell has ended; the node is then still the
    /// caller's.
    ///
    /// # Safety
    /// The node is the caller's; when it is queued, it is the runner's.
    pub(crate) unsafe fn push(&self, node: NonNull<SystemNode>) -> bool {
        // Acquire: a caller that finds the lane ended reads how the cell ended, which was written
        // before the Release in `finish`.
        let mut head = self.0.load(Ordering::Acquire);
        loop {
            if head == ended() {
                return false;
            }
            // SAFETY: the node is ours until the exchange succeeds.
            unsafe { (*node.as_ptr()).next = head };
            match self.0.compare_exchange_weak(
                head,
                node.as_ptr(),
                // Release: pairs with the Acquire in `take` and `finish`.
                Ordering::Release,
                // Acquire: as above.
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(seen) => head = seen,
            }
        }
    }

    /// Takes what is queued, oldest first. *Runner.*
    pub(crate) fn take(&self) -> Taken {
        // Acquire: pairs with the Release in `push`.
        Taken::turned(self.0.swap(ptr::null_mut(), Ordering::Acquire))
    }

    /// Ends the lane and takes what is left, oldest first. *Runner.*
    pub(crate) fn finish(&self) -> Taken {
        // Acquire: as in `take`. Release: pairs with the Acquire in `push`.
        Taken::turned(self.0.swap(ended(), Ordering::AcqRel))
    }
}

/// Nodes taken from a lane, oldest first. They belong to the holder.
#[derive(Debug)]
pub(crate) struct Taken(*mut SystemNode);

impl Taken {
    fn turned(newest: *mut SystemNode) -> Self {
        let mut node = newest;
        let mut turned = ptr::null_mut();
        while !node.is_null() {
            // SAFETY: taken nodes are the runner's.
            unsafe {
                let older = (*node).next;
                (*node).next = turned;
                turned = node;
                node = older;
            }
        }
        Self(turned)
    }
}

impl Iterator for Taken {
    type Item = NonNull<SystemNode>;

    fn next(&mut self) -> Option<Self::Item> {
        let node = NonNull::new(self.0)?;
        // SAFETY: the node is ours until it is handed out.
        self.0 = unsafe { (*node.as_ptr()).next };
        Some(node)
    }
}

/// What somebody waits for: the start of an actor, or its end.
#[derive(Debug)]
pub(crate) struct Notice {
    /// Is it the start that is waited for?
    pub(crate) start: bool,
    state: Mutex<NoticeState>,
}

#[derive(Debug)]
enum NoticeState {
    Waiting(Option<Waker>),
    /// Started: `None`. Ended: how.
    Done(Option<StopCause>),
    /// Nobody waits any more.
    Left,
}

impl Notice {
    pub(crate) fn new(start: bool) -> Arc<Self> {
        Arc::new(Self {
            start,
            state: Mutex::new(NoticeState::Waiting(None)),
        })
    }

    /// Tells the one who waits: started (`None`), or ended.
    pub(crate) fn tell(&self, ended: Option<StopCause>) {
        let mut ended = Some(ended);
        let waker = self.state.with(|state| match state {
            NoticeState::Waiting(waker) => {
                let waker = waker.take();
                *state = NoticeState::Done(ended.take().flatten());
                waker
            }
            NoticeState::Done(_) | NoticeState::Left => None,
        });
        if let Some(waker) = waker {
            sync::wake(waker);
        }
    }

    /// What was told, or leaves the waker.
    pub(crate) fn poll(&self, waker: &Waker) -> Option<Option<StopCause>> {
        let mut waker = Some(waker.clone());
        let told = self.state.with(|state| match state {
            NoticeState::Waiting(slot) => {
                core::mem::swap(slot, &mut waker);
                None
            }
            NoticeState::Done(cause) => Some(cause.clone()),
            NoticeState::Left => None,
        });
        drop(waker);
        told
    }

    /// Nobody waits any more.
    pub(crate) fn leave(&self) {
        let _left = self
            .state
            .with(|state| core::mem::replace(state, NoticeState::Left));
    }

    pub(crate) fn is_left(&self) -> bool {
        self.state.with(|state| matches!(state, NoticeState::Left))
    }
}
