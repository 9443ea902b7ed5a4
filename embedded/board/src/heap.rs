//! The heap: a first-fit list that counts what it is asked for.

use core::alloc::{GlobalAlloc, Layout};
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering;
use embedded_alloc::LlffHeap;
use portable_atomic::AtomicUsize;

/// The microbit has 16 KiB of memory; the rest is for the stack.
const SIZE: usize = if cfg!(board = "microbit") {
    9 * 1024
} else {
    64 * 1024
};

struct Counting {
    heap: LlffHeap,
    allocations: AtomicUsize,
}

#[global_allocator]
static HEAP: Counting = Counting {
    heap: LlffHeap::empty(),
    allocations: AtomicUsize::new(0),
};

// SAFETY: `LlffHeap` is an allocator; counting changes nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Relaxed: a count.
        self.allocations.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { self.heap.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { self.heap.dealloc(block, layout) }
    }
}

/// Gives the heap its memory. To be called once, first.
pub fn init() {
    static mut MEMORY: [MaybeUninit<u8>; SIZE] = [MaybeUninit::uninit(); SIZE];
    // SAFETY: called once; nobody else has the memory.
    unsafe { HEAP.heap.init((&raw mut MEMORY).addr(), SIZE) }
}

/// How often memory was asked for since the start.
pub fn allocations() -> usize {
    // Relaxed: a count.
    HEAP.allocations.load(Ordering::Relaxed)
}

/// Bytes in use.
pub fn used() -> usize {
    HEAP.heap.used()
}

/// Bytes that are free.
pub fn free() -> usize {
    HEAP.heap.free()
}
