//! How deep the stack was: the memory below it is painted, and looked at later.

use core::ptr;

const PAINT: u32 = 0x5AFE_57AC;

unsafe extern "C" {
    /// The first address behind the statics.
    static mut __sheap: u32;
    /// The first address behind the stack, which grows down.
    static mut _stack_start: u32;
}

/// Paints what the stack has not reached yet. To be called early in `main`.
pub fn paint() {
    let mut place = &raw mut __sheap;
    // What is painted has to be below the frames of this function and of those that it calls.
    let end = (cortex_m::register::msp::read() - 256) as usize;
    while place.addr() < end {
        // SAFETY: between the statics and the stack.
        unsafe {
            place.write_volatile(PAINT);
            place = place.add(1);
        }
    }
}

/// The bytes that there are for the stack.
pub fn size() -> usize {
    ptr::addr_of!(_stack_start).addr() - ptr::addr_of!(__sheap).addr()
}

/// The most bytes that the stack has had.
pub fn most() -> usize {
    let mut place = &raw const __sheap;
    let top = ptr::addr_of!(_stack_start);
    // SAFETY: as above.
    while place < top && unsafe { place.read_volatile() } == PAINT {
        // SAFETY: below the top.
        place = unsafe { place.add(1) };
    }
    top.addr() - place.addr()
}
