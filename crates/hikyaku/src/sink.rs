//! Where a system's metrics go.

use arc_swap::ArcSwapOption;
use hikyaku_core::{DeadLetter, FailureReport, Metrics};
use std::fmt;
use std::sync::Arc;

/// Takes in what a system has to tell about itself. Put into a running system by
/// [`ActorSystem::set_metrics_sink`](crate::ActorSystem::set_metrics_sink).
///
/// `dead_letter` and `failure` are called on the worker where it happens, so they should be quick; their panics
/// are swallowed. A sink must not hold references to actors of the system.
pub trait MetricsSink: Send + Sync + 'static {
    /// A message was accepted and will not be handled.
    fn dead_letter(&self, letter: &DeadLetter<'_>) {
        let _ = letter;
    }

    /// An actor has failed.
    fn failure(&self, report: &FailureReport<'_>) {
        let _ = report;
    }

    /// The counters, when somebody calls [`ActorSystem::report_metrics`](crate::ActorSystem::report_metrics).
    fn totals(&self, system: &str, metrics: &Metrics) {
        let _ = (system, metrics);
    }
}

/// The place for a sink. Read without a lock.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<ArcSwapOption<Box<dyn MetricsSink>>>);

impl Slot {
    pub(crate) fn set(&self, sink: Option<Box<dyn MetricsSink>>) {
        self.0.store(sink.map(Arc::new));
    }

    pub(crate) fn with(&self, tell: impl FnOnce(&dyn MetricsSink)) {
        if let Some(sink) = &*self.0.load() {
            tell(&***sink);
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Slot")
            .field(&self.0.load().is_some())
            .finish()
    }
}
