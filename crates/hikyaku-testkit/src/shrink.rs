//! Makes a list of decisions shorter and plainer as long as the run still fails.

use crate::recording::trim;

/// Shortens `values` by running at most so many others. `fails` runs one, and if it fails in the
/// same way says what was decided in fact.
pub(crate) fn shrink(
    mut values: Vec<u32>,
    runs: usize,
    fails: impl FnMut(&[u32]) -> Option<Vec<u32>>,
) -> Vec<u32> {
    trim(&mut values);
    let mut search = Search {
        best: values,
        runs,
        fails,
    };
    loop {
        let before = measure(&search.best);
        search.cut();
        search.lower();
        if search.runs == 0 || measure(&search.best) == before {
            return search.best;
        }
    }
}

/// What makes one list better than another: it is shorter, has fewer decisions that are not plain,
/// or smaller ones.
fn measure(values: &[u32]) -> (usize, usize, u64) {
    let surprises = values.iter().filter(|value| **value != 0).count();
    let sum = values.iter().map(|value| u64::from(*value)).sum();
    (values.len(), surprises, sum)
}

struct Search<F> {
    best: Vec<u32>,
    /// Left.
    runs: usize,
    fails: F,
}

impl<F: FnMut(&[u32]) -> Option<Vec<u32>>> Search<F> {
    /// Takes the candidate if it is better and fails.
    fn accept(&mut self, mut candidate: Vec<u32>) -> bool {
        trim(&mut candidate);
        if self.runs == 0 || measure(&candidate) >= measure(&self.best) {
            return false;
        }
        self.runs -= 1;
        let Some(mut made) = (self.fails)(&candidate) else {
            return false;
        };
        trim(&mut made);
        // A run decides as told, or takes a smaller number: it does not get worse.
        if measure(&made) <= measure(&candidate) {
            candidate = made;
        }
        self.best = candidate;
        true
    }

    /// Takes out pieces, or makes them plain: large ones first, and from the end, where most is
    /// not needed.
    fn cut(&mut self) {
        let mut size = self.best.len();
        while size > 0 && self.runs > 0 {
            let mut end = self.best.len();
            while end > 0 {
                let start = end.saturating_sub(size);
                let (head, tail) = (&self.best[..start], &self.best[end..]);
                let without = [head, tail].concat();
                let plain = [head, &vec![0; end - start], tail].concat();
                let _taken = self.accept(without) || self.accept(plain);
                end = start.min(self.best.len());
            }
            size /= 2;
        }
    }

    /// Makes single decisions smaller.
    fn lower(&mut self) {
        for place in 0..self.best.len() {
            let value = self.best.get(place).copied().unwrap_or(0);
            for smaller in [1, value / 2, value.saturating_sub(1)] {
                let mut candidate = self.best.clone();
                if place < candidate.len() && smaller < candidate[place] {
                    candidate[place] = smaller;
                    let _taken = self.accept(candidate);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
