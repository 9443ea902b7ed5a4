//! Time.

#[allow(dead_code, reason = "nothing sets timers yet")]
mod wheel;
