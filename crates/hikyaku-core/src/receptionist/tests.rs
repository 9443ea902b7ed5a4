//! Tests of races. What the receptionist and the event stream do is seen from outside, in `tests/it`.

#[cfg(loom)]
mod loom;
