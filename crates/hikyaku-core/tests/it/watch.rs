//! Watching and linking.

use crate::puppet::{Count, Do, Gate, Hook, Log, Puppet, child_of, mortal, within};
use hikyaku_core::{
    Actor, ActorRef, Context, Ended, Failure, MailboxOptions, SpawnOptions, StopCause, Supervision,
};
use hikyaku_testkit::{Sim, check_seeds};
use std::time::Duration;

/// Has `watcher` log how `target` ends, and note a number.
fn watch(sim: &mut Sim, watcher: &ActorRef<Do>, target: &ActorRef<Do>, log: &Log) {
    let (target, log) = (target.clone(), log.clone());
    let watched = within(sim, watcher, move |cx| {
        let told = move |ended: Ended| {
            log.push(format!("{}", ended.cause));
            Do::Note(99)
        };
        cx.watch(&target, told)
    });
    assert_eq!(watched, Some(Ok(())));
}

fn link(sim: &mut Sim, one: &ActorRef<Do>, other: &ActorRef<Do>) {
    let other = other.clone();
    assert_eq!(within(sim, one, move |cx| cx.link(&other)), Some(Ok(())));
}

#[test]
fn row50_row54_one_notice_for_every_watcher_with_the_cause() {
    type End = fn(&mut Sim, &ActorRef<Do>);
    let ends: [(&str, End, &str); 5] = [
        ("stop", |_, a| a.stop(), "stopped"),
        ("gracefully", |_, a| a.stop_gracefully(), "stopped"),
        ("kill", |_, a| a.kill(), "killed"),
        (
            "itself",
            |_, a| drop(a.tell(Do::call(|cx| cx.stop()))),
            "stopped",
        ),
        ("fails", |_, a| drop(a.tell(Do::Fail("x"))), "failed: x"),
    ];
    check_seeds(50, |sim| {
        for (what, end, cause) in ends {
            for dead in [false, true] {
                let log = Log::default();
                let target = sim
                    .spawn_with(mortal(), Puppet::factory("t", &log))
                    .unwrap();
                let watchers: Vec<_> = (0..3)
                    .map(|_| sim.spawn(Puppet::factory("", &Log::default())).unwrap())
                    .collect();
                let told = Log::default();
                if dead {
                    end(sim, &target);
                    sim.run_until_idle();
                }
                for watcher in &watchers {
                    watch(sim, watcher, &target, &told);
                }
                end(sim, &target);
                sim.run_until_idle();
                end(sim, &target);
                sim.run_until_idle();
                assert_eq!(told.take(), [cause; 3], "{what} {dead}");
            }
        }
    });
}

#[cfg(feature = "supervision")]
#[test]
fn row50_a_restart_is_no_end() {
    check_seeds(50, |sim| {
        let (log, told) = (Log::default(), Log::default());
        let target = sim.spawn(Puppet::factory("t", &log)).unwrap();
        let watcher = sim.spawn(Puppet::factory("w", &log)).unwrap();
        watch(sim, &watcher, &target, &told);
        for _ in 0..3 {
            assert!(target.tell(Do::Fail("x")).is_ok());
            sim.run_until_idle();
        }
        assert_eq!(told.line(), "");
        target.kill();
        sim.run_until_idle();
        assert_eq!(told.line(), "killed");
    });
}

/// Watching twice is watching once, by the later message; what is under way when the watch ends is
/// discarded.
#[test]
fn row51_row52_watching_again_and_unwatching() {
    check_seeds(300, |sim| {
        let log = Log::default();
        let target = sim.spawn(Puppet::factory("t", &log)).unwrap();
        let watcher = sim.spawn(Puppet::factory("w", &log)).unwrap();
        sim.run_until_idle();
        log.take();
        let first = target.clone();
        within(sim, &watcher, move |cx| {
            cx.watch(&first, |_| Do::Note(1)).unwrap();
            cx.watch(&first, |_| Do::Note(2)).unwrap();
        });
        let other = sim.spawn(Puppet::factory("o", &Log::default())).unwrap();
        let unwatched = other.clone();
        within(sim, &watcher, move |cx| {
            assert!(!cx.unwatch(&unwatched));
            cx.watch(&unwatched, |_| Do::Note(3)).unwrap();
        });
        target.stop();
        // Its end is known to the watcher, or not yet, when that takes the watch back.
        other.stop();
        let steps = sim.below(10);
        sim.run_steps(steps);
        let seen = log.clone();
        assert!(
            watcher
                .tell(Do::call(move |cx| {
                    cx.unwatch(&other);
                    assert!(!cx.unwatch(&other));
                    seen.push("|");
                }))
                .is_ok()
        );
        sim.run_until_idle();
        let line = log.line();
        let (before, after) = line.split_once('|').unwrap();
        assert!(!after.contains("w3"), "{line}");
        let twos = [before, after].map(|part| part.matches("w2").count());
        assert_eq!(twos[0] + twos[1], 1, "{line}");
        assert!(!line.contains("w1"), "{line}");
    });
}

#[test]
fn what_an_actor_watches_when_it_ends_does_not_matter() {
    check_seeds(20, |sim| {
        let log = Log::default();
        let target = sim.spawn(Puppet::factory("t", &log)).unwrap();
        let actor = sim.spawn(Puppet::factory("a", &log)).unwrap();
        let told = target.clone();
        let refused = within(sim, &actor, move |cx| {
            cx.stop();
            // The order is read after the handler.
            (cx.watch(&told, |_| Do::Note(1)), cx.link(&told))
        });
        assert_eq!(refused, Some((Ok(()), Ok(()))));
        assert!(target.tell(Do::Note(1)).is_ok());
        sim.run_until_idle();
        assert!(target.is_alive());
    });
}

// === the order of the notice ===

/// Collects numbers and the end, of small or large messages.
trait Counting: Send + 'static {
    fn number(n: u32) -> Self;
    fn end() -> Self;
    fn read(&self) -> Option<u32>;
}

impl Counting for u32 {
    fn number(n: u32) -> Self {
        n
    }
    fn end() -> Self {
        u32::MAX
    }
    fn read(&self) -> Option<u32> {
        (*self != u32::MAX).then_some(*self)
    }
}

impl Counting for [u64; 9] {
    fn number(n: u32) -> Self {
        [n.into(); 9]
    }
    fn end() -> Self {
        [u64::MAX; 9]
    }
    fn read(&self) -> Option<u32> {
        assert!(self.iter().all(|n| *n == self[0]));
        u32::try_from(self[0]).ok()
    }
}

enum Sender<M> {
    /// So many messages, some of them after a turn.
    Send(ActorRef<M>, u32, u32),
}

struct SendingTo<M>(std::marker::PhantomData<fn(M)>);

impl<M: Counting> Actor for SendingTo<M> {
    type Msg = Sender<M>;
    async fn handle(&mut self, msg: Sender<M>, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        let Sender::Send(to, count, pause) = msg;
        for n in 0..count {
            if n % pause.max(1) == pause / 2 {
                cx.yield_now().await;
            }
            let _ = to.send(M::number(n)).await;
        }
        cx.stop();
        Ok(())
    }
}

fn notice_comes_last<M: Counting>(sim: &mut Sim, mailbox: MailboxOptions) {
    let log = Log::default();
    let inner = log.clone();
    let sender = sim
        .spawn(|| SendingTo::<M>(std::marker::PhantomData))
        .unwrap();
    let target = sender.clone();
    let options = SpawnOptions::new().mailbox(mailbox);
    let watcher = sim
        .spawn_with(options, move || Watching {
            log: inner.clone(),
            target: target.clone(),
        })
        .unwrap();
    let (count, pause) = (sim.below(12) as u32, sim.below(5) as u32);
    let noise = sim.below(4) as u32;
    let steps = sim.below(6);
    sim.run_steps(steps);
    assert!(
        sender
            .tell(Sender::Send(watcher.clone(), count, pause))
            .is_ok()
    );
    // Others send as well; theirs may come before or after.
    let other = watcher.clone();
    sim.spawn_task(async move {
        for _ in 0..noise {
            let _ = other.send(M::number(1_000)).await;
        }
    });
    sim.run_until_idle();
    let entries: Vec<_> = log.take().into_iter().filter(|it| it != "1000").collect();
    let mut expected: Vec<_> = (0..count).map(|n| n.to_string()).collect();
    expected.push("end".into());
    assert_eq!(entries, expected);
}

/// Watches from its start.
struct Watching<M> {
    log: Log,
    target: ActorRef<Sender<M>>,
}

impl<M: Counting> Actor for Watching<M> {
    type Msg = M;
    async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        cx.watch(&self.target, |_| M::end())?;
        Ok(())
    }
    async fn handle(&mut self, msg: M, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        match msg.read() {
            Some(n) => self.log.push(n.to_string()),
            None => self.log.push("end"),
        }
        if self.log.len().is_multiple_of(3) {
            cx.yield_now().await;
        }
        Ok(())
    }
}

#[test]
fn row55_what_was_sent_before_the_end_comes_before_the_notice() {
    check_seeds(if cfg!(miri) { 5 } else { 3_000 }, |sim| {
        let mailbox = match sim.below(3) {
            0 => MailboxOptions::unbounded(),
            1 => MailboxOptions::bounded(1),
            _ => MailboxOptions::bounded(4),
        };
        if sim.below(2) == 0 {
            notice_comes_last::<u32>(sim, mailbox);
        } else {
            notice_comes_last::<[u64; 9]>(sim, mailbox);
        }
    });
}

// === links ===

#[test]
fn row53_row56_the_end_of_one_runs_along_the_chain() {
    type End = fn(&ActorRef<Do>);
    let ends: [(&str, End, bool); 4] = [
        ("stop", |a| a.stop(), false),
        ("gracefully", |a| a.stop_gracefully(), false),
        ("kill", |a| a.kill(), true),
        ("fails", |a| drop(a.tell(Do::Fail("x"))), true),
    ];
    check_seeds(50, |sim| {
        for (what, end, breaks) in ends {
            let log = Log::default();
            let length = 2 + sim.below(9);
            let chain: Vec<_> = (0..length)
                .map(|_| sim.spawn_with(mortal(), Puppet::factory("", &log)).unwrap())
                .collect();
            for pair in chain.windows(2) {
                // From either side, and also from both.
                match sim.below(3) {
                    0 => link(sim, &pair[0], &pair[1]),
                    1 => link(sim, &pair[1], &pair[0]),
                    _ => {
                        link(sim, &pair[0], &pair[1]);
                        link(sim, &pair[1], &pair[0]);
                    }
                }
            }
            let failures = sim.metrics().failures;
            let first = sim.below(length);
            end(&chain[first]);
            sim.run_until_idle();
            for (place, actor) in chain.iter().enumerate() {
                let gone = breaks || place == first;
                assert_eq!(!actor.is_alive(), gone, "{what} {place} of {length}");
                if breaks && place != first {
                    let cause = sim.block_on(actor.stopped());
                    assert!(matches!(cause, StopCause::Failed(_)), "{cause}");
                    assert!(cause.to_string().contains("linked"), "{cause}");
                }
            }
            // Each of them once.
            let failed = sim.metrics().failures - failures;
            let expected = if breaks {
                length - usize::from(what == "kill")
            } else {
                0
            };
            assert_eq!(failed, expected, "{what}");
        }
    });
}

#[cfg(feature = "supervision")]
#[test]
fn row43_row56_links_survive_restarts_of_either_side() {
    check_seeds(50, |sim| {
        for restarted in [0, 1] {
            for killed in [0, 1] {
                let log = Log::default();
                let pair: Vec<_> = (0..2)
                    .map(|_| sim.spawn(Puppet::factory("", &log)).unwrap())
                    .collect();
                link(sim, &pair[0], &pair[1]);
                assert!(pair[restarted].tell(Do::Fail("x")).is_ok());
                sim.run_until_idle();
                // A restart is no end.
                assert_eq!(
                    within(sim, &pair[1 - restarted], |cx| cx.incarnation()),
                    Some(1)
                );
                pair[killed].kill();
                sim.run_until_idle();
                let left = 1 - killed;
                let made = 2 + u16::from(restarted == left);
                assert_eq!(within(sim, &pair[left], |cx| cx.incarnation()), Some(made));
            }
        }
    });
}

#[cfg(feature = "supervision")]
#[test]
fn row56_a_link_to_the_dead_breaks_at_once() {
    check_seeds(50, |sim| {
        for (kill, made) in [(true, 2), (false, 1)] {
            let log = Log::default();
            let dead = sim.spawn(Puppet::factory("d", &log)).unwrap();
            if kill {
                dead.kill();
            } else {
                dead.stop();
            }
            sim.run_until_idle();
            let actor = sim.spawn(Puppet::factory("a", &log)).unwrap();
            link(sim, &actor, &dead);
            sim.run_until_idle();
            assert_eq!(within(sim, &actor, |cx| cx.incarnation()), Some(made));
            // To itself: nothing.
            let me = actor.clone();
            within(sim, &actor, move |cx| cx.link(&me).unwrap());
            sim.run_until_idle();
            assert_eq!(within(sim, &actor, |cx| cx.incarnation()), Some(made));
        }
    });
}

#[test]
fn row57_links_and_ends_at_the_same_time() {
    check_seeds(1_000, |sim| {
        let (log, count) = (Log::default(), Count::default());
        let pair: Vec<_> = (0..2)
            .map(|_| {
                let (log, count) = (log.clone(), count.clone());
                let make = move || Puppet::new("", &log).counted(count.one());
                sim.spawn_with(mortal(), make).unwrap()
            })
            .collect();
        sim.run_until_idle();
        let (a, b) = (pair[0].clone(), pair[1].clone());
        let linked = sim.below(2) == 0;
        if linked {
            link(sim, &b, &a);
        }
        let from = usize::from(sim.below(2) == 0);
        let other = pair[1 - from].clone();
        assert!(
            pair[from]
                .tell(Do::call(move |cx| {
                    cx.link(&other).unwrap();
                    assert!(cx.unlink(&other));
                    assert!(!cx.unlink(&other));
                }))
                .is_ok()
        );
        let steps = sim.below(8);
        sim.run_steps(steps);
        let doomed = sim.below(2);
        pair[doomed].kill();
        sim.run_until_idle();
        // Who has taken the link back before it was told is not touched by the end.
        if doomed != from && !linked {
            assert!(pair[from].is_alive());
        }
        drop((a, b));
        sim.force_stop();
        sim.run_until_idle();
        assert_eq!(count.alive(), 0);
        *sim = Sim::new(sim.seed());
    });
}

/// A link that breaks while the other one is in its last hook, or down, does not cut anything.
#[test]
fn row57_a_link_that_breaks_during_the_last_hook() {
    check_seeds(100, |sim| {
        let (log, gate) = (Log::default(), Gate::default());
        let ending = {
            let (log, gate) = (log.clone(), gate.clone());
            sim.spawn(move || Puppet::new("e", &log).stopped(&Hook::Wait(gate.clone())))
                .unwrap()
        };
        let other = sim.spawn(Puppet::factory("o", &log)).unwrap();
        link(sim, &ending, &other);
        ending.stop();
        sim.run_until_idle();
        other.kill();
        sim.run_until_idle();
        let stopped = sim.spawn_task(ending.stopped());
        sim.run_until_idle();
        assert!(!stopped.is_done());
        gate.open();
        assert_eq!(sim.block_on(ending.stopped()).to_string(), "stopped");
    });
}

/// A child that links itself to its parent, or cuts that link, does not hang anybody.
#[cfg(feature = "supervision")]
#[test]
fn row47_links_between_parent_and_child() {
    check_seeds(100, |sim| {
        for kill in [false, true] {
            let log = Log::default();
            let options = SpawnOptions::new().supervision(Supervision::one_for_one());
            let parent = sim.spawn_with(options, Puppet::factory("p", &log)).unwrap();
            let child = child_of(sim, &parent, mortal(), Puppet::factory("c", &log));
            link(sim, &child, &parent);
            if kill {
                child.kill();
                sim.run_until_idle();
                assert_eq!(within(sim, &parent, |cx| cx.incarnation()), Some(2));
            }
            parent.stop();
            sim.run_until_idle();
            assert!(sim.resolve::<Do>(parent.index()).is_none());
            assert!(sim.resolve::<Do>(child.index()).is_none());
        }
        sim.run_for(Duration::from_secs(1));
    });
}

/// An error that cannot be shown ends its actor once, and breaks its links.
#[cfg(feature = "std")]
#[test]
fn row18_row56_an_error_that_panics_when_it_is_shown() {
    #[derive(Debug)]
    struct Bomb;
    impl std::fmt::Display for Bomb {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("when shown")
        }
    }
    impl std::error::Error for Bomb {}
    struct Fails(ActorRef<Do>);
    impl Actor for Fails {
        type Msg = ();
        async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
            cx.link(&self.0)?;
            Ok(())
        }
        async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
            Err(Bomb)?;
            Ok(())
        }
    }
    check_seeds(20, |sim| {
        let log = Log::default();
        let other = sim
            .spawn_with(mortal(), Puppet::factory("o", &log))
            .unwrap();
        let linked = other.clone();
        let fails = sim
            .spawn_with(mortal(), move || Fails(linked.clone()))
            .unwrap();
        assert!(fails.tell(()).is_ok());
        sim.run_until_idle();
        assert!(!fails.is_alive() && !other.is_alive());
    });
}
