//! What the firmware needs of an emulated board: heap, time, and how it ends.
//!
//! A firmware that links this crate has its global allocator, its panic and fault handlers (the emulation
//! ends with 134), and a time driver for Embassy on SysTick.

#![no_std]

use cortex_m_rt::{ExceptionFrame, exception};

pub mod heap;
#[cfg(feature = "pool")]
mod pool;
pub mod stack;
pub mod systick;

#[cfg(feature = "print")]
pub use semihosting::{eprintln, print, println};

/// Ends the emulation; the process that emulates ends with `code`.
pub fn exit(code: i32) -> ! {
    semihosting::process::exit(code)
}

#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    #[cfg(feature = "print")]
    eprintln!("fault at {:#x}, called from {:#x}", frame.pc(), frame.lr());
    #[cfg(not(feature = "print"))]
    let _ = frame;
    semihosting::process::abort()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    #[cfg(feature = "print")]
    eprintln!("{info}");
    #[cfg(not(feature = "print"))]
    let _ = info;
    semihosting::process::abort()
}
