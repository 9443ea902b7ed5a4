//! The decisions of a run, as a text that fits on a command line.

use std::fmt::{self, Write};
use std::str::FromStr;

/// A text cannot stand for more decisions than this.
const MOST: usize = 1 << 26;

/// Everything that a run decided: enough to do the same again.
///
/// As a text it is the seed, a colon, and the decisions with commas between them; `z7` stands for
/// seven zeros. Zero is the plain choice: whoever ran goes on, nothing fails. Zeros at the end are
/// left out, and a run that needs more decisions than it is given takes zeros.
///
/// ```
/// use hikyaku_testkit::{Recording, Sim};
///
/// let mut sim = Sim::new(7);
/// for _ in 0..3 {
///     sim.spawn_task(async {});
/// }
/// sim.run_until_idle();
///
/// let text = sim.recording().to_string();
/// let recording: Recording = text.parse()?;
/// let mut again = Sim::replay(&recording).build();
/// for _ in 0..3 {
///     again.spawn_task(async {});
/// }
/// again.run_until_idle();
/// assert_eq!(again.trace_hash(), sim.trace_hash());
/// # Ok::<(), hikyaku_testkit::RecordingError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    seed: u64,
    values: Vec<u32>,
}

impl Recording {
    pub(crate) fn new(seed: u64, mut values: Vec<u32>) -> Self {
        trim(&mut values);
        Self { seed, values }
    }

    /// The seed of the run. It also decides from whom a worker steals first.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many decisions there are up to the last one that is not zero.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Is every decision zero?
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(crate) fn values(&self) -> &[u32] {
        &self.values
    }
}

/// Removes the zeros at the end.
pub(crate) fn trim(values: &mut Vec<u32>) {
    let end = values.iter().rposition(|value| *value != 0);
    values.truncate(end.map_or(0, |last| last + 1));
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.seed)?;
        let runs = self.values.chunk_by(|a, b| (*a, *b) == (0, 0));
        for (place, run) in runs.enumerate() {
            if place != 0 {
                f.write_char(',')?;
            }
            match run {
                [value] => write!(f, "{value}")?,
                zeros => write!(f, "z{}", zeros.len())?,
            }
        }
        Ok(())
    }
}

impl FromStr for Recording {
    type Err = RecordingError;

    fn from_str(text: &str) -> Result<Self, RecordingError> {
        let (seed, decisions) = text.trim().split_once(':').ok_or(RecordingError::Seed)?;
        let seed = seed.parse().map_err(|_| RecordingError::Seed)?;
        let mut values = Vec::new();
        for (place, part) in decisions.split(',').enumerate() {
            let wrong = RecordingError::Decision { place };
            if let Some(zeros) = part.strip_prefix('z') {
                let zeros: usize = zeros.parse().map_err(|_| wrong)?;
                if zeros > MOST - values.len() {
                    return Err(wrong);
                }
                values.resize(values.len() + zeros, 0);
            } else if !decisions.is_empty() {
                values.push(part.parse().map_err(|_| wrong)?);
            }
            if values.len() >= MOST {
                return Err(wrong);
            }
        }
        Ok(Self::new(seed, values))
    }
}

/// Why a text is no [`Recording`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordingError {
    /// It does not begin with a seed and a colon.
    Seed,
    /// A part is no number, no run of zeros, or beyond what a recording can hold.
    Decision {
        /// Which part, from zero.
        place: usize,
    },
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seed => f.write_str("a recording begins with a seed and a colon"),
            Self::Decision { place } => write!(f, "part {place} of the recording is no decision"),
        }
    }
}

impl std::error::Error for RecordingError {}
