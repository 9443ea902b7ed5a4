//! Tests. What an activation does is shown by `tests/it`; here are the races between two of them.

mod loom;
