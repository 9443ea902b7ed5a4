//! Tests.

// Without `std` there is one static for what runs, and tests have many threads.
#[cfg(all(not(loom), feature = "std"))]
mod flavours;
#[cfg(loom)]
mod loom;
#[cfg(not(loom))]
mod usual;
