//! Recycled memory for cells, queue nodes and reply slots.
//!
//! A block freed on another thread than it came from is what a general allocator does slowly, and
//! messages do nothing else. Each thread keeps two magazines per size; full and empty ones are
//! exchanged through a depot, so blocks that flow from consumer to producer come back in bulk.
//!
//! Blocks larger than [`MAX`] go to the global allocator. So does everything on targets without
//! threads, and under miri and loom, which then see each allocation; miri runs the recycling in its
//! own tests. Memory taken for blocks stays
//! with the process: a burst leaves its high-water mark behind, ready for the next one.
//!
//! # Concurrency
//!
//! A [`Stock`] belongs to one thread. The depot is behind a lock, taken once per magazine.

use alloc::alloc::handle_alloc_error;
use alloc::boxed::Box;
use core::alloc::Layout;
use core::ptr::NonNull;

/// Takes a block. Its content is undefined.
#[inline(always)]
pub(crate) fn take(layout: Layout) -> NonNull<u8> {
    try_take(layout).unwrap_or_else(|| handle_alloc_error(layout))
}

/// A box; `None` if there is no memory, and the value is dropped.
pub(crate) fn try_box<T>(value: T) -> Option<Box<T>> {
    const { assert!(size_of::<T>() != 0) };
    // SAFETY: the layout is not empty.
    let place = unsafe { alloc::alloc::alloc(Layout::new::<T>()) };
    let place = NonNull::new(place)?.cast::<T>();
    // SAFETY: fresh memory of the layout, of the allocator that boxes give it back to.
    unsafe {
        place.write(value);
        Some(Box::from_raw(place.as_ptr()))
    }
}

#[cfg(all(feature = "std", not(loom)))]
pub(crate) use recycled::Stock;

#[cfg(all(feature = "std", not(loom), not(miri)))]
pub(crate) use recycled::{give, try_take};

#[cfg(not(all(feature = "std", not(loom), not(miri))))]
pub(crate) use plain::{give, try_take};

#[cfg(not(all(feature = "std", not(loom), not(miri))))]
mod plain {
    use super::{Layout, NonNull};
    use crate::sync;

    /// Takes a block; `None` if there is no memory.
    pub(crate) fn try_take(layout: Layout) -> Option<NonNull<u8>> {
        debug_assert!(layout.size() != 0);
        // SAFETY: every block has a header or a message slot, so the size is not zero.
        NonNull::new(unsafe { sync::alloc(layout) })
    }

    /// Gives a block back.
    ///
    /// # Safety
    /// `block` came from a take with the same layout and is used no more.
    pub(crate) unsafe fn give(block: NonNull<u8>, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { sync::dealloc(block.as_ptr(), layout) }
    }
}

#[cfg(all(feature = "std", not(loom)))]
#[cfg_attr(miri, allow(dead_code, reason = "under miri its own tests use it"))]
mod recycled {
    use super::{Layout, NonNull};
    use crate::sync::{self, Mutex};
    use core::ptr;

    /// Small classes: multiples of 8 from 16 to 64. Large ones: multiples of 64, up to `MAX`.
    const SMALL: usize = 7;
    const LARGE: usize = 16;
    const CLASSES: usize = SMALL + LARGE;
    const MAX: usize = 64 * LARGE;
    const CHUNK: usize = 64 * 1024;
    const CHUNK_ALIGN: usize = 64;

    /// The class of a layout: constant at every call site that knows its type.
    #[inline(always)]
    const fn class_of(layout: Layout) -> Option<usize> {
        let align = layout.align();
        if align > CHUNK_ALIGN || layout.size() > MAX {
            return None;
        }
        // Blocks of a class lie side by side from an aligned start, so a multiple of the alignment
        // as size is all that alignment needs.
        let size = if align > 8 {
            layout.size().next_multiple_of(align)
        } else {
            layout.size()
        };
        // 24, 40, 56 are no multiples of 16: an alignment of 16 has been rounded to 32, 48, 64 above.
        Some(if size <= 16 {
            0
        } else if size <= 64 {
            size.div_ceil(8) - 2
        } else {
            SMALL + size.div_ceil(64) - 1
        })
    }

    const fn size_of_class(class: usize) -> usize {
        if class < SMALL {
            (class + 2) * 8
        } else {
            (class + 1 - SMALL) * 64
        }
    }

    /// Blocks in a full magazine: about 8 KiB, so that small ones rarely visit the depot and large
    /// ones do not hoard.
    const fn capacity(class: usize) -> u32 {
        let count = 8192 / size_of_class(class);
        if count < 16 { 16 } else { count as u32 }
    }

    /// A free block: the links of its magazine and of the depot.
    #[repr(C)]
    struct Free {
        next: *mut Free,
        /// In the first block of a magazine in the depot: the next magazine. In the others a block
        /// that will probably be taken `AHEAD` takes later; only ever a hint.
        other: *mut Free,
    }

    /// A block that another thread has freed is in that thread's cache. So many takes before its
    /// turn it is fetched.
    const AHEAD: usize = 8;

    /// A list of free blocks.
    #[derive(Clone, Copy)]
    struct Magazine {
        top: *mut Free,
        count: u32,
    }

    const EMPTY: Magazine = Magazine {
        top: ptr::null_mut(),
        count: 0,
    };

    /// One size in one thread's stock.
    #[derive(Clone, Copy)]
    struct Shelf {
        active: Magazine,
        spare: *mut Free,
        /// The blocks given last, for `Free::other`.
        recent: [*mut Free; AHEAD],
        /// Fresh memory not yet cut into blocks.
        fresh: *mut u8,
        fresh_end: *mut u8,
    }

    /// One thread's recycled blocks.
    pub(crate) struct Stock {
        shelves: [Shelf; CLASSES],
        registered: bool,
    }

    impl Stock {
        pub(crate) const fn new() -> Self {
            Self {
                shelves: [Shelf {
                    active: EMPTY,
                    spare: ptr::null_mut(),
                    recent: [ptr::null_mut(); AHEAD],
                    fresh: ptr::null_mut(),
                    fresh_end: ptr::null_mut(),
                }; CLASSES],
                registered: false,
            }
        }

        /// Hands everything to the depot: the thread ends.
        pub(crate) fn flush(&mut self) {
            for class in 0..CLASSES {
                let shelf = &mut self.shelves[class];
                while let Some(block) = shelf.cut(class) {
                    // SAFETY: a fresh block is ours and large enough for `Free`.
                    unsafe { shelf.push(block.cast().as_ptr()) };
                }
                if !shelf.active.top.is_null() {
                    deposit(class, shelf.active.top);
                }
                if !shelf.spare.is_null() {
                    deposit(class, shelf.spare);
                }
                shelf.active = EMPTY;
                shelf.spare = ptr::null_mut();
            }
            // Frees that other thread-local destructors cause from here on collect in the shelves
            // and are lost with the thread, unless a further take registers again.
            self.registered = false;
        }
    }

    impl Shelf {
        /// # Safety
        /// `block` is free memory of this class.
        #[inline(always)]
        unsafe fn push(&mut self, block: *mut Free) {
            let active = &mut self.active;
            let recent = &mut self.recent[active.count as usize % AHEAD];
            let free = Free {
                next: active.top,
                other: *recent,
            };
            // SAFETY: a block holds at least 16 bytes and is aligned to 8.
            unsafe { block.write(free) };
            *recent = block;
            active.top = block;
            active.count += 1;
        }

        /// Cuts a block off the fresh memory.
        #[inline]
        fn cut(&mut self, class: usize) -> Option<NonNull<u8>> {
            let size = size_of_class(class);
            if (self.fresh_end.addr() - self.fresh.addr()) < size {
                return None;
            }
            let block = self.fresh;
            self.fresh = block.wrapping_add(size);
            NonNull::new(block)
        }

        #[cold]
        #[inline(never)]
        fn refill(&mut self, class: usize) -> Option<NonNull<u8>> {
            let magazine = if self.spare.is_null() {
                withdraw(class)
            } else {
                core::mem::replace(&mut self.spare, ptr::null_mut())
            };
            if !magazine.is_null() {
                // SAFETY: a magazine's blocks are free and linked.
                unsafe {
                    self.active.top = (*magazine).next;
                    // A magazine flushed by an ending thread may hold fewer; the count is then
                    // high and the magazine is exchanged a little early.
                    self.active.count = capacity(class) - 1;
                }
                return NonNull::new(magazine.cast());
            }
            let chunk = Layout::from_size_align(CHUNK, CHUNK_ALIGN).ok()?;
            // SAFETY: the size is not zero.
            self.fresh = unsafe { sync::alloc(chunk) };
            if self.fresh.is_null() {
                self.fresh_end = ptr::null_mut();
                return None;
            }
            self.fresh_end = self.fresh.wrapping_add(CHUNK);
            self.cut(class)
        }

        #[cold]
        #[inline(never)]
        fn exchange(&mut self, class: usize) {
            if !self.spare.is_null() {
                deposit(class, self.spare);
            }
            self.spare = self.active.top;
            self.active = EMPTY;
        }
    }

    /// Full magazines of one class, linked through their first blocks.
    struct Rack(*mut Free);

    // SAFETY: the blocks are free memory that nobody else points to.
    unsafe impl Send for Rack {}

    static DEPOT: [Mutex<Rack>; CLASSES] = [const { Mutex::new(Rack(ptr::null_mut())) }; CLASSES];

    fn deposit(class: usize, magazine: *mut Free) {
        DEPOT[class].with(|rack| {
            // SAFETY: the magazine's first block is free and ours.
            unsafe { (*magazine).other = rack.0 };
            rack.0 = magazine;
        });
    }

    fn withdraw(class: usize) -> *mut Free {
        DEPOT[class].with(|rack| {
            let magazine = rack.0;
            if !magazine.is_null() {
                // SAFETY: a magazine in the depot is linked through its first block.
                rack.0 = unsafe { (*magazine).other };
            }
            magazine
        })
    }

    /// Takes a block; `None` if there is no memory.
    #[inline(always)]
    pub(crate) fn try_take(layout: Layout) -> Option<NonNull<u8>> {
        let Some(class) = class_of(layout) else {
            // SAFETY: the size is not zero, it is above `MAX` or its alignment above the chunk's.
            return NonNull::new(unsafe { sync::alloc(layout) });
        };
        sync::with_stock(|stock| {
            let shelf = &mut stock.shelves[class];
            if let Some(top) = NonNull::new(shelf.active.top) {
                // SAFETY: a block in a magazine is free and linked.
                shelf.active.top = unsafe {
                    sync::prefetch((*top.as_ptr()).other.cast());
                    (*top.as_ptr()).next
                };
                shelf.active.count = shelf.active.count.saturating_sub(1);
                return Some(top.cast());
            }
            if let Some(block) = shelf.cut(class) {
                return Some(block);
            }
            stock.registered = stock.registered || sync::flush_at_thread_end();
            stock.shelves[class].active.count = 0;
            stock.shelves[class].refill(class)
        })
        .flatten()
    }

    /// Gives a block back.
    ///
    /// # Safety
    /// `block` came from a take with the same layout and is used no more.
    #[inline(always)]
    pub(crate) unsafe fn give(block: NonNull<u8>, layout: Layout) {
        let Some(class) = class_of(layout) else {
            // SAFETY: as the caller promises.
            return unsafe { sync::dealloc(block.as_ptr(), layout) };
        };
        sync::with_stock(|stock| {
            let shelf = &mut stock.shelves[class];
            if shelf.active.count >= capacity(class) {
                shelf.exchange(class);
                stock.registered = stock.registered || sync::flush_at_thread_end();
            }
            // SAFETY: the block is free now and at least 16 bytes.
            unsafe { stock.shelves[class].push(block.as_ptr().cast()) };
        });
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn classes_hold_their_layouts() {
            for size in 1..=1100 {
                for align in [1, 2, 4, 8, 16, 32, 64, 128] {
                    let layout = Layout::from_size_align(size, align).unwrap();
                    let Some(class) = class_of(layout) else {
                        assert!(size > MAX - 64 || align > 64, "{layout:?}");
                        continue;
                    };
                    let room = size_of_class(class);
                    assert!(room >= size, "{layout:?} in {room}");
                    assert_eq!(room % align.max(8), 0, "{layout:?} in {room}");
                }
            }
        }

        #[test]
        fn blocks_taken_together_do_not_overlap() {
            let layout = Layout::from_size_align(24, 8).unwrap();
            let count = if cfg!(miri) { 3_000 } else { 10_000 };
            let blocks: alloc::vec::Vec<_> =
                (0..count).map(|_| try_take(layout).unwrap()).collect();
            let mut starts: alloc::vec::Vec<_> =
                blocks.iter().map(|block| block.as_ptr().addr()).collect();
            starts.sort_unstable();
            assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= 24));
            for block in blocks {
                // SAFETY: taken above with the same layout.
                unsafe {
                    block.cast::<[u64; 3]>().write([7; 3]);
                    give(block, layout);
                }
            }
        }

        #[test]
        fn blocks_move_between_threads() {
            let layout = Layout::from_size_align(40, 8).unwrap();
            let rounds = if cfg!(miri) { 1 } else { 100 };
            for _ in 0..rounds {
                let (sender, receiver) = std::sync::mpsc::channel();
                let taker = std::thread::spawn(move || {
                    for n in 0..1_000_u64 {
                        let block = try_take(layout).unwrap().cast::<u64>();
                        // SAFETY: taken just now.
                        unsafe { block.write(n) };
                        // An address with its provenance, for the other thread to own.
                        sender.send(SendBlock(block)).unwrap();
                    }
                });
                for (n, SendBlock(block)) in (0_u64..).zip(receiver) {
                    // SAFETY: ours since it was sent.
                    unsafe {
                        assert_eq!(block.read(), n);
                        give(block.cast(), layout);
                    }
                }
                taker.join().unwrap();
            }
        }

        struct SendBlock(NonNull<u64>);

        // SAFETY: a block belongs to whoever holds the pointer.
        unsafe impl Send for SendBlock {}

        #[test]
        fn a_thread_that_ends_leaves_its_blocks_to_others() {
            let layout = Layout::from_size_align(1000, 8).unwrap();
            let class = class_of(layout).unwrap();
            let given = std::thread::spawn(move || {
                let block = try_take(layout).unwrap();
                // SAFETY: just taken.
                unsafe { give(block, layout) };
                block.as_ptr().addr()
            })
            .join()
            .unwrap();
            let mut magazine = withdraw(class);
            let mut found = false;
            let mut withdrawn = alloc::vec::Vec::new();
            while !magazine.is_null() {
                withdrawn.push(magazine);
                let mut block = magazine;
                while !block.is_null() {
                    found |= block.addr() == given;
                    // SAFETY: blocks of a withdrawn magazine are ours.
                    block = unsafe { (*block).next };
                }
                magazine = withdraw(class);
            }
            for magazine in withdrawn {
                deposit(class, magazine);
            }
            assert!(found);
        }
    }
}
