//! Truth tables: every rule against every combination of up to three upstream states, compared with
//! predicates over the states themselves, written from the rules' definitions and not from counters.

use tradewind_proto::dag::TriggerRule::{self, *};
use tradewind_proto::state::TaskState::{
    self, Failed, Removed, Running, Skipped, Success, UpstreamFailed,
};

use super::*;

const STATES: [TaskState; 6] = [Running, Success, Skipped, Failed, UpstreamFailed, Removed];

fn expected(rule: TriggerRule, states: &[TaskState]) -> Decision {
    let any = |wanted: &[TaskState]| states.iter().any(|s| wanted.contains(s));
    let all = |wanted: &[TaskState]| states.iter().all(|s| wanted.contains(s));
    let done = !any(&[Running]);
    let bad = any(&[Failed, UpstreamFailed]);
    let run_or_wait = |run: bool| if run { Decision::Run } else { Decision::Wait };
    if states.is_empty() {
        return Decision::Run;
    }
    match rule {
        AllSuccess if bad => Decision::UpstreamFailed,
        AllSuccess if any(&[Skipped]) => Decision::Skip,
        AllSuccess => run_or_wait(all(&[Success, Removed])),
        AllFailed if any(&[Success, Skipped]) => Decision::Skip,
        AllFailed => run_or_wait(all(&[Failed, UpstreamFailed, Removed])),
        AllDone => run_or_wait(done),
        AllSkipped if any(&[Success, Failed, UpstreamFailed]) => Decision::Skip,
        AllSkipped => run_or_wait(all(&[Skipped])),
        OneSuccess if any(&[Success]) => Decision::Run,
        OneSuccess if all(&[Skipped]) => Decision::Skip,
        OneSuccess if done => Decision::UpstreamFailed,
        OneFailed if bad => Decision::Run,
        OneFailed if done => Decision::Skip,
        OneDone if any(&[Success, Failed]) => Decision::Run,
        OneDone if done => Decision::Skip,
        OneSuccess | OneFailed | OneDone => Decision::Wait,
        NoneFailed | NoneFailedMinOneSuccess if bad => Decision::UpstreamFailed,
        NoneFailed => run_or_wait(done),
        NoneFailedMinOneSuccess if all(&[Skipped]) => Decision::Skip,
        NoneFailedMinOneSuccess if done && !any(&[Success]) => Decision::UpstreamFailed,
        NoneFailedMinOneSuccess => run_or_wait(done),
        NoneSkipped if any(&[Skipped]) => Decision::Skip,
        NoneSkipped => run_or_wait(done),
        AllDoneMinOneSuccess if any(&[Skipped]) => Decision::Skip,
        AllDoneMinOneSuccess if done && !any(&[Success]) => Decision::UpstreamFailed,
        AllDoneMinOneSuccess => run_or_wait(done),
        AllDoneSetupSuccess => run_or_wait(done),
        Always => Decision::Run,
    }
}

fn count(states: &[TaskState], setups: usize) -> Upstreams {
    let mut up = Upstreams {
        total: u32::try_from(states.len()).expect("few"),
        setups: u32::try_from(setups).expect("few"),
        ..Upstreams::default()
    };
    for (i, state) in states.iter().enumerate() {
        up.count(*state, i < setups);
    }
    up
}

fn vectors() -> Vec<Vec<TaskState>> {
    let mut all = vec![vec![]];
    for length in 0..3 {
        let shorter: Vec<_> = all.iter().filter(|v: &&Vec<_>| v.len() == length).cloned().collect();
        for vector in shorter {
            all.extend(STATES.iter().map(|s| [vector.as_slice(), &[*s]].concat()));
        }
    }
    all
}

#[test]
fn every_rule_matches_its_truth_table() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 1 + 6 + 36 + 216);
    for rule in TriggerRule::ALL {
        for states in &vectors {
            let got = decide(*rule, &count(states, 0), -1);
            assert_eq!(got, expected(*rule, states), "{rule} over {states:?}");
        }
    }
}

#[test]
fn a_decision_to_run_is_never_taken_back() {
    for rule in TriggerRule::ALL {
        for states in vectors() {
            if decide(*rule, &count(&states, 0), -1) != Decision::Run {
                continue;
            }
            for (i, _) in states.iter().enumerate().filter(|(_, s)| **s == Running) {
                for later in &STATES[1..] {
                    let mut next = states.clone();
                    next[i] = *later;
                    let got = decide(*rule, &count(&next, 0), -1);
                    assert_eq!(got, Decision::Run, "{rule} over {states:?} then {next:?}");
                }
            }
        }
    }
}

#[test]
fn teardowns_look_at_their_setups() {
    let rule = AllDoneSetupSuccess;
    assert_eq!(decide(rule, &count(&[Success, Failed], 1), -1), Decision::Run);
    assert_eq!(decide(rule, &count(&[Failed, Success], 1), -1), Decision::UpstreamFailed);
    assert_eq!(decide(rule, &count(&[Skipped, Success], 1), -1), Decision::Skip);
    assert_eq!(decide(rule, &count(&[Failed, Running], 1), -1), Decision::Wait);
    assert_eq!(decide(rule, &count(&[Failed, Success, Failed], 2), -1), Decision::Run);
}

#[test]
fn gates_spread_failure_and_skip_at_once() {
    assert_eq!(gate(&count(&[Running, Failed], 2)), Some(Decision::UpstreamFailed));
    assert_eq!(gate(&count(&[Running, Skipped], 2)), Some(Decision::Skip));
    assert_eq!(gate(&count(&[Running, Success], 2)), Some(Decision::Wait));
    assert_eq!(gate(&count(&[Success, Success], 2)), None);
}

#[test]
fn a_mapped_instance_beyond_its_upstreams_is_removed() {
    let up = count(&[Success, Removed], 0);
    assert_eq!(decide(AllSuccess, &up, 1), Decision::Removed);
    assert_eq!(decide(AllSuccess, &up, 0), Decision::Run);
}
