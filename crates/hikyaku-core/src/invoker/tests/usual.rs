//! What activations end with.

use crate::{
    Actor, Context, Failure, InvokeResult, ResumeCondition, SpawnOptions, SuspendReason, System,
};
use std::string::ToString;

struct Clerk;

enum Order {
    Work,
    Pause,
    Fail,
}

impl Actor for Clerk {
    type Msg = Order;

    async fn handle(&mut self, order: Order, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        match order {
            Order::Work => {}
            Order::Pause => {
                cx.suspend(SuspendReason::UserDefined, ResumeCondition::Explicit)?;
            }
            Order::Fail => return Err(Failure::msg("as asked")),
        }
        Ok(())
    }
}

#[test]
fn all_that_an_activation_ends_with() {
    let (system, mut workers) = System::builder("outcomes").build().unwrap();
    let mut worker = workers.remove(0);
    let options = SpawnOptions::new().throughput(3);
    let clerk = system.spawn_with(options, || Clerk).unwrap();
    let mut next = || worker.run_one();
    let tell = |order| assert!(clerk.tell(order).is_ok());
    tell(Order::Work);
    assert!(matches!(
        next(),
        Some(InvokeResult::Completed { ready_hint: 1 })
    ));
    for _ in 0..4 {
        tell(Order::Work);
    }
    assert!(matches!(next(), Some(InvokeResult::Yielded)));
    assert!(matches!(
        next(),
        Some(InvokeResult::Completed { ready_hint: 1 })
    ));
    tell(Order::Pause);
    assert!(matches!(
        next(),
        Some(InvokeResult::Suspended {
            reason: SuspendReason::UserDefined,
            resume_on: ResumeCondition::Explicit
        })
    ));
    clerk.resume();
    tell(Order::Fail);
    match next() {
        Some(InvokeResult::Failed { error, retry_after }) => {
            assert_eq!(error.to_string(), "as asked");
            assert_eq!(retry_after, None);
        }
        other => panic!("{other:?}"),
    }
    clerk.stop();
    assert!(matches!(next(), Some(InvokeResult::Stopped)));
    assert!(next().is_none());
}
