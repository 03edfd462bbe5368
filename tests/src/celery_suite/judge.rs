//! Whether outcomes are what the table says. Pure.

use super::{Expected, Outcome, Outcomes, Servers, Table};

/// What a whole run comes to, for people; `whole`: nothing was selected, so that a test of the table that did
/// not run is gone from the suite.
///
/// # Errors
/// A text that names every test that should have passed and did not, that is not listed, or that is gone.
pub fn judge(
    table: &Table,
    outcomes: &Outcomes,
    servers: Servers,
    whole: bool,
) -> Result<String, String> {
    let mut wrong = Vec::new();
    let mut notes = Vec::new();
    let mut count = [0_usize; 3];
    for (name, outcome) in outcomes {
        match (table.expected(name, servers), outcome) {
            (None, _) => wrong.push(format!("{name} is not in the table")),
            (Some(Expected::Passes), Outcome::Failed(text)) => {
                wrong.push(format!("{name} should pass:\n{text}"));
            }
            (Some(Expected::Passes), Outcome::Passed) => count[0] += 1,
            (Some(Expected::Passes), Outcome::Skipped) => count[1] += 1,
            (Some(_), Outcome::Passed) => {
                notes.push(format!("\n{name} passes; the table says that it does not"));
            }
            (Some(_), _) => count[2] += 1,
        }
    }
    if whole {
        for name in table.passing(servers).filter(|name| !outcomes.contains_key(*name)) {
            wrong.push(format!("{name} is in the table but not in the suite"));
        }
    }
    let [passed, skipped, known] = count;
    let summary = format!(
        "{passed} pass, {skipped} are skipped by the suite itself, {known} differ as known{}",
        notes.concat()
    );
    if wrong.is_empty() {
        return Ok(summary);
    }
    Err(format!(
        "{summary}\n{} are not as docs/celery-suite.md says:\n{}",
        wrong.len(),
        wrong.join("\n")
    ))
}

#[cfg(test)]
mod tests {
    use super::super::{Outcome, Outcomes, Servers, Table};
    use super::judge;

    fn judged(outcomes: &[(&str, Outcome)], whole: bool) -> Result<String, String> {
        let table = Table::parse(
            "| `test_a.py::one` | passes | passes | |\n| `test_a.py::two` | differs | passes | known |\n",
        );
        let outcomes: Outcomes =
            outcomes.iter().map(|(name, outcome)| ((*name).to_owned(), outcome.clone())).collect();
        judge(&table.expect("rows"), &outcomes, Servers::Redis, whole)
    }

    #[test]
    fn what_passes_must_pass_and_what_is_new_must_be_listed() {
        let failed = || Outcome::Failed("why".to_owned());
        let text =
            judged(&[("test_a.py::one", Outcome::Passed), ("test_a.py::two", failed())], true);
        assert!(text.expect("as expected").starts_with("1 pass, 0 are skipped"));
        assert!(
            judged(&[("test_a.py::one", failed())], false).expect_err("failed").contains("why")
        );
        let new = judged(&[("test_a.py::three", Outcome::Passed)], false);
        assert!(new.expect_err("new").contains("not in the table"));
        assert!(judged(&[], true).expect_err("gone").contains("not in the suite"));
        judged(&[], false).expect("a selection may be empty");
    }
}
