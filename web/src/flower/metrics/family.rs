//! A metric with labels that cannot grow without a bound, and whose series end with their worker.

use std::collections::HashSet;

use prometheus::Registry;
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use tradewind_proto::labels::{LABEL_BYTES_MAX, OTHER};

/// Any of the client library's vectors.
pub(super) trait Vector: Collector + Clone + 'static {
    /// One series.
    type One;

    /// The series of these values.
    fn series(&self, values: &[&str]) -> Self::One;

    /// Removes it, if it is there.
    fn drop_series(&self, values: &[&str]);
}

impl<B> Vector for MetricVec<B>
where
    B: MetricVecBuilder + 'static,
    Self: Collector,
{
    type One = B::M;

    fn series(&self, values: &[&str]) -> B::M {
        self.with_label_values(values)
    }

    fn drop_series(&self, values: &[&str]) {
        // One that is not there needs no removal.
        let _absent = self.remove_label_values(values);
    }
}

/// A metric vector with a bounded number of label sets.
#[derive(Debug)]
pub(super) struct Family<V> {
    name: &'static str,
    vector: V,
    sets: HashSet<Vec<String>>,
    max: usize,
    folded: u64,
}

impl<V: Vector> Family<V> {
    /// Registers the vector.
    pub(super) fn new(
        registry: &Registry,
        name: &'static str,
        vector: prometheus::Result<V>,
        max: usize,
    ) -> prometheus::Result<Self> {
        let vector = vector?;
        registry.register(Box::new(vector.clone()))?;
        Ok(Self { name, vector, sets: HashSet::new(), max, folded: 0 })
    }

    /// The series of these values, or, when there is no room for a new one, of `other`.
    pub(super) fn at(&mut self, values: &[&str]) -> V::One {
        let set: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        if !self.sets.contains(&set) {
            let long = values.iter().any(|value| value.len() > LABEL_BYTES_MAX);
            if long || self.sets.len() >= self.max {
                self.folded += 1;
                return self.vector.series(&vec![OTHER; values.len()]);
            }
            self.sets.insert(set);
        }
        self.vector.series(values)
    }

    /// Removes the series whose label at `index` is not wanted any more.
    pub(super) fn retain(&mut self, index: usize, wanted: impl Fn(&str) -> bool) {
        let vector = &self.vector;
        self.sets.retain(|set| {
            let stays = set.get(index).is_none_or(|value| wanted(value));
            if !stays {
                let values: Vec<&str> = set.iter().map(String::as_str).collect();
                vector.drop_series(&values);
            }
            stays
        });
    }

    /// The metric's name and what was counted as `other` since this was last asked.
    pub(super) fn take_folded(&mut self) -> (&'static str, u64) {
        (self.name, std::mem::take(&mut self.folded))
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{IntCounterVec, Opts, Registry};

    use super::Family;

    #[test]
    fn series_are_bounded_and_removed() {
        let vector = IntCounterVec::new(Opts::new("x_total", "x"), &["worker", "task"]);
        let mut family = Family::new(&Registry::new(), "x_total", vector, 2).expect("registers");
        for (worker, task) in [("a", "t"), ("b", "t"), ("c", "t"), ("c", "u"), ("a", "t")] {
            family.at(&[worker, task]).inc();
        }
        assert_eq!(family.at(&["a", "t"]).get(), 2);
        assert_eq!(family.vector.with_label_values(&["other", "other"]).get(), 2);
        assert_eq!(family.take_folded(), ("x_total", 2));
        family.retain(0, |worker| worker != "a");
        family.at(&["c", "t"]).inc();
        assert_eq!(family.at(&["c", "t"]).get(), 1, "there is room again");
        assert_eq!(family.take_folded(), ("x_total", 0));
    }
}
