//! Tests.

#[cfg(loom)]
mod loom;
