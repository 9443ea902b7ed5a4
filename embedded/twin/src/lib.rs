//! The seeded scenario of the firmware, for targets that are no boards. `main.rs` runs it on the host, `run.mjs`
//! as WebAssembly.

#[path = "../../firmware/src/seeded.rs"]
pub mod seeded;

/// The hash of the trace.
#[unsafe(no_mangle)]
pub extern "C" fn trace(seed: u32) -> u64 {
    seeded::play(seed)
}
