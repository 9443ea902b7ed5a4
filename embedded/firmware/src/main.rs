//! Scenarios on an emulated board: `cargo xtask qemu` runs them on each.
//!
//! Each prints a line and has to leave the heap as it found it. A failed assertion is a panic, which ends the
//! emulation with 134, as a fault does; the line then lacks its `ok`.

#![no_std]
#![no_main]

#[cfg(feature = "core")]
mod bare;
mod bench;
#[cfg(feature = "core")]
mod failures;
#[cfg(feature = "flow")]
mod flow;
#[cfg(feature = "core")]
mod interrupts;
#[cfg(feature = "core")]
mod memory;
#[cfg(feature = "core")]
mod messages;
#[cfg(feature = "defmt")]
mod records;
#[cfg(all(feature = "core", not(feature = "pool")))]
mod seeded;
#[cfg(feature = "core")]
mod shutdown;
#[cfg(feature = "core")]
mod time;

use crate::bench::Bench;
use board::println;
use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use cortex_m_rt::entry;
use embassy_executor::{Executor, Spawner};
use static_cell::StaticCell;

/// Polls a scenario in a frame of its own: one for all of them would be too much for the smallest stack.
#[inline(never)]
fn apart(scenario: Pin<&mut impl Future<Output = ()>>, cx: &mut Context<'_>) -> Poll<()> {
    scenario.poll(cx)
}

/// Runs the scenarios one after the other.
macro_rules! run {
    ($bench:ident: $($file:ident::$scenario:ident,)*) => {
        $(
            $bench.begin(stringify!($scenario));
            {
                let mut scenario = pin!($file::$scenario(&$bench));
                poll_fn(|cx| apart(scenario.as_mut(), cx)).await;
            }
            $bench.end().await;
        )*
    };
}

#[embassy_executor::task]
async fn all(spawner: Spawner) {
    let mut bench = Bench::new(spawner);
    #[cfg(feature = "core")]
    run! { bench:
        messages::three_actors_pass_a_hundred_messages_each,
        messages::actors_are_asked_by_tasks,
        messages::a_full_mailbox_does_what_it_was_told_to,
        time::timers_fire_in_order_and_never_early,
        time::a_receive_timeout_comes_when_nothing_does,
        time::a_question_ends_with_the_one_in_hand,
        time::handlers_await_embassy,
        failures::an_actor_that_fails_is_restarted_in_place,
        failures::a_child_is_restarted_or_stopped_as_its_parent_says,
        failures::what_fails_too_often_stops_the_system,
        failures::who_waits_for_an_actor_that_failed_is_told_so,
        interrupts::an_interrupt_sends_and_wakes_the_system,
        interrupts::interrupts_send_while_tasks_do,
        interrupts::the_last_reference_is_dropped_in_an_interrupt,
        interrupts::memory_is_freed_in_an_interrupt,
        memory::ten_thousand_messages_allocate_nothing,
        memory::an_actor_takes_little_memory,
        memory::what_has_no_room_is_refused,
        shutdown::a_graceful_end_handles_what_is_queued,
        shutdown::a_forced_end_leaves_dead_letters,
        bare::actors_run_without_embassy,
    }
    #[cfg(feature = "flow")]
    run! { bench:
        flow::a_suspended_actor_keeps_its_messages_in_order,
        flow::a_suspended_actor_can_be_stopped,
        flow::stashed_messages_come_before_the_others,
        flow::policies_and_orders_do_what_they_say,
        flow::middleware_refuses_a_message,
        flow::pressure_is_told_when_it_comes_and_goes,
    }
    #[cfg(feature = "defmt")]
    run! { bench:
        records::what_happens_is_written_by_defmt,
    }
    // It needs more than the blocks of a pool in the smallest memory.
    #[cfg(all(feature = "core", not(feature = "pool")))]
    for seed in 1..=8 {
        println!("trace {seed} {:016x}", seeded::play(seed));
    }
    println!("heap {}", board::heap::most());
    println!("stack {}", board::stack::most());
    board::exit(0)
}

static EXECUTOR: StaticCell<Executor> = StaticCell::new();

#[entry]
fn main() -> ! {
    board::stack::paint();
    board::heap::init();
    let mut peripherals = cortex_m::Peripherals::take().unwrap();
    board::systick::start(&mut peripherals.SYST);
    EXECUTOR
        .init(Executor::new())
        .run(|spawner| spawner.spawn(all(spawner).unwrap()))
}
