//! What a run of the store has shown.

use std::fmt;
use std::time::Duration;

use crate::flood::Flood;

/// The outcome of a run, printed as a table.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) elapsed: Duration,
    pub(crate) latencies: Histogram,
    /// Replies that said a shard was restarting.
    pub(crate) errors_told: u64,
    /// Keys the shard held when it panicked, as it counted them itself before the restart.
    pub(crate) keys_lost: u64,
    /// Keys the clients found missing.
    pub(crate) keys_missed: u64,
    /// Keys that went when their time was over, though nobody touched them.
    pub(crate) keys_expired: u64,
    pub(crate) shard_restarts: u64,
    /// Shards that never stopped.
    pub(crate) steady_shards: u64,
    pub(crate) dead_letters: usize,
    pub(crate) actors_alive: usize,
    /// A client that floods a store, beside others: its commands are delayed first, then refused.
    pub(crate) floods: [Flood; 2],
    /// What must not happen. The run is good if there is none.
    pub(crate) complaints: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operations = self.latencies.count();
        let per_second = operations as f64 / self.elapsed.as_secs_f64();
        let mut row = |name: &str, value: String| writeln!(f, "  {name:<32}{value:>16}");
        row("operations", grouped(operations))?;
        row("operations per second", grouped(per_second as u64))?;
        row(
            "latency p50",
            format!("{:.1?}", self.latencies.quantile(0.50)),
        )?;
        row(
            "latency p99",
            format!("{:.1?}", self.latencies.quantile(0.99)),
        )?;
        row("shard restarts", grouped(self.shard_restarts))?;
        row("shards that never stopped", grouped(self.steady_shards))?;
        row("errors told to clients", grouped(self.errors_told))?;
        row("keys lost with the shard", grouped(self.keys_lost))?;
        row("keys found missing by clients", grouped(self.keys_missed))?;
        row("keys expired untouched", grouped(self.keys_expired))?;
        row("dead letters", grouped(self.dead_letters as u64))?;
        row(
            "actors alive before the end",
            grouped(self.actors_alive as u64),
        )?;
        for flood in &self.floods {
            let what = flood.what();
            row(&format!("a flood: commands {what}"), grouped(flood.excess))?;
            row("  of so many sent", grouped(flood.sent))?;
            row(
                "  clients over the limit",
                format!("{} of {}", flood.over_limit, flood.clients),
            )?;
            row(
                "  the others' latency p99",
                format!("{:.1?}", flood.steady.quantile(0.99)),
            )?;
        }
        match self.complaints.as_slice() {
            [] => writeln!(f, "\nConsistent: each client read what it had written."),
            complaints => {
                writeln!(f, "\nINCONSISTENT ({} complaints):", complaints.len())?;
                complaints
                    .iter()
                    .take(10)
                    .try_for_each(|complaint| writeln!(f, "  {complaint}"))
            }
        }
    }
}

/// A number with its thousands apart, such as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How often which latency was seen, exact to about six per cent.
///
/// Every doubling of the latency is divided into sixteen buckets.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
}

/// The bits of a latency that choose the bucket within a doubling.
const BITS: u32 = 4;

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; bucket(u64::MAX) + 1],
        }
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanoseconds)] += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The latency that this part of all latencies did not exceed. Zero if there are none.
    pub(crate) fn quantile(&self, part: f64) -> Duration {
        let rank = (self.count() as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= rank {
                return Duration::from_nanos(lowest(bucket));
            }
        }
        Duration::ZERO
    }
}

/// The bucket of a latency. The first sixteen hold one nanosecond each.
fn bucket(nanoseconds: u64) -> usize {
    let shift = (u64::BITS - nanoseconds.leading_zeros()).saturating_sub(BITS + 1);
    ((nanoseconds >> shift) + (u64::from(shift) << BITS)) as usize
}

/// The lowest latency of a bucket.
fn lowest(bucket: usize) -> u64 {
    let shift = (bucket >> BITS).saturating_sub(1);
    ((bucket - (shift << BITS)) as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_all_latencies_in_order() {
        let mut last = 0;
        for bits in 0..u64::BITS {
            for nanoseconds in [
                1 << bits,
                (1 << bits) + (1 << bits) / 3,
                u64::MAX >> (63 - bits),
            ] {
                let bucket = bucket(nanoseconds);
                assert!(bucket >= last, "{nanoseconds}");
                last = bucket;
                let lowest = lowest(bucket);
                assert!(
                    lowest <= nanoseconds && nanoseconds - lowest <= nanoseconds / 16,
                    "{nanoseconds} {lowest}"
                );
            }
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        for microseconds in 1..=100 {
            histogram.record(Duration::from_micros(microseconds));
        }
        let (half, most) = (histogram.quantile(0.5), histogram.quantile(0.99));
        assert!((47..=50).contains(&half.as_micros()), "{half:?}");
        assert!((93..=99).contains(&most.as_micros()), "{most:?}");
    }

    #[test]
    fn thousands_are_apart() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), expected);
        }
    }
}
