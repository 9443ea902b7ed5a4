//! Messages of each shape in each kind of mailbox.

use hikyaku_core::{
    Actor, ActorRef, Context, Failure, MailboxOptions, MailboxOverflowPolicy, SpawnOptions,
};
use hikyaku_testkit::Sim;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::task::{self, Poll, Waker};

std::thread_local! {
    /// Messages that are made and not dropped.
    static LIVE: Cell<usize> = const { Cell::new(0) };
}

trait Shape: Send + 'static {
    fn make() -> Self;

    /// Is it where it may be, and what it was?
    fn check(&self);
}

macro_rules! shapes {
    ($($name:ident: $align:literal, $inner:ty = $make:expr;)*) => {
        $(
            #[repr(align($align))]
            struct $name($inner);

            impl Shape for $name {
                fn make() -> Self {
                    LIVE.set(LIVE.get() + 1);
                    Self($make)
                }

                fn check(&self) {
                    assert_eq!(std::ptr::from_ref(self).addr() % $align, 0);
                    assert_eq!(self.0, $make);
                }
            }

            impl Drop for $name {
                fn drop(&mut self) {
                    self.check();
                    LIVE.set(LIVE.get() - 1);
                }
            }
        )*

        #[test]
        fn row09_each_message_is_dropped_once_whatever_its_shape() {
            $(
                for waits in [true, false] {
                    if cfg!(miri) && !waits {
                        continue;
                    }
                    for mailbox in mailboxes() {
                        goes_each_way::<$name>(mailbox, waits);
                        assert_eq!(LIVE.get(), 0, "{} {mailbox:?}", stringify!($name));
                    }
                }
            )*
        }
    };
}

shapes! {
    Nothing: 2, () = ();
    AlignedNothing: 64, () = ();
    Small: 8, u64 = 7;
    Line: 64, [u8; 64] = [7; 64];
    Large: 128, [u8; 300] = [7; 300];
    Owning: 8, (String, [u64; 9]) = ("seven".to_owned(), [7; 9]);
}

fn mailboxes() -> impl Iterator<Item = MailboxOptions> {
    // Miri takes a second for each.
    let capacities: &[usize] = if cfg!(miri) { &[1] } else { &[1, 3] };
    let bounded = capacities.iter().copied().map(MailboxOptions::bounded);
    let dropping = |mailbox: MailboxOptions| mailbox.overflow(MailboxOverflowPolicy::DropNewest);
    [MailboxOptions::unbounded()]
        .into_iter()
        .chain(bounded.clone())
        .chain(bounded.map(dropping))
}

struct Takes<M>(PhantomData<M>, bool);

impl<M: Shape> Actor for Takes<M> {
    type Msg = M;

    async fn handle(&mut self, message: M, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        message.check();
        if self.1 {
            next_turn().await;
        }
        message.check();
        Ok(())
    }
}

async fn next_turn() {
    let mut waited = false;
    poll_fn(|cx| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Accepted, refused, dropped for want of room, waited with, given up, left in the mailbox, too late.
fn goes_each_way<M: Shape>(mailbox: MailboxOptions, waits: bool) {
    let mut sim = Sim::builder(0)
        .on_dead_letter(|letter| assert!(letter.message.is::<M>()))
        .build();
    let options = SpawnOptions::new().mailbox(mailbox);
    let actor = sim.spawn_with(options, move || Takes::<M>(PhantomData, waits));
    let actor: ActorRef<M> = actor.unwrap();
    for _ in 0..4 {
        drop(actor.tell(M::make()));
        drop(actor.try_send(M::make()));
    }
    drop(actor.tell_all((0..3).map(|_| M::make())));
    let sends = [(); 4].map(|()| {
        let to = actor.clone();
        sim.spawn_task(async move { to.send(M::make()).await.is_ok() })
    });
    let mut cx = task::Context::from_waker(Waker::noop());
    let mut given_up = Box::pin(actor.send(M::make()));
    drop(given_up.as_mut().poll(&mut cx));
    drop(given_up);
    sim.run_until_idle();
    assert!(sends.iter().all(|send| send.take() == Some(true)));
    for _ in 0..5 {
        drop(actor.tell(M::make()));
    }
    let mut refused = Box::pin(actor.send(M::make()));
    drop(refused.as_mut().poll(&mut cx));
    actor.stop();
    sim.run_until_idle();
    drop(refused);
    assert!(actor.tell(M::make()).is_err());
}

/// A handler whose future is aligned more than its message, so the slot begins behind the place of a first message.
struct Aligned;

#[repr(align(64))]
struct Wide([u8; 64]);

impl Actor for Aligned {
    type Msg = [u64; 12];

    async fn handle(
        &mut self,
        message: [u64; 12],
        _: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        let wide = Wide([message[0] as u8; 64]);
        next_turn().await;
        assert_eq!(u64::from(wide.0[63]), message[11]);
        Ok(())
    }
}

#[test]
fn row09_a_first_message_that_lies_partly_in_the_slot_is_a_dead_letter_and_whole() {
    let seen = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let letters = seen.clone();
    let mut sim = Sim::builder(0)
        .on_dead_letter(move |letter| {
            let message = letter.message.downcast_ref::<[u64; 12]>();
            assert_eq!(message, Some(&core::array::from_fn(|at| at as u64)));
            letters.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        })
        .build();
    let actor = sim.spawn(|| Aligned).unwrap();
    sim.run_until_idle();
    actor.tell(core::array::from_fn(|at| at as u64)).unwrap();
    actor.stop();
    sim.run_until_idle();
    assert_eq!(seen.load(std::sync::atomic::Ordering::Relaxed), 1);
}
