//! An allocator without a general heap: blocks of a few fixed sizes.
//!
//! Memory is cut from the front when a size is first asked for, and a block that comes back is kept for its size
//! alone. So each call takes the same few instructions, and nothing is ever fragmented; what was once a small
//! block never becomes part of a large one.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::RefCell;
use core::ptr;
use critical_section::Mutex;

/// The sizes, in bytes. Blocks are aligned to eight.
const SIZES: [usize; 12] = [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048];

/// Blocks of fixed sizes.
pub struct Pool(Mutex<RefCell<Blocks>>);

struct Blocks {
    /// What has not been cut yet.
    next: *mut u8,
    left: usize,
    /// The first free block of each size; each holds the address of the next.
    free: [*mut u8; SIZES.len()],
}

// SAFETY: plain addresses of memory that nobody else has.
unsafe impl Send for Blocks {}

impl Pool {
    /// A pool without memory.
    pub const fn empty() -> Self {
        Self(Mutex::new(RefCell::new(Blocks {
            next: ptr::null_mut(),
            left: 0,
            free: [ptr::null_mut(); SIZES.len()],
        })))
    }

    /// Gives it memory.
    ///
    /// # Safety
    /// `size` bytes from the address `start`, which is aligned to eight, belong to the pool from now on.
    pub unsafe fn init(&self, start: usize, size: usize) {
        critical_section::with(|cs| {
            let mut blocks = self.0.borrow_ref_mut(cs);
            blocks.next = ptr::with_exposed_provenance_mut(start);
            blocks.left = size;
        });
    }
}

/// The class of a layout.
fn class_of(layout: Layout) -> Option<usize> {
    if layout.align() > 8 {
        return None;
    }
    SIZES.iter().position(|size| *size >= layout.size())
}

// SAFETY: a block is in a list, or in one caller's hands; its class is that of the layout both times.
unsafe impl GlobalAlloc for Pool {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class_of(layout) else {
            return ptr::null_mut();
        };
        critical_section::with(|cs| {
            let blocks = &mut *self.0.borrow_ref_mut(cs);
            let block = blocks.free[class];
            if !block.is_null() {
                // SAFETY: a free block holds the address of the next.
                blocks.free[class] = unsafe { block.cast::<*mut u8>().read() };
                return block;
            }
            if blocks.left < SIZES[class] {
                return ptr::null_mut();
            }
            let block = blocks.next;
            blocks.left -= SIZES[class];
            // SAFETY: inside the memory, by the check above.
            blocks.next = unsafe { block.add(SIZES[class]) };
            block
        })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(class) = class_of(layout) else {
            return;
        };
        critical_section::with(|cs| {
            let blocks = &mut *self.0.borrow_ref_mut(cs);
            // SAFETY: the block is ours again, and large enough.
            unsafe { block.cast::<*mut u8>().write(blocks.free[class]) };
            blocks.free[class] = block;
        });
    }
}
