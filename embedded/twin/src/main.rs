//! Prints the traces of the seeds that it is given.

fn main() {
    for seed in std::env::args().skip(1) {
        let seed = seed.parse().expect("a seed is a number");
        println!("trace {seed} {:016x}", twin::seeded::play(seed));
    }
}
