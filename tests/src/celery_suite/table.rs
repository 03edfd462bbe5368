//! `docs/celery-suite.md`: what is expected of each test. Rows are
//! `` | `test_file.py::Class::test` | Redis | RabbitMQ | why | ``; a row may name a whole file or class, and the
//! longest name that fits counts.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Options, Servers};

/// What a run may say of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It passes, or is skipped by the suite itself.
    Passes,
    /// It fails for a reason that we know of.
    Differs,
    /// Not run: it does not test a worker, or tests what only Celery's own can offer.
    NotClaimed,
}

/// All rows.
#[derive(Debug, Clone, Default)]
pub struct Table(BTreeMap<String, [Expected; 2]>);

impl Table {
    /// The committed one.
    ///
    /// # Errors
    /// When a row cannot be read; the text names it.
    pub fn committed() -> Result<Self, String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/celery-suite.md");
        let text = std::fs::read_to_string(&path);
        Self::parse(&text.map_err(|error| format!("{}: {error}", path.display()))?)
    }

    /// Reads the rows of a text; everything else in it is for people.
    ///
    /// # Errors
    /// As [`Table::committed`].
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rows = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("| `test_")) {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let &[_, name, redis, rabbitmq, why, _] = cells.as_slice() else {
                return Err(format!("not four cells: {line}"));
            };
            let name = name.trim_matches('`').to_owned();
            let both = [expected(redis, why, line)?, expected(rabbitmq, why, line)?];
            if rows.insert(name, both).is_some() {
                return Err(format!("a second row of the same test: {line}"));
            }
        }
        Ok(Self(rows))
    }

    /// What is expected of a test; none: it is not listed.
    pub fn expected(&self, test: &str, servers: Servers) -> Option<Expected> {
        let mut name = test;
        loop {
            if let Some(row) = self.0.get(name) {
                return Some(row[place(servers)]);
            }
            name = name.rsplit_once("::")?.0;
        }
    }

    /// Names of tests that pass on these servers, each once.
    pub fn passing(&self, servers: Servers) -> impl Iterator<Item = &str> {
        let passing = self.0.iter().filter(move |(_, row)| row[place(servers)] == Expected::Passes);
        passing.map(|(name, _)| name.as_str())
    }

    /// What is not to be run.
    pub(super) fn passed_over(&self, options: &Options) -> Vec<String> {
        let known = options.known || options.python_worker;
        let over = self.0.iter().filter(|(_, row)| match row[place(options.servers)] {
            Expected::Passes => false,
            Expected::Differs => !known,
            Expected::NotClaimed => true,
        });
        over.map(|(name, _)| name.clone()).collect()
    }
}

fn place(servers: Servers) -> usize {
    match servers {
        Servers::Redis => 0,
        Servers::RabbitMq => 1,
    }
}

fn expected(cell: &str, why: &str, line: &str) -> Result<Expected, String> {
    match cell {
        "passes" => Ok(Expected::Passes),
        "differs" | "not claimed" if why.is_empty() => {
            Err(format!("a row without a reason: {line}"))
        }
        "differs" => Ok(Expected::Differs),
        "not claimed" => Ok(Expected::NotClaimed),
        other => Err(format!("{other:?} is neither passes, differs nor not claimed: {line}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Expected, Servers, Table};

    #[test]
    fn the_committed_table_can_be_read() {
        let table = Table::committed().expect("a table");
        assert!(table.passing(Servers::Redis).count() > 100);
        assert!(table.passing(Servers::RabbitMq).count() > 100);
    }

    #[test]
    fn the_longest_name_counts() {
        let text = "| `test_a.py` | not claimed | not claimed | x |\n\
                    | `test_a.py::test_B::test_c` | passes | differs | y |\n";
        let table = Table::parse(text).expect("rows");
        let of = |name, servers| table.expected(name, servers);
        assert_eq!(of("test_a.py::test_B::test_c", Servers::Redis), Some(Expected::Passes));
        assert_eq!(of("test_a.py::test_B::test_c", Servers::RabbitMq), Some(Expected::Differs));
        assert_eq!(of("test_a.py::test_B::test_d", Servers::Redis), Some(Expected::NotClaimed));
        assert_eq!(of("test_b.py::test_B::test_d", Servers::Redis), None);
    }

    #[test]
    fn what_is_not_claimed_needs_a_reason() {
        let row = |cells: &str| Table::parse(&format!("| `test_a.py` | {cells} |")).map(|_| ());
        assert!(row("differs | passes |").expect_err("refused").contains("without a reason"));
        assert!(row("fails | passes | x").expect_err("refused").contains("neither passes"));
        row("differs | passes | because").expect("a row");
    }
}
