//! Scenarios on an emulated board: `cargo xtask qemu` runs them on each.
//!
//! Each prints a line and has to leave the heap as it found it. A failed assertion is a panic, which ends the
//! emulation with 134, as a fault does; the line then lacks its `ok`.

#![no_std]
#![no_main]

mod bare;
mod bench;
mod failures;
mod interrupts;
mod memory;
mod messages;
#[cfg(feature = "defmt")]
mod records;
mod seeded;
mod shutdown;
mod time;

use crate::bench::Bench;
use board::println;
use cortex_m_rt::entry;
use embassy_executor::{Executor, Spawner};
use static_cell::StaticCell;

/// Runs the scenarios one after the other.
macro_rules! run {
    ($bench:ident: $($file:ident::$scenario:ident,)*) => {
        $(
            $bench.begin(stringify!($scenario));
            $file::$scenario(&$bench).await;
            $bench.end().await;
        )*
    };
}

#[embassy_executor::task]
async fn all(spawner: Spawner) {
    let mut bench = Bench::new(spawner);
    run! { bench:
        messages::three_actors_pass_a_hundred_messages_each,
        messages::actors_are_asked_by_tasks,
        messages::a_full_mailbox_does_what_it_was_told_to,
        time::timers_fire_in_order_and_never_early,
        time::a_receive_timeout_comes_when_nothing_does,
        time::handlers_await_embassy,
        failures::an_actor_that_fails_is_restarted_in_place,
        failures::a_child_is_restarted_or_stopped_as_its_parent_says,
        failures::what_fails_too_often_stops_the_system,
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
    #[cfg(feature = "defmt")]
    run! { bench:
        records::what_happens_is_written_by_defmt,
    }
    // It needs more than the blocks of a pool in the smallest memory.
    if cfg!(not(feature = "pool")) {
        for seed in 1..=8 {
            println!("trace {seed} {:016x}", seeded::play(seed));
        }
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
