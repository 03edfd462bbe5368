//! Checking one value against its key's kind.

use std::path::{Path, PathBuf};

use super::keys::Kind;

/// Why a value is refused: what was expected. The value itself is added by the caller, unless secret.
pub(crate) fn check(kind: Kind, text: &str) -> Result<(), String> {
    match kind {
        Kind::Text | Kind::Secret | Kind::Path | Kind::List => Ok(()),
        Kind::Int(low, high) => match text.parse::<i64>() {
            Ok(number) if (low..=high).contains(&number) => Ok(()),
            _ => Err(format!("a whole number from {low} to {high}")),
        },
        Kind::Seconds(low) => match text.parse::<f64>() {
            Ok(number) if number.is_finite() && number >= low => Ok(()),
            _ => Err(format!("a number of seconds, at least {low}")),
        },
        Kind::Bool => parse_bool(text).map(|_| ()).ok_or_else(|| "true or false".to_owned()),
        Kind::OneOf(words) => {
            if words.contains(&text) {
                Ok(())
            } else {
                Err(format!("one of {}", words.join(", ")))
            }
        }
        Kind::Range => parse_range(text)
            .map(|_| ())
            .ok_or_else(|| "MAX,MIN with a maximum of 1 to 10000, as in 16,2".to_owned()),
        Kind::Url(schemes) => check_url(schemes, text),
    }
}

/// Reads `MAX,MIN` or `MAX`: (max, min).
pub(crate) fn parse_range(text: &str) -> Option<(u16, u16)> {
    let (first, second) = text.split_once(',').unwrap_or((text, "1"));
    let (first, second) = (first.trim().parse().ok()?, second.trim().parse().ok()?);
    let (max, min): (u16, u16) = if first >= second { (first, second) } else { (second, first) };
    (1..=10_000).contains(&max).then_some((max, min))
}

fn check_url(schemes: &[&str], text: &str) -> Result<(), String> {
    let forms = || {
        let forms: Vec<String> = schemes.iter().map(|s| format!("{s}://…")).collect();
        format!("a URL of one of the forms {}", forms.join(", "))
    };
    let Some((scheme, rest)) = text.split_once("://") else { return Err(forms()) };
    if !schemes.contains(&scheme) {
        return Err(forms());
    }
    let hostless = matches!(scheme, "memory" | "sqlite" | "rpc");
    if !hostless && (rest.is_empty() || url::Url::parse(text).is_err()) {
        return Err(forms());
    }
    Ok(())
}

/// Reads a boolean the way Airflow does.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" | "y" | "on" => Some(true),
        "false" | "f" | "0" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

/// Resolves `~` against the user's home and a relative path against `TRADEWIND_HOME`.
pub(crate) fn resolve(text: &str, home: &Path, user_home: Option<&Path>) -> PathBuf {
    if let (Some(rest), Some(user)) = (text.strip_prefix("~/"), user_home) {
        return user.join(rest);
    }
    home.join(text)
}

/// The text with the password of a URL, or a whole secret, blotted out.
pub(crate) fn redact(kind: Kind, text: &str) -> String {
    match kind {
        Kind::Secret if text.is_empty() => String::new(),
        Kind::Secret => "***".to_owned(),
        Kind::Url(_) => redact_url(text),
        _ => text.to_owned(),
    }
}

/// Blots out the password in `scheme://user:password@host…`.
pub(crate) fn redact_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_end);
    let Some((user_info, host)) = authority.rsplit_once('@') else { return text.to_owned() };
    let user = user_info.split_once(':').map_or(user_info, |(user, _)| user);
    format!("{scheme}://{user}:***@{host}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_do_not_survive_redaction() {
        assert_eq!(redact_url("amqp://u:p@h:5672/v"), "amqp://u:***@h:5672/v");
        assert_eq!(redact_url("redis://:p%40x@h/0"), "redis://:***@h/0");
        assert_eq!(redact_url("memory://"), "memory://");
        assert_eq!(redact_url("postgres://u:p@a@h/db?x=y@z"), "postgres://u:***@h/db?x=y@z");
    }

    #[test]
    fn urls_are_checked_by_scheme() {
        let kind = Kind::Url(&["redis", "memory"]);
        assert!(check(kind, "redis://h:1/0").is_ok());
        assert!(check(kind, "memory://").is_ok());
        assert!(check(kind, "redis://").is_err());
        let error = check(kind, "http://h").expect_err("wrong scheme");
        assert!(error.contains("redis://…, memory://…"), "{error}");
    }

    #[test]
    fn numbers_and_words_are_bounded() {
        assert!(check(Kind::Int(0, 5), "6").is_err());
        assert!(check(Kind::Seconds(1.0), "nan").is_err());
        assert!(check(Kind::OneOf(&["a"]), "b").is_err());
        assert_eq!(parse_bool(" On "), Some(true));
        assert_eq!(parse_bool("maybe"), None);
        assert_eq!(parse_range("2, 8"), Some((8, 2)));
        assert_eq!(parse_range("8"), Some((8, 1)));
        assert!(check(Kind::Range, "0,0").is_err());
    }
}
