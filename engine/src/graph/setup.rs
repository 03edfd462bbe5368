//! What setup and teardown tasks add to a graph: tasks gated by setups further up, and teardowns that
//! wait for everything between their setups and themselves.

use std::collections::{BTreeMap, BTreeSet};

use tradewind_proto::dag::{DagSpec, TriggerRule};

use super::reach;

/// Extra dependencies. Empty for a DAG without setups.
#[derive(Debug, Clone, Default)]
pub struct SetupLinks {
    gates: BTreeMap<usize, Vec<usize>>,
    gated: BTreeMap<usize, Vec<usize>>,
    scopes: BTreeMap<usize, Vec<usize>>,
    in_scope_of: BTreeMap<usize, Vec<usize>>,
}

impl SetupLinks {
    /// Finds the extra dependencies of a checked DAG.
    pub(super) fn new(spec: &DagSpec, up: &[Vec<usize>], down: &[Vec<usize>]) -> Self {
        let mut links = Self::default();
        for (setup, _) in spec.tasks.iter().enumerate().filter(|(_, task)| task.is_setup) {
            let below = reach(down, setup);
            links.gate(spec, up, down, setup, &below);
            links.wait_for_scope(spec, up, down, setup, &below);
        }
        links.gates = invert(&links.gated);
        links.in_scope_of = invert(&links.scopes);
        links
    }

    /// Setups further up than directly, which must succeed before the task's own rule counts.
    pub fn gates(&self, task: usize) -> &[usize] {
        self.gates.get(&task).map_or(&[], Vec::as_slice)
    }

    /// Tasks that have this setup among their [`SetupLinks::gates`].
    pub fn gated(&self, setup: usize) -> &[usize] {
        self.gated.get(&setup).map_or(&[], Vec::as_slice)
    }

    /// Tasks beyond the direct upstreams that a teardown waits for.
    pub fn scope(&self, teardown: usize) -> &[usize] {
        self.scopes.get(&teardown).map_or(&[], Vec::as_slice)
    }

    /// Teardowns that have this task in their [`SetupLinks::scope`].
    pub fn in_scope_of(&self, task: usize) -> &[usize] {
        self.in_scope_of.get(&task).map_or(&[], Vec::as_slice)
    }

    /// A setup gates what is below it and above one of its teardowns; everything below it when it
    /// has no teardown.
    fn gate(
        &mut self,
        spec: &DagSpec,
        up: &[Vec<usize>],
        down: &[Vec<usize>],
        setup: usize,
        below: &BTreeSet<usize>,
    ) {
        let teardowns: Vec<usize> =
            down[setup].iter().copied().filter(|&t| spec.tasks[t].is_teardown).collect();
        let above: BTreeSet<usize> = teardowns.iter().flat_map(|&t| reach(up, t)).collect();
        let gated: Vec<usize> = below
            .iter()
            .copied()
            .filter(|&task| !spec.tasks[task].is_teardown && !up[task].contains(&setup))
            .filter(|task| teardowns.is_empty() || above.contains(task))
            .collect();
        if !gated.is_empty() {
            self.gated.insert(setup, gated);
        }
    }

    /// A teardown with the default rule waits for everything between its setup and itself.
    fn wait_for_scope(
        &mut self,
        spec: &DagSpec,
        up: &[Vec<usize>],
        down: &[Vec<usize>],
        setup: usize,
        below: &BTreeSet<usize>,
    ) {
        for &teardown in &down[setup] {
            if spec.tasks[teardown].trigger_rule != TriggerRule::AllDoneSetupSuccess {
                continue;
            }
            let scope = self.scopes.entry(teardown).or_default();
            let between = reach(up, teardown);
            let more = between.intersection(below).filter(|t| !up[teardown].contains(t));
            scope.extend(more.copied());
            scope.sort_unstable();
            scope.dedup();
        }
    }
}

fn invert(links: &BTreeMap<usize, Vec<usize>>) -> BTreeMap<usize, Vec<usize>> {
    let mut inverse: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (&from, tos) in links {
        for &to in tos {
            inverse.entry(to).or_default().push(from);
        }
    }
    inverse
}
