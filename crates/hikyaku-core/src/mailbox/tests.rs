//! Tests.

#[cfg(not(loom))]
mod flavours;
#[cfg(loom)]
mod loom;
#[cfg(not(loom))]
mod usual;
