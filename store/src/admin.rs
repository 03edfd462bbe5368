//! Migrations and the words of schema errors: shared by the drivers.

use std::collections::BTreeMap;

use tradewind_proto::sign::sha256_hex;

use crate::Error;

/// One forward migration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Migration {
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
}

impl Migration {
    pub(crate) fn checksum(&self) -> String {
        sha256_hex(self.sql.as_bytes())
    }
}

pub(crate) const SQLITE: &[Migration] =
    &[Migration { name: "0001_init", sql: include_str!("migrations/sqlite/0001_init.sql") }];
pub(crate) const POSTGRES: &[Migration] =
    &[Migration { name: "0001_init", sql: include_str!("migrations/postgres/0001_init.sql") }];

const COMMAND: &str = "tradewind db migrate";

/// The tables are missing.
pub(crate) fn no_schema() -> Error {
    Error::Schema(format!("the database has no Tradewind schema yet: run `{COMMAND}`"))
}

/// Which migrations are to be applied to a database that has had `applied` (name → checksum).
///
/// # Errors
/// [`Error::Schema`] when the database knows a migration that this build does not, or another text
/// of one.
pub(crate) fn pending(
    all: &'static [Migration],
    applied: &BTreeMap<String, String>,
) -> Result<Vec<&'static Migration>, Error> {
    for name in applied.keys() {
        if !all.iter().any(|m| m.name == name) {
            return Err(Error::Schema(format!(
                "the database's schema is newer than this build: it has migration {name}, and the \
                 newest here is {}. Run the newer `tradewind`; there is no way back by \
                 `{COMMAND}`",
                all.last().map_or("none", |m| m.name)
            )));
        }
    }
    let mut pending = Vec::new();
    for migration in all {
        match applied.get(migration.name) {
            None => pending.push(migration),
            Some(checksum) if *checksum == migration.checksum() => {}
            Some(_) => {
                return Err(Error::Schema(format!(
                    "migration {} in the database is not the one of this build (checksums \
                     differ): it was made by another build, and `{COMMAND}` cannot mend it",
                    migration.name
                )));
            }
        }
    }
    Ok(pending)
}

/// [`Error::Schema`] unless nothing is pending.
pub(crate) fn check(
    all: &'static [Migration],
    applied: &BTreeMap<String, String>,
) -> Result<(), Error> {
    if applied.is_empty() {
        return Err(no_schema());
    }
    match pending(all, applied)?.as_slice() {
        [] => Ok(()),
        some => {
            let names: Vec<_> = some.iter().map(|m| m.name).collect();
            Err(Error::Schema(format!(
                "the database's schema is older than this build: run `{COMMAND}` (missing: {})",
                names.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[Migration] =
        &[Migration { name: "0001_a", sql: "A" }, Migration { name: "0002_b", sql: "B" }];

    fn applied(names: &[(&str, String)]) -> BTreeMap<String, String> {
        names.iter().map(|(name, sum)| ((*name).to_owned(), sum.clone())).collect()
    }

    fn words(names: &[(&str, String)]) -> String {
        check(TWO, &applied(names)).expect_err("refused").to_string()
    }

    #[test]
    fn only_the_exact_schema_is_accepted() {
        let (a, b) = (("0001_a", TWO[0].checksum()), ("0002_b", TWO[1].checksum()));
        check(TWO, &applied(&[a.clone(), b.clone()])).expect("complete");
        let names =
            pending(TWO, &applied(std::slice::from_ref(&a))).expect("older is fine to mend");
        assert_eq!(names.iter().map(|m| m.name).collect::<Vec<_>>(), ["0002_b"]);
        assert!(words(&[]).contains("run `tradewind db migrate`"));
        let older = words(std::slice::from_ref(&a));
        assert!(older.contains("run `tradewind db migrate` (missing: 0002_b)"), "{older}");
        let newer = words(&[a.clone(), b, ("0003_c", String::new())]);
        assert!(newer.contains("newer than this build") && newer.contains("0003_c"), "{newer}");
        let other = words(&[a, ("0002_b", "another".to_owned())]);
        assert!(other.contains("checksums differ") && other.contains("0002_b"), "{other}");
    }
}
