//! The suite of scenarios on every executor: each is a line at the end.

use hikyaku::{ActorSystem, CurrentThread, System};
use hikyaku_testkit::conformance_suite;
use hikyaku_testkit::suite::Runtime;
use std::future::Future;

/// A system whose workers run by themselves, whatever on.
struct Own(ActorSystem);

fn threads(workers: usize) -> Own {
    Own(ActorSystem::builder("suite")
        .workers(workers)
        .build()
        .unwrap())
}

impl Runtime for Own {
    fn system(&self) -> &System {
        &self.0
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        hikyaku::block_on(future)
    }

    fn shutdown(self) {
        self.0.join();
    }
}

/// A system that runs on the thread of the test.
struct Here(CurrentThread);

impl Runtime for Here {
    fn system(&self) -> &System {
        &self.0
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    fn shutdown(self) {}
}

/// A system inside a Tokio runtime, which has to outlive it.
#[cfg(feature = "tokio")]
struct InTokio {
    system: ActorSystem,
    runtime: tokio::runtime::Runtime,
}

#[cfg(feature = "tokio")]
fn in_tokio(mut runtime: tokio::runtime::Builder) -> InTokio {
    let runtime = runtime.build().unwrap();
    let entered = runtime.enter();
    let system = ActorSystem::new("suite").unwrap();
    drop(entered);
    InTokio { system, runtime }
}

#[cfg(feature = "tokio")]
impl Runtime for InTokio {
    fn system(&self) -> &System {
        &self.system
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    fn shutdown(self) {
        self.system.join();
    }
}

conformance_suite!(one_thread, || threads(1));
conformance_suite!(two_threads, || threads(2));
conformance_suite!(four_threads, || threads(4));
conformance_suite!(current_thread, || Here(CurrentThread::new("suite")));
#[cfg(feature = "tokio")]
conformance_suite!(tokio_multi_thread, || in_tokio(
    tokio::runtime::Builder::new_multi_thread()
));
#[cfg(feature = "tokio")]
conformance_suite!(tokio_current_thread, || in_tokio(
    tokio::runtime::Builder::new_current_thread()
));
