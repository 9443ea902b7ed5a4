//! Messages between actors, and from tasks.

use crate::bench::{Bench, end, room, small};
use hikyaku_core::{
    Actor, ActorRef, Context, Failure, MailboxOptions, MailboxOverflowPolicy, Reply, SendError,
    SpawnOptions,
};

/// One of a ring: passes a token on until it has gone far enough.
struct Ring {
    next: Option<ActorRef<Token>>,
    handled: u32,
}

enum Token {
    /// Who is next.
    Join(ActorRef<Token>),
    /// Passes it on so often.
    Pass(u32),
    Count(Reply<u32>),
}

impl Actor for Ring {
    type Msg = Token;

    async fn handle(&mut self, token: Token, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        match token {
            Token::Join(next) => self.next = Some(next),
            Token::Pass(hops) => {
                self.handled += 1;
                if let (Some(next), Some(hops)) = (&self.next, hops.checked_sub(1)) {
                    next.send(Token::Pass(hops)).await?;
                }
            }
            Token::Count(reply) => drop(reply.send(self.handled)),
        }
        Ok(())
    }
}

pub(crate) async fn three_actors_pass_a_hundred_messages_each(bench: &Bench) {
    let system = bench.start(small(3));
    let ring = [(); 3].map(|()| {
        let actor = || Ring {
            next: None,
            handled: 0,
        };
        system.spawn_with(room(4), actor).unwrap()
    });
    for (at, actor) in ring.iter().enumerate() {
        let next = ring[(at + 1) % 3].clone();
        actor.send(Token::Join(next)).await.ok().unwrap();
    }
    ring[0].send(Token::Pass(299)).await.ok().unwrap();
    while system.metrics().handled < 3 + 300 {
        embassy_futures::yield_now().await;
    }
    for actor in &ring {
        assert_eq!(actor.ask(Token::Count).await, Ok(100));
    }
    end(system).await;
}

struct Doubler;

impl Actor for Doubler {
    type Msg = (u32, Reply<u32>);

    async fn handle(
        &mut self,
        (n, reply): (u32, Reply<u32>),
        cx: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        cx.yield_now().await;
        let _ = reply.send(2 * n);
        Ok(())
    }
}

pub(crate) async fn actors_are_asked_by_tasks(bench: &Bench) {
    let system = bench.start(small(1));
    let doubler = system.spawn_with(room(2), || Doubler).unwrap();
    for n in 0..100 {
        assert_eq!(doubler.ask(|reply| (n, reply)).await, Ok(2 * n));
    }
    end(system).await;
}

struct Sink;

impl Actor for Sink {
    type Msg = u32;

    async fn handle(&mut self, _: u32, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        Ok(())
    }
}

/// What `tell` says of seven messages for a mailbox with room for four, and how many are handled.
const POLICIES: [(MailboxOverflowPolicy, [bool; 7], usize); 2] = [
    (
        MailboxOverflowPolicy::Block,
        [true, true, true, true, false, false, false],
        4,
    ),
    (MailboxOverflowPolicy::DropNewest, [true; 7], 4),
];

pub(crate) async fn a_full_mailbox_does_what_it_was_told_to(bench: &Bench) {
    let system = bench.start(small(1));
    for (policy, accepted, handled) in POLICIES {
        let mailbox = MailboxOptions::bounded(4).overflow(policy);
        let options = SpawnOptions::new().mailbox(mailbox);
        let sink = system.spawn_with(options, || Sink).unwrap();
        let before = system.metrics().handled;
        for (n, accepted) in (0..).zip(accepted) {
            match sink.tell(n) {
                Ok(()) => assert!(accepted, "{policy:?} {n}"),
                Err(SendError::Full(back)) => assert!(!accepted && back == n, "{policy:?} {n}"),
                Err(other) => panic!("{policy:?} {n}: {other}"),
            }
        }
        sink.stop_gracefully();
        sink.stopped().await;
        assert_eq!(system.metrics().handled - before, handled, "{policy:?}");
    }
    end(system).await;
}
