//! The wakers of a cell: they wake the handler that is pending there.
//!
//! A waker keeps the memory of its cell. What the runner or the owner lets go of stays in the cell for the next one.

use super::CellPtr;
use crate::mailbox::Life;
use crate::state::{Next, Rest};
use core::mem::ManuallyDrop;
use core::task::{RawWaker, RawWakerVTable, Waker};

impl CellPtr {
    /// As `retain`, for a waker: its runner takes a reference that a waker has left there.
    #[inline]
    fn retain_waker(self) {
        let spare = &self.mailbox().spare;
        if self.is_in_hand() && spare.get() != 0 {
            spare.set(spare.get() - 1);
        } else {
            self.retain();
        }
    }

    /// As `release`, for a waker: its runner keeps the reference for the next one.
    #[inline]
    fn release_waker(self) {
        if !(self.is_in_hand() && self.mailbox().life.get() != Life::Dead && self.keep()) {
            self.release();
        }
    }

    /// Keeps a waker's reference for the next waker, if there is room. *The holder of the ticket, or
    /// the owner.*
    #[inline]
    fn keep(self) -> bool {
        let spare = &self.mailbox().spare;
        let room = spare.get() != u8::MAX;
        if room {
            spare.set(spare.get() + 1);
        }
        room
    }

    /// Wakes the pending handler and uses the waker's reference up. *Any thread.*
    #[inline]
    fn wake_and_release(self) {
        if self.is_owned() {
            self.wake();
            self.release_waker();
        } else if self.mailbox().task.wake() == Next::Schedule {
            // Whoever is to schedule holds the ticket until then.
            let kept = self.keep();
            self.schedule();
            if !kept {
                self.release();
            }
        } else {
            self.release_waker();
        }
    }

    /// A waker for one poll. It holds no reference: its clones do.
    #[inline(always)]
    pub(crate) fn borrowed_waker(self) -> ManuallyDrop<Waker> {
        // SAFETY: the vtable keeps the contract; the runner keeps the cell alive during the poll.
        ManuallyDrop::new(unsafe {
            Waker::from_raw(RawWaker::new(self.0.as_ptr().cast_const().cast(), &WAKER))
        })
    }

    /// Wakes the pending handler. *Any thread that keeps the memory alive.*
    pub(crate) fn wake(self) {
        let mailbox = self.mailbox();
        if !self.is_owned() {
            if mailbox.task.wake() == Next::Schedule {
                self.schedule();
            }
        } else if !self.is_consumed_here() {
            if mailbox.task.note_wake() {
                self.ring();
            }
        } else if mailbox.rest.get() == Rest::Awaiting {
            mailbox.rest.set(Rest::Active);
            self.schedule();
        } else {
            mailbox.task.note_wake();
        }
    }
}

static WAKER: RawWakerVTable = {
    unsafe fn of(data: *const ()) -> CellPtr {
        // SAFETY: every waker's data is a cell.
        unsafe { CellPtr::from_ptr(data.cast_mut().cast()) }
    }
    unsafe fn clone(data: *const ()) -> RawWaker {
        // SAFETY: `data` is a live cell.
        unsafe { of(data) }.retain_waker();
        RawWaker::new(data, &WAKER)
    }
    unsafe fn wake(data: *const ()) {
        // SAFETY: `data` is a live cell, and this waker's reference ends here.
        unsafe { of(data) }.wake_and_release();
    }
    unsafe fn wake_by_ref(data: *const ()) {
        // SAFETY: `data` is a live cell.
        unsafe { of(data) }.wake();
    }
    unsafe fn drop(data: *const ()) {
        // SAFETY: `data` is a live cell, and this waker's reference ends here.
        unsafe { of(data) }.release_waker();
    }
    RawWakerVTable::new(clone, wake, wake_by_ref, drop)
};
