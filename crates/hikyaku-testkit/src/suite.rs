//! One suite of scenarios for every executor.
//!
//! A scenario is a plain function over a [`Runtime`]. It reads no clock and never sleeps: it waits for
//! answers, starts and ends. [`conformance_suite!`](crate::conformance_suite) makes a test of each, in
//! one line per executor. A scenario that shows a row of the project's list of behaviours has the
//! row's number in its name.

pub mod delivery;
#[cfg(feature = "flow")]
pub mod flow;
pub mod life;
pub mod questions;
pub mod room;
pub mod turns;

mod subject;

use crate::seeds::explore;
use hikyaku_core::{Actor, ActorRef, SpawnError, SpawnOptions, System, SystemState};
use std::future::Future;

/// A system together with what runs it.
pub trait Runtime {
    /// The system, newly built, without actors.
    fn system(&self) -> &System;

    /// Runs a future to its end on the calling thread, while the actors run too.
    fn block_on<F: Future>(&self, future: F) -> F::Output;

    /// Spawns an actor where the scenarios' actors are to run. Default: on the system's main workers.
    ///
    /// # Errors
    /// As [`System::spawn_with`].
    fn spawn<A: Actor>(
        &self,
        options: SpawnOptions,
        factory: impl FnMut() -> A + Send + 'static,
    ) -> Result<ActorRef<A::Msg>, SpawnError> {
        self.system().spawn_with(options, factory)
    }

    /// Does one worker run all actors, from first to last? What is said of the order of turns holds there only.
    /// Default: if there is one now.
    fn has_one_worker(&self) -> bool {
        self.system().metrics().workers == 1
    }

    /// How many actors there can be at once; at least 100. Default: as many as there is memory for.
    fn most_actors(&self) -> u64 {
        u64::MAX
    }

    /// Takes down what ran the system, which has stopped by now, and waits until that is done.
    fn shutdown(self);
}

/// Makes a test of each scenario of the [suite](crate::suite) for one executor.
///
/// The first argument names the module that holds the tests. The second makes a
/// [`Runtime`](crate::suite::Runtime), a new one for each test. With `seeds`, it makes one of a seed, and each
/// scenario runs with that many of them, as in [`explore`](crate::explore).
///
/// After each scenario the system is shut down gracefully, and has to have stopped without a
/// living actor.
///
/// ```
/// use hikyaku_core::System;
/// use hikyaku_testkit::{Sim, conformance_suite, suite::Runtime};
/// use std::{cell::RefCell, future::Future};
///
/// struct Simulated { system: System, sim: RefCell<Sim> }
///
/// impl Simulated {
///     fn new(seed: u64) -> Self {
///         let sim = Sim::new(seed);
///         Self { system: sim.system().clone(), sim: RefCell::new(sim) }
///     }
/// }
///
/// impl Runtime for Simulated {
///     fn system(&self) -> &System { &self.system }
///     fn block_on<F: Future>(&self, future: F) -> F::Output { self.sim.borrow_mut().block_on(future) }
///     fn shutdown(self) {}
/// }
///
/// conformance_suite!(fixed_seed, || Simulated::new(7));
/// conformance_suite!(many_seeds, Simulated::new, seeds = 20);
/// ```
#[macro_export]
macro_rules! conformance_suite {
    ($executor:ident, $make:expr) => {
        $crate::conformance_suite!(@tests $executor, None, |_| $make());
    };
    ($executor:ident, $make:expr, seeds = $seeds:expr) => {
        $crate::conformance_suite!(@tests $executor, Some($seeds), $make);
    };
    (@tests $executor:ident, $seeds:expr, $make:expr) => {
        $crate::conformance_suite! {
            @tests $executor, $seeds, $make;
            delivery::row01_messages_of_one_sender_keep_their_order,
            delivery::row01_of_many_senders_none_loses_or_doubles_a_message,
            delivery::row01_tell_all_keeps_the_order,
            delivery::row09_a_stop_makes_dead_letters_of_what_is_queued,
            delivery::row20_a_graceful_shutdown_under_load_loses_nothing,
            delivery::row20_a_forced_stop_leaves_nothing,
            delivery::recipients_wrap_and_hand_back_what_they_were_given,

            questions::row58_questions_are_answered,
            questions::row59_a_stopped_actor_answers_at_once,
            questions::row59_a_late_answer_comes_back,
            questions::row60_answers_come_in_the_order_of_the_questions,
            questions::row61_a_dropped_question_is_answered_at_once,

            room::row03_a_full_mailbox_refuses,
            room::row05_waiting_senders_are_served_in_order,
            room::row05_a_send_given_up_leaves_no_message,
            room::row05_waiting_senders_get_their_messages_back_when_the_actor_stops,
            room::row11_an_actor_never_waits_for_its_own_mailbox,
            room::row03_row04_a_policy_drops_what_it_says_and_counts_it,
            room::row01_row03_a_storm_that_overflows_loses_nothing_uncounted,
            room::row06_row07_control_messages_and_priorities_overtake,
            room::row12_the_bound_changes_while_senders_wait,

            life::row18_a_panic_is_local,
            life::row18_an_error_ends_its_actor_only,
            life::row22_nothing_is_handled_before_started,
            life::row24_failing_starts_are_reported,
            life::row25_a_graceful_stop_handles_what_is_queued,
            life::row26_a_stop_lets_the_handler_in_hand_finish,
            life::row26_a_kill_drops_the_handler_in_flight,
            life::row27_children_stop_first_in_reverse_order,
            life::row27_a_kill_takes_the_children_along,
            life::row28_an_unreferenced_actor_ends_after_what_is_queued,
            life::row28_weak_references_keep_nobody,
            life::row29_a_name_is_unique_and_free_again,

            flow::row15_a_suspended_actor_handles_nothing_until_it_is_resumed,
            flow::row15_a_signal_resumes_whoever_waits_for_it,
            flow::row15_a_suspended_actor_can_be_ended,
            flow::row40_row74_stashed_messages_survive_a_restart,
            flow::row40_a_failure_between_unstashed_messages_loses_one,
            flow::row79_middleware_sees_each_message_in_order_and_back,
            flow::row79_the_end_of_the_parent_cancels_the_message_in_hand,

            turns::row08_ping_pong,
            turns::row13_handlers_of_one_actor_never_overlap,
            turns::row16_a_handler_that_awaits_lets_others_run,
            turns::row16_a_handler_that_yields_lets_others_run,
            turns::row16_an_actor_that_never_runs_dry_makes_way,
            turns::row16_turns_are_no_longer_than_the_throughput,
            turns::row17_a_storm_of_spawns_ends,
            turns::handlers_spawn,
        }
    };
    (@tests $executor:ident, $seeds:expr, $make:expr; $($group:ident::$scenario:ident,)*) => {
        mod $executor {
            use super::*;
            $(
                #[test]
                fn $scenario() {
                    $crate::suite::perform($seeds, $make, $crate::suite::$group::$scenario);
                }
            )*
        }
    };
}

/// What [`conformance_suite!`](crate::conformance_suite) makes tests of: one scenario, once or with many
/// seeds, and the end of the system.
///
/// # Panics
/// If the scenario does, or if the system does not end in order.
pub fn perform<R: Runtime>(seeds: Option<u64>, make: impl Fn(u64) -> R, scenario: impl Fn(&R)) {
    let run = |seed| {
        let runtime = make(seed);
        scenario(&runtime);
        let system = runtime.system().clone();
        runtime.block_on(system.graceful_shutdown());
        assert_eq!(system.state(), SystemState::Stopped);
        assert_eq!(system.metrics().live_actors, 0);
        runtime.shutdown();
    };
    match seeds {
        None => run(0),
        Some(seeds) => explore(seeds, run),
    }
}
