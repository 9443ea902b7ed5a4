//! Who runs when, and that nobody is forgotten.

use hikyaku_core::{Actor, Context, Failure, System, Turn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

struct Nothing;

impl Actor for Nothing {
    type Msg = ();

    async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
        Ok(())
    }
}

#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The wake comes between the two polls that put the worker to sleep, and another worker does what
/// there was to do.
#[test]
fn a_wake_between_two_polls_is_not_forgotten() {
    let (system, mut workers) = System::builder("test").workers(2).build();
    let bells = [Arc::new(Bell::default()), Arc::new(Bell::default())];
    let wakers = bells.clone().map(Waker::from);
    // One step to search, one to be counted as asleep.
    assert_eq!(workers[0].poll(2, &wakers[0]), Turn::Ready);
    system.spawn(|| Nothing).unwrap();
    assert!(bells[0].0.swap(false, Ordering::Relaxed));
    while workers[1].poll(1, &wakers[1]) == Turn::Ready {}
    while workers[0].poll(1, &wakers[0]) == Turn::Ready {}
    assert_eq!(system.metrics().workers_asleep, 2);
    system.spawn(|| Nothing).unwrap();
    assert!(bells.iter().any(|bell| bell.0.load(Ordering::Relaxed)));
}
