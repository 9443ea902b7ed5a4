//! Watching and linking.
