//! Effective priority: sums of weights over transitive relatives.

use tradewind_proto::dag::{DagSpec, WeightRule};

/// Tasks per pass: one bit of a word each.
const BLOCK: usize = 64;

/// Every task's weight under its rule, clamped to 32 bits.
pub(super) fn priorities(
    spec: &DagSpec,
    upstream: &[Vec<usize>],
    downstream: &[Vec<usize>],
    order: &[usize],
) -> Vec<i32> {
    let has = |rule| spec.tasks.iter().any(|t| t.weight_rule == rule);
    let mut total: Vec<i64> = spec.tasks.iter().map(|t| i64::from(t.priority_weight)).collect();
    if has(WeightRule::Downstream) {
        let sums = relatives(spec, downstream, order.iter().rev());
        add_where(spec, &mut total, &sums, WeightRule::Downstream);
    }
    if has(WeightRule::Upstream) {
        let sums = relatives(spec, upstream, order.iter());
        add_where(spec, &mut total, &sums, WeightRule::Upstream);
    }
    total.into_iter().map(clamp).collect()
}

fn add_where(spec: &DagSpec, total: &mut [i64], sums: &[i64], rule: WeightRule) {
    for (i, task) in spec.tasks.iter().enumerate() {
        if task.weight_rule == rule {
            total[i] = total[i].saturating_add(sums[i]);
        }
    }
}

/// Sum of the weights of all distinct transitive relatives. `order` visits a task after its
/// relatives. Works through the tasks in blocks of 64, so that memory stays linear.
fn relatives<'a>(
    spec: &DagSpec,
    links: &[Vec<usize>],
    order: impl Iterator<Item = &'a usize> + Clone,
) -> Vec<i64> {
    let mut sums = vec![0_i64; links.len()];
    for first in (0..links.len()).step_by(BLOCK) {
        let mut reached = vec![0_u64; links.len()];
        for &task in order.clone() {
            let mut bits = 0;
            for &relative in &links[task] {
                bits |= reached[relative];
                if (first..first + BLOCK).contains(&relative) {
                    bits |= 1 << (relative - first);
                }
            }
            reached[task] = bits;
            sums[task] = sums[task].saturating_add(weigh(spec, first, bits));
        }
    }
    sums
}

fn weigh(spec: &DagSpec, first: usize, mut bits: u64) -> i64 {
    let mut sum = 0;
    while bits != 0 {
        let bit = bits.trailing_zeros() as usize;
        sum += i64::from(spec.tasks[first + bit].priority_weight);
        bits &= bits - 1;
    }
    sum
}

fn clamp(weight: i64) -> i32 {
    i32::try_from(weight).unwrap_or(if weight < 0 { i32::MIN } else { i32::MAX })
}
