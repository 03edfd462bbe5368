//! Percentiles of a sample.

/// A sorted sample, milliseconds.
#[derive(Debug)]
pub(crate) struct Percentiles(Vec<f64>);

impl Percentiles {
    pub(crate) fn new(mut sample: Vec<f64>) -> Self {
        sample.sort_by(f64::total_cmp);
        Self(sample)
    }

    /// How many values there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest value that at least `percent` % of the sample do not exceed; 0 for no sample.
    pub(crate) fn at(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Percentiles;

    #[test]
    fn nearest_rank() {
        let sample = Percentiles::new((1..=100).rev().map(f64::from).collect());
        assert_eq!(
            [sample.at(50), sample.at(95), sample.at(99), sample.at(100)],
            [50.0, 95.0, 99.0, 100.0]
        );
        assert_eq!(Percentiles::new(vec![7.0]).at(50).to_bits(), 7.0_f64.to_bits());
        assert_eq!(Percentiles::new(Vec::new()).at(99).to_bits(), 0.0_f64.to_bits());
    }
}
