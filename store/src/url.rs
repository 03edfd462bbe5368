//! Database URLs: which driver, and what it needs. No error or log text holds a password.

use std::path::PathBuf;

use crate::Error;

/// The valid forms, for error texts.
const FORMS: &str = "valid forms: sqlite:///relative.db, sqlite:////absolute/path.db, \
    sqlite://:memory:, postgres://user:password@host:5432/database (also postgresql://, \
    postgresql+psycopg2://; ?schema=name chooses a schema, &sslmode=verify-full asks for TLS)";

/// What a URL names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Sqlite(PathBuf),
    Memory,
    Postgres(PostgresTarget),
}

/// A server, without a word about it in `Debug`: the URL holds a password.
#[derive(PartialEq, Eq)]
pub(crate) struct PostgresTarget {
    /// For the driver; scheme `postgres`, our own parameters taken out.
    pub(crate) url: String,
    /// Where our tables are; the server's default when not given.
    pub(crate) schema: Option<String>,
    /// `options` as given.
    pub(crate) options: String,
}

impl std::fmt::Debug for PostgresTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresTarget").field("schema", &self.schema).finish_non_exhaustive()
    }
}

pub(crate) fn parse(url: &str) -> Result<Target, Error> {
    let invalid = |why: &str| Error::Config(format!("the database URL {why}; {FORMS}"));
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(invalid("has no scheme"));
    };
    let (dialect, driver) = scheme.split_once('+').unwrap_or((scheme, ""));
    match dialect {
        "sqlite" => sqlite(rest).ok_or_else(|| invalid("names a SQLite host")),
        "postgres" | "postgresql" => postgres(rest, &invalid).map(Target::Postgres),
        _ if driver.is_empty() => Err(invalid(&format!("has the unknown scheme {dialect:?}"))),
        _ => Err(invalid(&format!("has the unknown scheme \"{dialect}+{driver}\""))),
    }
}

/// SQLAlchemy's rule: after `sqlite:///` comes the path, so four slashes make it absolute.
fn sqlite(rest: &str) -> Option<Target> {
    let rest = rest.split_once('?').map_or(rest, |(path, _)| path);
    match rest {
        "" | "/" | ":memory:" | "/:memory:" => Some(Target::Memory),
        _ => rest.strip_prefix('/').map(|path| Target::Sqlite(PathBuf::from(path))),
    }
}

fn postgres(rest: &str, invalid: &dyn Fn(&str) -> Error) -> Result<PostgresTarget, Error> {
    let mut url = url::Url::parse(&format!("postgres://{rest}"))
        .map_err(|e| invalid(&format!("cannot be read ({e})")))?;
    let mut target = PostgresTarget { url: String::new(), schema: None, options: String::new() };
    let mut kept = Vec::new();
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "schema" => target.schema = Some(value.into_owned()),
            "options" => target.options = value.into_owned(),
            _ => kept.push((name.into_owned(), value.into_owned())),
        }
    }
    if target.schema.is_none() {
        target.schema = search_path(&target.options);
    }
    if let Some(schema) = &target.schema {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if schema.is_empty() || schema.len() > 63 || !schema.chars().all(plain) {
            return Err(invalid(&format!(
                "names the schema {schema:?}, which is not made of letters, digits, _ and -"
            )));
        }
    }
    url.set_query(None);
    if !kept.is_empty() {
        url.query_pairs_mut().extend_pairs(kept);
    }
    target.url = url.into();
    Ok(target)
}

/// The first schema of `-c search_path=…` in `options`.
fn search_path(options: &str) -> Option<String> {
    let (_, path) = options.split_once("search_path=")?;
    let first = path.split([',', ' ']).next()?.trim_matches(['"', '\'']);
    (!first.is_empty()).then(|| first.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pg(url: &str) -> PostgresTarget {
        match parse(url) {
            Ok(Target::Postgres(target)) => target,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn sqlite_forms() {
        let file = |path: &str| Ok::<_, ()>(Target::Sqlite(PathBuf::from(path)));
        for (url, target) in [
            ("sqlite:////tmp/a.db", file("/tmp/a.db")),
            ("sqlite:///a/b.db", file("a/b.db")),
            ("sqlite+aiosqlite:////x.db?check_same_thread=false", file("/x.db")),
            ("sqlite://:memory:", Ok(Target::Memory)),
            ("sqlite:///:memory:", Ok(Target::Memory)),
        ] {
            assert_eq!(parse(url).map_err(drop), target, "{url}");
        }
    }

    #[test]
    fn postgres_forms() {
        let target = pg("postgresql+psycopg2://u:p%40ss@h:5433/db?schema=tw&connect_timeout=3");
        assert_eq!(target.url, "postgres://u:p%40ss@h:5433/db?connect_timeout=3");
        assert_eq!(target.schema.as_deref(), Some("tw"));
        let target = pg("postgres://h/db?options=-csearch_path%3Done,public&sslmode=require");
        assert_eq!(target.schema.as_deref(), Some("one"));
        assert_eq!(target.url, "postgres://h/db?sslmode=require");
    }

    #[test]
    fn refusals_help_and_keep_the_secret() {
        for url in [
            "mysql://root:hunter2@h/db",
            "/var/lib/hunter2.db",
            "postgres://u:hunter2@h:notaport/db",
            "postgres://u:hunter2@h/db?schema=a%22b",
            "sqlite://host/x.db",
        ] {
            let error = parse(url).expect_err(url).to_string();
            assert!(!error.contains("hunter2"), "{error}");
            assert!(error.contains("sqlite:///"), "{error}");
        }
        let debug = format!("{:?}", pg("postgres://u:hunter2@h/db"));
        assert!(!debug.contains("hunter2"), "{debug}");
    }
}
