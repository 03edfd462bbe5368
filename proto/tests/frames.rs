//! Golden bytes and hostile bytes of the binary frame.

use tradewind_proto::codec::{Frame, FrameError, Kind};
use tradewind_proto::sign::{KeyRing, OpenError, SigningKey, open_outcome, seal_outcome};
use tradewind_proto::state::OutcomeState;
use tradewind_proto::workload::{Outcome, OutcomeHead, Workload, Xcom};
use tradewind_proto::{AttemptId, Timestamp};
use uuid::Uuid;

fn workload() -> Workload {
    Workload {
        attempt: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
        token: 7,
        dag_id: "etl".into(),
        run_id: "manual__1".into(),
        task_id: "load".into(),
        map_index: -1,
        try_number: 2,
        queue: "default".into(),
        reply_to: "tradewind.results".into(),
        trace_parent: String::new(),
        queued_at: 1_700_000_000_000_000,
    }
}

fn outcome() -> Outcome {
    let head = OutcomeHead {
        attempt_id: AttemptId(Uuid::from_u128(1)),
        token: 3,
        run: Uuid::from_u128(2),
        task_id: "t".into(),
        map_index: -1,
        worker: "celery@h".into(),
    };
    let at = |us| Timestamp::from_microsecond(us).expect("in range");
    let mut outcome = Outcome::new(head, OutcomeState::Success, at(10), at(20));
    outcome.xcoms.push(Xcom { key: "return_value".into(), json: "41".into() });
    outcome.skip.push("other".into());
    outcome
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn outcome_bytes_of_version_1() {
    let bytes = seal_outcome(&outcome()).expect("small");
    let golden = include_str!("data/outcome_v1.hex").trim();
    assert_eq!(hex(&bytes), golden, "the wire format of version 1 is frozen");
    assert_eq!(open_outcome(&bytes).expect("ours"), outcome());
}

#[test]
fn workload_bytes_of_version_1() {
    let key = SigningKey::from_seed(&[7; 32]).expect("32 bytes");
    let bytes = key.seal(&workload()).expect("small");
    let golden = include_str!("data/workload_v1.hex").trim();
    assert_eq!(hex(&bytes), golden, "the wire format of version 1 is frozen");
    let mut ring = KeyRing::default();
    ring.insert(key.public());
    assert_eq!(ring.open(&bytes).expect("signed"), workload());
}

#[test]
fn every_flipped_bit_is_refused() {
    let key = SigningKey::from_seed(&[7; 32]).expect("32 bytes");
    let bytes = key.seal(&workload()).expect("small");
    let mut ring = KeyRing::default();
    ring.insert(key.public());
    for position in 0..bytes.len() {
        let mut forged = bytes.clone();
        forged[position] ^= 1;
        assert!(ring.open(&forged).is_err(), "byte {position} was changed unnoticed");
    }
    for length in 0..bytes.len() {
        assert!(ring.open(&bytes[..length]).is_err(), "cut at {length} unnoticed");
    }
}

#[test]
fn foreign_keys_and_missing_signatures_have_their_own_words() {
    let ours = SigningKey::from_seed(&[1; 32]).expect("32 bytes");
    let theirs = SigningKey::from_seed(&[2; 32]).expect("32 bytes");
    let mut ring = KeyRing::default();
    ring.insert(ours.public());
    let bytes = theirs.seal(&workload()).expect("small");
    assert!(matches!(ring.open(&bytes), Err(OpenError::UnknownKey { .. })));
    let outcome = seal_outcome(&outcome()).expect("small");
    let error = ring.open(&outcome).expect_err("no workload");
    assert!(error.to_string().contains("kind"), "{error}");
}

#[test]
fn unknown_versions_and_rubbish_never_panic() {
    let mut bytes = seal_outcome(&outcome()).expect("small");
    bytes[4] = 9;
    let error = Frame::parse(&bytes, Kind::Outcome).expect_err("version 9");
    assert!(matches!(error, FrameError::Unknown { what: "version", found: 9, .. }));
    // A length field that claims more than is there must not allocate it.
    let mut bytes = seal_outcome(&outcome()).expect("small");
    bytes[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(open_outcome(&bytes).is_err());
    let mut state = 1_u64;
    for round in 0..5_000_usize {
        let mut rubbish = seal_outcome(&outcome()).expect("small");
        for _ in 0..=round % 8 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let length = rubbish.len();
            rubbish[(state >> 33) as usize % length] = (state >> 20) as u8;
        }
        let _either = open_outcome(&rubbish);
    }
}

#[test]
fn the_digest_tells_outcomes_apart() {
    let mut other = outcome();
    assert_eq!(other.digest(), outcome().digest());
    other.set_state(OutcomeState::Failed);
    assert_ne!(other.digest(), outcome().digest());
}
