//! What differs between targets, in one place: atomics, cells, locks, the thread's own state, panics.
//!
//! | build | atomics and cells | lock | thread's own state | panic |
//! |---|---|---|---|---|
//! | `std` | core | operating system | thread-local | caught |
//! | without | core, or `words.rs` where there is no compare-and-swap | critical section | unknown, or one static | ends the program |
//! | `cfg(loom)` | loom | loom | loom | as with or without `std` |
//!
//! No other file of this crate names `std`, an atomic type of `core`, or a lock.

use alloc::boxed::Box;
use core::any::Any;

// === atomics ===

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU16, AtomicU32, AtomicUsize, Ordering};

#[cfg(not(loom))]
use core::sync::atomic as plain;
#[cfg(not(loom))]
pub(crate) use core::sync::atomic::Ordering;

#[cfg(all(not(loom), target_has_atomic = "ptr"))]
pub(crate) use plain::{AtomicPtr, AtomicU16, AtomicU32, AtomicUsize};

#[cfg(all(not(loom), any(test, not(target_has_atomic = "ptr"))))]
#[cfg_attr(target_has_atomic = "ptr", allow(dead_code, reason = "to be tested"))]
mod words;
#[cfg(all(not(loom), not(target_has_atomic = "ptr")))]
pub(crate) use words::{AtomicPtr, AtomicU16, AtomicU32, AtomicUsize};

/// Has the program promised that it runs on one core, without threads?
#[cfg(not(loom))]
#[cfg_attr(feature = "std", allow(dead_code, reason = "to be tested"))]
const PROMISED: bool = cfg!(all(
    feature = "unsafe-assume-single-core",
    not(feature = "std")
));

/// References to one actor, which are at most half as many as this counts.
#[cfg(any(loom, feature = "std"))]
pub(crate) type Count = u32;
#[cfg(any(loom, feature = "std"))]
pub(crate) use AtomicU32 as AtomicCount;
/// The same, where there is little memory.
#[cfg(not(any(loom, feature = "std")))]
pub(crate) type Count = u16;
#[cfg(not(any(loom, feature = "std")))]
pub(crate) use AtomicU16 as AtomicCount;

/// A full fence (`SeqCst`).
#[cfg(any(loom, feature = "std"))]
#[inline(always)]
pub(crate) fn fence() {
    // SeqCst, in both: whoever calls says which two accesses it stands between.
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
    // SeqCst: likewise.
    #[cfg(not(loom))]
    core::sync::atomic::fence(Ordering::SeqCst);
}

/// A full fence, for a thread that has done a read-modify-write between the accesses that are to be
/// ordered. On x86 every such operation is a full barrier already, and a second one would cost as
/// much again; the compiler is all that has to be held back.
#[cfg(any(loom, feature = "std"))]
#[inline(always)]
pub(crate) fn fence_after_rmw() {
    if cfg!(all(
        not(any(loom, miri)),
        any(target_arch = "x86", target_arch = "x86_64")
    )) {
        // SeqCst: as in `fence`.
        core::sync::atomic::compiler_fence(Ordering::SeqCst);
    } else {
        fence();
    }
}

// === shared ownership ===

#[cfg(target_has_atomic = "ptr")]
pub(crate) use alloc::sync::{Arc, Weak};
#[cfg(target_has_atomic = "ptr")]
use alloc::task::Wake;

#[cfg(not(target_has_atomic = "ptr"))]
use portable_atomic_util::task::Wake;
#[cfg(not(target_has_atomic = "ptr"))]
pub(crate) use portable_atomic_util::{Arc, Weak};

/// A value that is told when one of its wakers is used.
pub(crate) trait Wakes: Send + Sync + 'static {
    fn wake(&self);
}

/// Such a value, to be shared with its wakers.
pub(crate) struct Waking<W>(pub(crate) W);

impl<W: Wakes> Waking<W> {
    pub(crate) fn waker(this: &Arc<Self>) -> core::task::Waker {
        Arc::clone(this).into()
    }
}

// The two traits differ in how the methods take the value.
#[cfg(target_has_atomic = "ptr")]
impl<W: Wakes> Wake for Waking<W> {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake();
    }
}

#[cfg(not(target_has_atomic = "ptr"))]
impl<W: Wakes> Wake for Waking<W> {
    fn wake(this: Arc<Self>) {
        this.0.wake();
    }

    fn wake_by_ref(this: &Arc<Self>) {
        this.0.wake();
    }
}

// === waiting for another thread ===

#[cfg(loom)]
pub(crate) use loom::hint::spin_loop;

#[cfg(not(loom))]
pub(crate) use core::hint::spin_loop;

/// Lets another thread go on that is in the middle of something. Without threads there is none: who came in
/// between has come to its end.
#[inline(always)]
pub(crate) fn pause(spins: u32) {
    if cfg!(all(feature = "std", not(loom))) {
        for _ in 0..spins {
            spin_loop();
        }
    }
}

// === memory ===

#[cfg(loom)]
pub(crate) use loom::alloc::{alloc, dealloc};

#[cfg(not(loom))]
pub(crate) use alloc::alloc::{alloc, dealloc};

/// Fetches the line of `address` for a write, where the target can be told to. A hint: the address
/// need not be valid.
#[cfg(all(feature = "std", not(loom)))]
#[cfg_attr(miri, allow(dead_code, reason = "see `pool.rs`"))]
#[inline(always)]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch never faults.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_ET0>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

// === ordered maps ===

/// An ordered map. With `std` there may be a great many names and timers in one; without, the program is to be
/// small.
#[cfg(any(loom, feature = "std"))]
pub(crate) use alloc::collections::BTreeMap as Map;

#[cfg(not(any(loom, feature = "std")))]
pub(crate) use crate::map::Map;

// === cell ===

/// An `UnsafeCell` that is reached through closures only, so that loom can watch each access.
#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(loom::cell::UnsafeCell<T>);

#[cfg(loom)]
impl<T> UnsafeCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::cell::UnsafeCell::new(value))
    }

    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        self.0.with_mut(f)
    }
}

/// An `UnsafeCell` that is reached through closures only, so that loom can watch each access.
#[cfg(not(loom))]
#[derive(Debug)]
#[repr(transparent)]
#[allow(clippy::disallowed_types, reason = "the one place that wraps it")]
pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

#[cfg(not(loom))]
#[allow(clippy::disallowed_types, reason = "the one place that wraps it")]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

// === lock ===

/// A lock held for a few instructions. Code under it never calls user code and never locks another.
#[derive(Debug)]
pub(crate) struct Mutex<T>(lock::Lock<T>);

impl<T> Mutex<T> {
    #[cfg(not(loom))]
    pub(crate) const fn new(value: T) -> Self {
        Self(lock::Lock::new(value))
    }

    #[cfg(loom)]
    pub(crate) fn new(value: T) -> Self {
        Self(lock::Lock::new(value))
    }

    /// Runs `f` on the value. Must not be entered twice on one thread.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        lock::with(&self.0, f)
    }
}

#[cfg(loom)]
mod lock {
    pub(super) use loom::sync::Mutex as Lock;

    pub(super) fn with<T, R>(lock: &Lock<T>, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut lock.lock().expect("no panic under a lock"))
    }
}

#[cfg(all(not(loom), feature = "std"))]
mod lock {
    pub(super) use std::sync::Mutex as Lock;
    use std::sync::PoisonError;

    #[inline]
    pub(super) fn with<T, R>(lock: &Lock<T>, f: impl FnOnce(&mut T) -> R) -> R {
        // Nothing under a lock calls user code, so a poisoned value is still whole.
        f(&mut lock.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(all(not(loom), not(feature = "std")))]
mod lock {
    use super::UnsafeCell;

    #[derive(Debug)]
    pub(super) struct Lock<T>(UnsafeCell<T>);

    // SAFETY: the value is reached only inside a critical section, by one context at a time.
    unsafe impl<T: Send> Sync for Lock<T> {}

    impl<T> Lock<T> {
        pub(super) const fn new(value: T) -> Self {
            Self(UnsafeCell::new(value))
        }
    }

    #[inline]
    pub(super) fn with<T, R>(lock: &Lock<T>, f: impl FnOnce(&mut T) -> R) -> R {
        critical_section::with(|_| {
            lock.0.with_mut(|value| {
                // SAFETY: the critical section excludes every other context, and `with` is not nested.
                f(unsafe { &mut *value })
            })
        })
    }
}

// === the thread's own state ===

/// What a thread knows about itself while it polls a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Here {
    /// The system whose worker this thread polls.
    pub(crate) home: *const (),
    /// `home` if that system has one worker only, so that this thread is every actor's consumer.
    pub(crate) alone: *const (),
    /// The worker's lane in the coordinator.
    pub(crate) lane: *const (),
}

impl Here {
    pub(crate) const NOWHERE: Self = Self {
        home: core::ptr::null(),
        alone: core::ptr::null(),
        lane: core::ptr::null(),
    };
}

#[cfg(any(loom, feature = "std"))]
mod local {
    use super::Here;
    use core::cell::Cell;

    #[cfg(not(loom))]
    std::thread_local! {
        static HERE: Cell<Here> = const { Cell::new(Here::NOWHERE) };
        static RUNNING: Cell<*const ()> = const { Cell::new(core::ptr::null()) };
    }

    #[cfg(loom)]
    loom::thread_local! {
        static HERE: Cell<Here> = Cell::new(Here::NOWHERE);
        static RUNNING: Cell<*const ()> = Cell::new(core::ptr::null());
    }

    #[inline(always)]
    pub(crate) fn here() -> Here {
        HERE.with(Cell::get)
    }

    #[inline]
    pub(crate) fn set_here(here: Here) {
        HERE.with(|cell| cell.set(here));
    }

    /// The cell whose activation this thread runs.
    pub(crate) fn running() -> *const () {
        RUNNING.with(Cell::get)
    }

    #[inline(always)]
    pub(crate) fn set_running(cell: *const ()) {
        RUNNING.with(|running| running.set(cell));
    }
}

/// Without threads there is no way to tell a worker from an interrupt that came while it ran, so
/// every sender takes the path that is safe from anywhere. What runs is known all the same, on one core: it is
/// asked for when a future is polled, which interrupts do not do. Whether there are other cores only the program
/// knows, so nothing is said to run unless it promises that there are none.
#[cfg(not(any(loom, feature = "std")))]
mod local {
    use super::{AtomicPtr, Here, Ordering, PROMISED};

    static RUNNING: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

    pub(crate) fn here() -> Here {
        Here::NOWHERE
    }

    pub(crate) fn set_here(_here: Here) {}

    pub(crate) fn running() -> *const () {
        if PROMISED {
            // Relaxed: written and read by the same context.
            RUNNING.load(Ordering::Relaxed)
        } else {
            core::ptr::null()
        }
    }

    pub(crate) fn set_running(cell: *const ()) {
        if PROMISED {
            // Relaxed: written and read by the same context.
            RUNNING.store(cell.cast_mut(), Ordering::Relaxed);
        }
    }
}

pub(crate) use local::{here, running, set_here, set_running};

/// Can a thread tell that it is a worker's? If not, `here` is nowhere on every thread.
pub(crate) const KNOWS_HERE: bool = cfg!(any(loom, feature = "std"));

/// Is the program to be small rather than fast?
pub(crate) const SMALL: bool = cfg!(not(any(loom, feature = "std")));

/// The thread's stock of recycled blocks; `None` where there are no threads, or where a checker
/// wants to see every allocation.
#[cfg(all(feature = "std", not(loom)))]
mod stock {
    use super::UnsafeCell;
    use crate::pool::Stock;
    use core::cell::Cell;

    std::thread_local! {
        // No destructor, so the access is one addition to the thread pointer, also while the thread ends.
        static STOCK: UnsafeCell<Stock> = const { UnsafeCell::new(Stock::new()) };
        static FLUSH: Flush = const { Flush(Cell::new(false)) };
    }

    struct Flush(Cell<bool>);

    impl Drop for Flush {
        fn drop(&mut self) {
            // SAFETY: as in `with_stock`; `flush` calls nothing that comes back here.
            STOCK.with(|stock| stock.with_mut(|stock| unsafe { (*stock).flush() }));
        }
    }

    #[inline(always)]
    pub(crate) fn with_stock<R>(f: impl FnOnce(&mut Stock) -> R) -> Option<R> {
        // SAFETY: the stock belongs to this thread, and the callers in `pool.rs` do not nest.
        STOCK.with(|stock| stock.with_mut(|stock| Some(f(unsafe { &mut *stock }))))
    }

    /// Asks for the stock to be handed back when this thread ends. `false` if it is already ending.
    pub(crate) fn flush_at_thread_end() -> bool {
        FLUSH.try_with(|flush| flush.0.set(true)).is_ok()
    }
}

#[cfg(all(feature = "std", not(loom)))]
#[cfg_attr(miri, allow(unused_imports, reason = "see `pool.rs`"))]
pub(crate) use stock::{flush_at_thread_end, with_stock};

// === panics ===

/// The value a panic carries.
pub(crate) type Panic = Box<dyn Any + Send>;

/// Runs `f`; a panic inside becomes an error where the target can unwind.
#[cfg(feature = "std")]
#[inline(always)]
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Panic> {
    std::panic::catch_unwind(core::panic::AssertUnwindSafe(f))
}

/// Is this thread unwinding from a panic?
pub(crate) fn is_panicking() -> bool {
    #[cfg(feature = "std")]
    return std::thread::panicking();
    #[cfg(not(feature = "std"))]
    return false;
}

/// Goes on with a panic that was caught.
pub(crate) fn panic_on(panic: Panic) -> ! {
    #[cfg(feature = "std")]
    std::panic::resume_unwind(panic);
    #[cfg(not(feature = "std"))]
    {
        drop(panic);
        unreachable!("nothing is caught without `std`")
    }
}

/// Runs foreign code whose panic must not hit a bystander: it ends here, and so does a panic of the
/// panic's own value when it is dropped.
pub(crate) fn quietly(f: impl FnOnce()) {
    if let Err(panic) = catch(f) {
        discard(panic);
    }
}

/// Drops the value of a panic, whatever its destructor does.
pub(crate) fn discard(panic: Panic) {
    if let Err(second) = catch(|| drop(panic)) {
        core::mem::forget(second);
    }
}

/// Wakes somebody. A waker is foreign code.
pub(crate) fn wake(waker: core::task::Waker) {
    quietly(|| waker.wake());
}

/// Runs `f`. Without `std` a panic is a fault of the program and never returns here.
#[cfg(not(feature = "std"))]
#[inline(always)]
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Panic> {
    Ok(f())
}
