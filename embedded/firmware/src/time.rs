//! Timers of actors on Embassy's time, and Embassy's own in handlers.

use crate::bench::{Bench, end, room, small};
use core::sync::atomic::Ordering;
use core::time::Duration;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use embassy_time::{Instant, Timer as Alarm};
use hikyaku_core::{Actor, ActorRef, AskError, Context, Deadline, Failure, Reply, Timer};
use portable_atomic::AtomicU32;

/// Notes what fires, and when.
struct Clockwork {
    fired: [u64; 4],
    count: usize,
    reply: Option<Reply<[u64; 4]>>,
    start: Instant,
}

enum Wind {
    Up(Reply<[u64; 4]>),
    Fired(u64),
}

impl Actor for Clockwork {
    type Msg = Wind;

    async fn handle(&mut self, wind: Wind, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        match wind {
            Wind::Up(reply) => {
                self.reply = Some(reply);
                self.start = Instant::now();
                // The earlier ones come in later. One is taken back.
                for millis in [20, 12, 8, 5] {
                    let timer = Timer::once(Duration::from_millis(millis), Wind::Fired(millis));
                    cx.start_timer(millis, timer)?;
                }
                assert!(cx.cancel_timer(8));
                let beat = Timer::fixed_rate_with(Duration::from_millis(15), || Wind::Fired(15));
                cx.start_timer("beat", beat)?;
            }
            Wind::Fired(millis) => {
                assert!(
                    self.start.elapsed().as_millis() >= millis,
                    "{millis} is early"
                );
                self.fired[self.count] = millis;
                self.count += 1;
                if self.count == self.fired.len()
                    && let Some(reply) = self.reply.take()
                {
                    let _ = reply.send(self.fired);
                    cx.stop();
                }
            }
        }
        Ok(())
    }
}

pub(crate) async fn timers_fire_in_order_and_never_early(bench: &Bench) {
    let system = bench.start_timed(small(1).max_timers(6));
    let clockwork = system.spawn_with(room(2), || Clockwork {
        fired: [0; 4],
        count: 0,
        reply: None,
        start: Instant::now(),
    });
    let fired = clockwork.unwrap().ask(Wind::Up).await;
    assert_eq!(fired, Ok([5, 12, 15, 20]));
    system.sleep(Duration::from_millis(3)).await.unwrap();
    end(system).await;
}

struct Patient(Option<Reply<u32>>, u32);

enum Call {
    Wait(Reply<u32>),
    Nudge,
    Nothing,
}

impl Actor for Patient {
    type Msg = Call;

    async fn handle(&mut self, call: Call, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        match call {
            Call::Wait(reply) => {
                self.0 = Some(reply);
                cx.set_receive_timeout(Duration::from_millis(10), || Call::Nothing)?;
            }
            Call::Nudge => self.1 += 1,
            Call::Nothing => {
                cx.cancel_receive_timeout();
                if let Some(reply) = self.0.take() {
                    let _ = reply.send(self.1);
                }
            }
        }
        Ok(())
    }
}

pub(crate) async fn a_receive_timeout_comes_when_nothing_does(bench: &Bench) {
    let system = bench.start_timed(small(1).max_timers(2));
    let patient = system.spawn_with(room(2), || Patient(None, 0)).unwrap();
    let start = Instant::now();
    let answer = patient.ask(Call::Wait);
    for _ in 0..3 {
        Alarm::after_millis(4).await;
        patient.tell(Call::Nudge).ok().unwrap();
    }
    assert_eq!(answer.await, Ok(3));
    assert!(start.elapsed().as_millis() >= 22, "the nudges put it off");
    end(system).await;
}

static INBOX: Channel<CriticalSectionRawMutex, u32, 2> = Channel::new();

struct Listener;

impl Actor for Listener {
    type Msg = Reply<u32>;

    async fn handle(
        &mut self,
        reply: Reply<u32>,
        _: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        Alarm::after_millis(2).await;
        let first = INBOX.receive().await;
        let _ = reply.send(first + INBOX.receive().await);
        Ok(())
    }
}

pub(crate) async fn handlers_await_embassy(bench: &Bench) {
    let system = bench.start(small(1));
    let listener = system.spawn_with(room(1), || Listener).unwrap();
    let answer = listener.ask(|reply| reply);
    INBOX.send(3).await;
    Alarm::after_millis(5).await;
    INBOX.send(4).await;
    assert_eq!(answer.await, Ok(7));
    end(system).await;
}

/// Milliseconds after which the clerk gave up.
static WAITED: AtomicU32 = AtomicU32::new(0);

/// Asks somebody else; or says nothing.
struct Clerk {
    other: Option<ActorRef<Reply<()>>>,
    kept: Option<Reply<()>>,
}

impl Actor for Clerk {
    type Msg = Reply<()>;

    fn deadline(reply: &Reply<()>) -> Option<Deadline> {
        reply.deadline()
    }

    async fn handle(&mut self, reply: Reply<()>, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        if let Some(other) = &self.other {
            let start = Instant::now();
            let answer = other.ask(|reply| reply).within(Duration::from_secs(60));
            assert!(matches!(answer.await, Err(AskError::Timeout { .. })));
            WAITED.store(start.elapsed().as_millis() as u32, Ordering::Relaxed);
        }
        self.kept = Some(reply);
        Ok(())
    }
}

/// The runtime knows which question is in hand because it may assume one core.
pub(crate) async fn a_question_ends_with_the_one_in_hand(bench: &Bench) {
    let system = bench.start_timed(small(2).max_timers(4));
    let clerk = |other| Clerk { other, kept: None };
    let silent = system.spawn_with(room(1), move || clerk(None)).unwrap();
    let asks = system.spawn_with(room(1), move || clerk(Some(silent.clone())));
    let asks = asks.unwrap();
    let answer = asks.ask(|reply| reply).within(Duration::from_millis(10));
    let answer = answer.await;
    assert!(matches!(answer, Err(AskError::Timeout { .. })));
    Alarm::after_millis(10).await;
    assert!((1..=20).contains(&WAITED.load(Ordering::Relaxed)));
    end(system).await;
}
