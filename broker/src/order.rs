//! Which of several queues is served next. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Largest weight of a queue.
pub(crate) const WEIGHT_MAX: u16 = 100;

/// In which order a consumer serves its queues.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueOrder {
    /// By turns.
    #[default]
    RoundRobin,
    /// A queue only when all that were listed before it are empty.
    Strict,
    /// By turns in proportion to weights; an empty queue's turns go to the others.
    Weighted,
}

pub(crate) fn valid_weight(weight: u16) -> bool {
    (1..=WEIGHT_MAX).contains(&weight)
}

/// The turns of some queues, and whose is next.
#[derive(Debug, Clone)]
pub(crate) struct Chooser {
    order: QueueOrder,
    weights: BTreeMap<String, u16>,
    /// Numbers of queues; each occurs at least once.
    turns: Vec<usize>,
    next: usize,
}

impl Chooser {
    pub(crate) fn new(
        order: QueueOrder,
        weights: &BTreeMap<String, u16>,
        queues: &[String],
    ) -> Self {
        let mut chooser = Self { order, weights: weights.clone(), turns: Vec::new(), next: 0 };
        chooser.set_queues(queues);
        chooser
    }

    pub(crate) fn order(&self) -> QueueOrder {
        self.order
    }

    /// To be called when the queues have changed.
    pub(crate) fn set_queues(&mut self, queues: &[String]) {
        let weight = |queue: &String| match self.order {
            QueueOrder::Weighted => self.weights.get(queue).copied().unwrap_or(1).max(1),
            QueueOrder::RoundRobin | QueueOrder::Strict => 1,
        };
        self.turns = spread(&queues.iter().map(weight).collect::<Vec<_>>());
        self.next = 0;
    }

    /// The turns of one round, the next one first.
    pub(crate) fn round(&self) -> impl Iterator<Item = usize> + '_ {
        let (before, after) = self.turns.split_at(self.next.min(self.turns.len()));
        after.iter().chain(before).copied()
    }

    /// Tells that this many turns were used.
    pub(crate) fn advance(&mut self, turns: usize) {
        if self.order != QueueOrder::Strict && !self.turns.is_empty() {
            self.next = (self.next + turns) % self.turns.len();
        }
    }

    /// Offers the queues by turns until one has something.
    pub(crate) fn pick<T>(&mut self, mut take: impl FnMut(usize) -> Option<T>) -> Option<T> {
        let found =
            self.round().enumerate().find_map(|(turn, queue)| take(queue).map(|got| (turn, got)));
        let (turn, got) = found?;
        self.advance(turn + 1);
        Some(got)
    }
}

/// One round in which each queue has as many turns as its weight, spread evenly (smooth weighted
/// round robin).
fn spread(weights: &[u16]) -> Vec<usize> {
    let total: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
    let mut credit = vec![0_i64; weights.len()];
    let mut turns = Vec::new();
    for _ in 0..total {
        for (credit, weight) in credit.iter_mut().zip(weights) {
            *credit += i64::from(*weight);
        }
        // The first one of those with most credit.
        let best = (0..credit.len()).rev().max_by_key(|queue| credit[*queue]).unwrap_or(0);
        credit[best] -= total;
        turns.push(best);
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chooser(order: QueueOrder, weights: &[(&str, u16)], queues: &[&str]) -> Chooser {
        let weights =
            weights.iter().map(|(queue, weight)| ((*queue).to_owned(), *weight)).collect();
        let queues: Vec<String> = queues.iter().map(|queue| (*queue).to_owned()).collect();
        Chooser::new(order, &weights, &queues)
    }

    /// What is served when the queues hold so many.
    fn served(chooser: &mut Chooser, held: &mut [usize], count: usize) -> Vec<usize> {
        let mut take = || {
            chooser.pick(|queue| {
                held[queue] = held[queue].checked_sub(1)?;
                Some(queue)
            })
        };
        (0..count).map_while(|_| take()).collect()
    }

    #[test]
    fn round_robin_takes_turns_and_passes_over_empty_ones() {
        let mut chooser = chooser(QueueOrder::RoundRobin, &[], &["a", "b", "c"]);
        assert_eq!(served(&mut chooser, &mut [3, 1, 2], 9), [0, 1, 2, 0, 2, 0]);
    }

    #[test]
    fn strict_empties_the_first_first() {
        let mut chooser = chooser(QueueOrder::Strict, &[], &["a", "b"]);
        let mut held = [2, 3];
        assert_eq!(served(&mut chooser, &mut held, 3), [0, 0, 1]);
        held[0] = 1;
        assert_eq!(served(&mut chooser, &mut held, 9), [0, 1, 1]);
    }

    #[test]
    fn weights_are_shares_and_are_spread() {
        let mut chooser = chooser(QueueOrder::Weighted, &[("a", 5), ("b", 2)], &["a", "b", "c"]);
        let turns = served(&mut chooser, &mut [100, 100, 100], 80);
        let share = |queue| turns.iter().filter(|turn| **turn == queue).count();
        assert_eq!((share(0), share(1), share(2)), (50, 20, 10));
        assert!(turns[..8] != [0, 0, 0, 0, 0, 1, 1, 2], "all turns of one queue in a row");
        assert_eq!(served(&mut chooser, &mut [0, 0, 3], 9), [2, 2, 2], "empty ones block no other");
    }

    #[test]
    fn no_queues_have_no_turns() {
        let mut chooser = chooser(QueueOrder::RoundRobin, &[], &[]);
        assert_eq!(chooser.pick(Some), None);
        chooser.advance(3);
        assert_eq!(chooser.round().count(), 0);
    }
}
