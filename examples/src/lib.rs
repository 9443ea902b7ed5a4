//! Programs built of hikyaku actors. Each lives in a folder of this package:
//!
//! - `store`: an in-memory store that speaks the Redis protocol. Start with `store/main.rs`.
