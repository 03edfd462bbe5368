//! The planner against a naive one that knows no counters: after every event it looks at all tasks,
//! from scratch, until nothing changes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use tradewind_proto::dag::TriggerRule as Rule;

use super::*;
use TaskState as S;

/// The naive planner's whole memory.
#[derive(Debug, Clone)]
struct Oracle {
    spec: DagSpec,
    states: BTreeMap<String, S>,
    tries: BTreeMap<String, u32>,
    lost: BTreeMap<String, u32>,
    skip: BTreeMap<String, bool>,
}

impl Oracle {
    fn new(spec: DagSpec) -> Self {
        let names = || spec.tasks.iter().map(|t| t.task_id.clone());
        Self {
            states: names().map(|n| (n, S::None)).collect(),
            tries: names().map(|n| (n, 0)).collect(),
            lost: names().map(|n| (n, 0)).collect(),
            skip: names().map(|n| (n, false)).collect(),
            spec,
        }
    }

    fn settle(&mut self) {
        loop {
            let before = self.states.clone();
            for spec in self.spec.tasks.clone() {
                if self.states[&spec.task_id] == S::None {
                    self.look(&spec);
                }
            }
            if self.states == before {
                return;
            }
        }
    }

    fn look(&mut self, spec: &TaskSpec) {
        let ups: Vec<S> = spec.upstream.iter().map(|u| self.states[u]).collect();
        let state = match verdict(spec.trigger_rule, &ups) {
            _ if self.skip[&spec.task_id] => S::Skipped,
            None => return,
            Some(S::Scheduled) if spec.runtime == Runtime::Empty => S::Success,
            Some(state) => state,
        };
        if state == S::Scheduled {
            *self.tries.get_mut(&spec.task_id).expect("a task") += 1;
        }
        self.states.insert(spec.task_id.clone(), state);
    }

    fn end(&mut self, name: &str, end: OutcomeState, skip: &[String]) {
        let spec = self.spec.tasks.iter().find(|t| t.task_id == name).expect("a task").clone();
        let failed = if self.tries[name] <= spec.retries { S::UpForRetry } else { S::Failed };
        let state = match end {
            OutcomeState::Success => S::Success,
            OutcomeState::Skipped => S::Skipped,
            OutcomeState::Failed | OutcomeState::TimedOut => failed,
            OutcomeState::FailedNoRetry | OutcomeState::Cancelled => S::Failed,
            OutcomeState::HandedBack => S::Scheduled,
            OutcomeState::Lost => {
                let lost = self.lost.get_mut(name).expect("a task");
                *lost += 1;
                if *lost > 2 { failed } else { S::Scheduled }
            }
        };
        self.states.insert(name.to_owned(), state);
        if matches!(state, S::Success | S::Skipped) {
            for other in
                skip.iter().filter(|o| !self.states[*o].is_terminal()).cloned().collect::<Vec<_>>()
            {
                self.skip.insert(other.clone(), true);
                self.states.insert(other, S::Skipped);
            }
        }
        self.settle();
    }

    fn retry_all(&mut self) {
        for (name, state) in &mut self.states {
            if *state == S::UpForRetry {
                *state = S::Scheduled;
                *self.tries.get_mut(name).expect("a task") += 1;
            }
        }
        self.settle();
    }

    fn run_state(&self) -> RunState {
        if self.states.values().any(|s| !s.is_terminal()) {
            return RunState::Running;
        }
        let leaf = |t: &&TaskSpec| !self.spec.tasks.iter().any(|o| o.upstream.contains(&t.task_id));
        let mut leaves = self.spec.tasks.iter().filter(leaf);
        let bad = leaves.any(|t| matches!(self.states[&t.task_id], S::Failed | S::UpstreamFailed));
        if bad { RunState::Failed } else { RunState::Success }
    }
}

/// The rules once more, over the states themselves: the new state of a task, or none yet.
fn verdict(rule: Rule, ups: &[S]) -> Option<S> {
    let any = |wanted: &[S]| ups.iter().any(|s| wanted.contains(s));
    let all = |wanted: &[S]| ups.iter().all(|s| wanted.contains(s));
    let done = ups.iter().all(|s| s.is_terminal());
    let bad = any(&[S::Failed, S::UpstreamFailed]);
    let pick = |cases: &[(bool, S)]| cases.iter().find(|(holds, _)| *holds).map(|(_, s)| *s);
    if ups.is_empty() || rule == Rule::Always {
        return Some(S::Scheduled);
    }
    match rule {
        Rule::AllSuccess => pick(&[
            (bad, S::UpstreamFailed),
            (any(&[S::Skipped]), S::Skipped),
            (done, S::Scheduled),
        ]),
        Rule::AllFailed => {
            pick(&[(any(&[S::Success, S::Skipped]), S::Skipped), (done, S::Scheduled)])
        }
        Rule::AllDone | Rule::AllDoneSetupSuccess => pick(&[(done, S::Scheduled)]),
        Rule::AllSkipped => pick(&[(any(&[S::Success]) || bad, S::Skipped), (done, S::Scheduled)]),
        Rule::OneSuccess => pick(&[
            (any(&[S::Success]), S::Scheduled),
            (all(&[S::Skipped]), S::Skipped),
            (done, S::UpstreamFailed),
        ]),
        Rule::OneFailed => pick(&[(bad, S::Scheduled), (done, S::Skipped)]),
        Rule::OneDone => pick(&[(any(&[S::Success, S::Failed]), S::Scheduled), (done, S::Skipped)]),
        Rule::NoneFailed => pick(&[(bad, S::UpstreamFailed), (done, S::Scheduled)]),
        Rule::NoneFailedMinOneSuccess => pick(&[
            (bad, S::UpstreamFailed),
            (all(&[S::Skipped]), S::Skipped),
            (done, S::Scheduled),
        ]),
        Rule::NoneSkipped => pick(&[(any(&[S::Skipped]), S::Skipped), (done, S::Scheduled)]),
        Rule::AllDoneMinOneSuccess => pick(&[
            (any(&[S::Skipped]), S::Skipped),
            (done && !any(&[S::Success]), S::UpstreamFailed),
            (done, S::Scheduled),
        ]),
        Rule::Always => None,
    }
}

#[derive(Debug, Clone)]
struct Step {
    target: Index,
    end: Index,
    skip: Vec<Index>,
    noise: u8,
}

fn dags() -> impl Strategy<Value = DagSpec> {
    let one = (any::<Index>(), 0_u32..3, prop::collection::vec(any::<Index>(), 0..4), 0_u8..6);
    prop::collection::vec(one, 1..14).prop_map(|shapes| {
        let mut tasks: Vec<TaskSpec> = Vec::new();
        for (i, (rule, retries, ups, kind)) in shapes.into_iter().enumerate() {
            let mut spec = task(&format!("t{i}"), &[]);
            if i > 0 {
                spec.upstream = ups.iter().map(|u| format!("t{}", u.index(i))).collect();
                spec.upstream.sort();
                spec.upstream.dedup();
            }
            spec.trigger_rule = *rule.get(Rule::ALL);
            spec.retries = retries;
            spec.retry_delay = 1_000_000.0;
            if kind == 0 {
                spec.runtime = Runtime::Empty;
            }
            tasks.push(spec);
        }
        dag(tasks)
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step =
        (any::<Index>(), any::<Index>(), prop::collection::vec(any::<Index>(), 0..3), 0_u8..10);
    let step = step.prop_map(|(target, end, skip, noise)| Step { target, end, skip, noise });
    prop::collection::vec(step, 60..120)
}

/// Both planners, fed alike, and what was promised about every row so far.
struct Duel {
    bench: Bench,
    oracle: Oracle,
    second: i64,
    old: Vec<Outcome>,
    rows: BTreeMap<String, TaskInstance>,
}

impl Duel {
    fn new(spec: DagSpec) -> Self {
        let mut bench = Bench::new(spec.clone());
        bench.plan.options.lost_max = 2;
        Self { bench, oracle: Oracle::new(spec), second: 1, old: Vec::new(), rows: BTreeMap::new() }
    }

    fn check(&mut self, changes: &Changes) {
        let mut seen = std::collections::BTreeSet::new();
        for change in &changes.tasks {
            let new = &change.task;
            assert!(seen.insert(new.task_id.clone()), "{} is listed twice", new.task_id);
            assert_eq!(Some(new), self.bench.plan.task(&new.task_id), "the row is the final one");
            if let Some(old) = self.rows.insert(new.task_id.clone(), new.clone()) {
                assert!(!old.state.is_terminal(), "{} left {}", new.task_id, old.state);
                assert!(new.token >= old.token && new.try_number >= old.try_number);
                assert_eq!(new.token == old.token, new.attempt_id == old.attempt_id);
            }
            if new.state == S::Scheduled && new.try_number == 1 && new.token == 1 {
                self.rule_holds(&new.task_id);
            }
        }
        for (name, state) in &self.oracle.states {
            assert_eq!(self.bench.state(name), *state, "{name}");
            let tries = self.bench.plan.task(name).expect("a task").try_number;
            let empty = self.oracle.spec.task(name).expect("a task").runtime == Runtime::Empty;
            assert!(empty || tries == self.oracle.tries[name], "tries of {name}");
        }
        assert_eq!(self.bench.plan.run().state, self.oracle.run_state());
    }

    fn rule_holds(&self, name: &str) {
        let spec = self.oracle.spec.task(name).expect("a task");
        let ups: Vec<S> = spec.upstream.iter().map(|u| self.bench.state(u)).collect();
        assert_eq!(verdict(spec.trigger_rule, &ups), Some(S::Scheduled), "{name} started early");
    }

    fn step(&mut self, step: &Step) {
        self.second += 1;
        if step.noise == 0 {
            self.bench.reload();
            let changes = self.bench.plan.start(at(0), &self.bench.ids);
            assert!(changes.is_empty(), "a reload decides nothing new: {changes:?}");
        }
        if step.noise == 1 && !self.old.is_empty() {
            let outcome = step.target.get(&self.old).clone();
            let (verdict, changes) =
                self.bench.plan.outcome(&outcome, at(self.second), &self.bench.ids);
            assert!(verdict != Verdict::Applied && changes.is_empty());
        }
        let open: Vec<String> = self.names(|s| s == S::Scheduled);
        if open.is_empty() || step.noise == 2 {
            return self.wake();
        }
        let name = step.target.get(&open).clone();
        let end = *step.end.get(OutcomeState::ALL);
        let skip: Vec<String> = step
            .skip
            .iter()
            .map(|i| format!("t{}", i.index(self.oracle.spec.tasks.len())))
            .collect();
        // A second outcome, built for the first attempt, must not count after it.
        let mut outcome = self.bench.outcome(&name, end, self.second);
        if !matches!(end, OutcomeState::Lost | OutcomeState::HandedBack) {
            outcome.skip = skip.clone();
        }
        let (verdict, changes) =
            self.bench.plan.outcome(&outcome, at(self.second), &self.bench.ids);
        assert_eq!(verdict, Verdict::Applied);
        self.old.push(outcome);
        self.oracle.end(&name, end, &skip);
        self.check(&changes);
    }

    /// Far enough ahead that every retry is due.
    fn wake(&mut self) {
        self.second += 2_000_000;
        let changes = self.bench.plan.wake(at(self.second), &self.bench.ids);
        self.oracle.retry_all();
        self.check(&changes);
    }

    fn names(&self, wanted: impl Fn(S) -> bool) -> Vec<String> {
        self.oracle.states.iter().filter(|(_, s)| wanted(**s)).map(|(n, _)| n.clone()).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn counters_decide_as_a_fresh_look_at_everything_does(spec in dags(), steps in steps()) {
        let mut duel = Duel::new(spec);
        let changes = duel.bench.start();
        duel.oracle.settle();
        duel.check(&changes);
        for step in &steps {
            if duel.bench.plan.is_done() {
                break;
            }
            duel.step(step);
        }
        // What is left ends well, so every run ends.
        for _ in 0..200 {
            let Some(name) = duel.names(|s| s == S::Scheduled).first().cloned() else {
                if duel.bench.plan.is_done() {
                    break;
                }
                duel.wake();
                continue;
            };
            duel.second += 1;
            let (_, changes) = duel.bench.end(&name, OutcomeState::Success, duel.second);
            duel.oracle.end(&name, OutcomeState::Success, &[]);
            duel.check(&changes);
        }
        prop_assert!(duel.bench.plan.is_done(), "every run ends");
    }
}
