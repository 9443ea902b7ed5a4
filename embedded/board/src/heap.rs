//! The memory of actors: what backs the global allocator, and how often it was asked.
//!
//! The runtime asks for memory when an actor is spawned and when a list grows. Both backings refuse with a null
//! pointer, which a spawn hands to its caller as an error.

use core::alloc::{GlobalAlloc, Layout};
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering;
use portable_atomic::AtomicUsize;

/// The microbit has 16 KiB of memory; the rest is for the stack.
const SIZE: usize = if cfg!(board = "microbit") {
    10 * 1024
} else {
    64 * 1024
};

static mut MEMORY: [MaybeUninit<u64>; SIZE / 8] = [MaybeUninit::uninit(); SIZE / 8];

#[cfg(feature = "pool")]
use crate::pool::Pool as Backing;
#[cfg(not(feature = "pool"))]
use embedded_alloc::LlffHeap as Backing;

struct Counting {
    backing: Backing,
    allocations: AtomicUsize,
    used: AtomicUsize,
    most: AtomicUsize,
}

#[global_allocator]
static HEAP: Counting = Counting {
    backing: Backing::empty(),
    allocations: AtomicUsize::new(0),
    used: AtomicUsize::new(0),
    most: AtomicUsize::new(0),
};

// SAFETY: the backing is an allocator; counting changes nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let block = unsafe { self.backing.alloc(layout) };
        if !block.is_null() {
            // Relaxed, three times: counts.
            self.allocations.fetch_add(1, Ordering::Relaxed);
            let before = self.used.fetch_add(layout.size(), Ordering::Relaxed);
            self.most
                .fetch_max(before + layout.size(), Ordering::Relaxed);
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // Relaxed: a count.
        self.used.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { self.backing.dealloc(block, layout) }
    }
}

/// Gives the allocator its memory. To be called once, first.
pub fn init() {
    // SAFETY: called once; nobody else has the memory.
    unsafe {
        HEAP.backing
            .init((&raw mut MEMORY).expose_provenance(), SIZE)
    }
}

/// How often memory was given since the start.
pub fn allocations() -> usize {
    // Relaxed: a count.
    HEAP.allocations.load(Ordering::Relaxed)
}

/// Bytes that were asked for and have not been given back.
pub fn used() -> usize {
    // Relaxed: a count.
    HEAP.used.load(Ordering::Relaxed)
}

/// The most bytes that were in use.
pub fn most() -> usize {
    // Relaxed: a count.
    HEAP.most.load(Ordering::Relaxed)
}
