//! Tests.

// It makes actors anew.
#[cfg(all(not(loom), feature = "supervision"))]
mod flavours;
#[cfg(loom)]
mod loom;
#[cfg(not(loom))]
mod usual;
