//! The translation itself: pure.

use super::Translated;
use super::options::{GLOBAL, Opt, Spelling, To, spelling};

/// What other defaults come from.
const SOURCE: &str = "Celery's default";

/// Translates the words after `celery`.
pub(crate) fn translate(words: &[String]) -> Result<Translated, String> {
    let mut state = State::default();
    let mut words = words.iter().cloned();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--version" if state.command.is_none() => return Ok(alone("version")),
            "-h" | "--help" => state.out.args.push("--help".to_owned()),
            "--" => {
                state.out.args.push(word);
                state.out.args.extend(words.by_ref());
            }
            // Negative numbers are values.
            text if text.starts_with('-') && text.len() > 1 && text.parse::<f64>().is_err() => {
                state.option(text, &mut words)?;
            }
            _ if state.command.is_none() => state.begin(&word)?,
            _ => state.out.args.push(word),
        }
    }
    if state.out.args.is_empty() {
        return Ok(alone("--help"));
    }
    state.out.celery.fallbacks =
        vec![("worker", "queues", "celery", SOURCE), ("broker", "default_queue", "celery", SOURCE)];
    Ok(state.out)
}

fn alone(word: &str) -> Translated {
    Translated { args: vec![word.to_owned()], ..Translated::default() }
}

#[derive(Debug, Default)]
struct State {
    command: Option<(String, Spelling)>,
    out: Translated,
}

impl State {
    fn begin(&mut self, word: &str) -> Result<(), String> {
        let found = spelling(word).ok_or_else(|| {
            format!(
                "`celery {word}` does not exist here. There are worker, beat, flower, inspect, control, \
                 status, events, purge, call, result"
            )
        })?;
        let help = std::mem::take(&mut self.out.args);
        self.out.args = found.ours.iter().map(|word| (*word).to_owned()).chain(help).collect();
        self.command = Some((word.to_owned(), found));
        Ok(())
    }

    /// An option as typed: `--name`, `--name=value`, `-n value`, `-nvalue`, `-ab`.
    fn option(
        &mut self,
        text: &str,
        words: &mut impl Iterator<Item = String>,
    ) -> Result<(), String> {
        let (mut name, mut attached) = match text.split_once('=') {
            Some((name, value)) if text.starts_with("--") => (name, Some(value.to_owned())),
            _ => (text, None),
        };
        let mut cluster = String::new();
        if !text.starts_with("--") && text.chars().count() > 2 {
            let end = text.char_indices().nth(2).map_or(text.len(), |(at, _)| at);
            name = &text[..end];
            text[end..].clone_into(&mut cluster);
        }
        let Some(option) = self.find(name) else { return self.unknown(name) };
        if !cluster.is_empty() && option.value {
            attached = Some(cluster.trim_start_matches('=').to_owned());
        }
        let value = match (option.value, attached) {
            (true, None) => {
                Some(words.next().ok_or_else(|| format!("option {name} needs a value"))?)
            }
            (true, attached) => attached,
            (false, _) => None,
        };
        self.take(name, option.to, value)?;
        if !cluster.is_empty() && !option.value {
            self.option(&format!("-{cluster}"), words)?;
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&'static Opt> {
        let own = self.command.iter().flat_map(|(_, spelling)| spelling.options.iter());
        let named = |option: &&'static Opt| option.names.contains(&name);
        own.flat_map(|options| options.iter()).find(named).or_else(|| GLOBAL.iter().find(named))
    }

    fn unknown(&mut self, name: &str) -> Result<(), String> {
        match &self.command {
            Some((_, spelling)) if spelling.lenient => {
                self.out.ignored.push(name.to_owned());
                Ok(())
            }
            Some((command, _)) => Err(format!("`celery {command}` has no option {name}")),
            None => Err(format!("`celery` has no option {name}")),
        }
    }

    fn take(&mut self, name: &str, to: To, value: Option<String>) -> Result<(), String> {
        match to {
            To::Ignore => {
                // -A stands on every command line; naming it each time would only be noise.
                if !matches!(name, "-A" | "--app" | "-C" | "--no-color" | "-q" | "--quiet") {
                    self.out.ignored.push(name.to_owned());
                }
            }
            To::Refuse(reason) => return Err(format!("{name} {reason}")),
            To::Set(section, key) => {
                let flag = if section == "broker" { "-b" } else { "--result-backend" };
                let value = value.unwrap_or_default();
                self.out.celery.flags.push((section, key, flag, value));
            }
            To::Workdir => self.out.workdir = value.map(Into::into),
            To::Pass(ours) => {
                let value = match value {
                    Some(value) => match ours_of(ours, value) {
                        None => return Ok(()),
                        some => some,
                    },
                    None => None,
                };
                match value {
                    // Joined, so that a value may begin with a dash.
                    Some(value) if ours.starts_with("--") => {
                        self.out.args.push(format!("{ours}={value}"));
                    }
                    value => self.out.args.extend([ours.to_owned()].into_iter().chain(value)),
                }
            }
        }
        Ok(())
    }
}

/// The value in our spelling; none if the option says what happens anyway.
fn ours_of(option: &str, value: String) -> Option<String> {
    match option {
        "-c" if value == "auto" || value == "0" => None,
        "-n" if !value.contains('@') => Some(format!("celery@{value}")),
        "--loglevel" => Some(match value.to_ascii_lowercase().as_str() {
            "warning" => "warn".to_owned(),
            "critical" | "fatal" => "error".to_owned(),
            other => other.to_owned(),
        }),
        _ => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(line: &str) -> Result<Translated, String> {
        translate(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn args(line: &str) -> String {
        ours(line).expect(line).args.join(" ")
    }

    #[test]
    fn health_checks_and_commands_come_out_as_ours() {
        for (theirs, expected) in [
            ("--app app.x.app inspect ping -d celery@h", "inspect ping --destination=celery@h"),
            ("-A app inspect ping --timeout 2 -j", "inspect ping --timeout=2 --json"),
            ("status -A app", "status"),
            ("control rate_limit t 5/m", "control rate_limit t 5/m"),
            ("events --dump", "events --dump"),
            ("events -d", "events --dump"),
            ("purge -f -Q a,b", "purge --force -Q a,b"),
            ("flower --port=5556 --url_prefix=x", "flower --port=5556"),
            ("call t -a [1] --countdown -1", "task send t --args=[1] --countdown=-1"),
            ("-C inspect registered", "inspect registered"),
            ("--version", "version"),
            ("", "--help"),
            ("worker --help", "worker --help"),
        ] {
            assert_eq!(args(theirs), expected, "{theirs}");
        }
    }

    #[test]
    fn a_worker_line_keeps_what_counts_and_names_what_does_not() {
        let line = "-A app -b redis://u:pw@h/0 --result-backend=rpc:// worker -Qa,b -c4 -n w1@%h -El INFO \
                    -P prefork --autoscale=8,2 --without-gossip -O fair --max-tasks-per-child 10";
        let out = ours(line).expect("translated");
        assert_eq!(
            out.args.join(" "),
            "worker -Q a,b -c 4 -n w1@%h -E --loglevel=info --autoscale=8,2 --max-tasks-per-child=10"
        );
        assert_eq!(out.ignored, ["-P", "--without-gossip", "-O"]);
        let flags: Vec<_> = out.celery.flags.iter().map(|f| (f.0, f.1, f.3.as_str())).collect();
        assert_eq!(flags, [("broker", "url", "redis://u:pw@h/0"), ("results", "url", "rpc://")]);
        assert!(out.celery.fallbacks.contains(&("worker", "queues", "celery", SOURCE)));
        assert_eq!(args("worker -n w1 -c auto -l WARNING"), "worker -n celery@w1 --loglevel=warn");
    }

    #[test]
    fn what_cannot_be_left_out_silently_is_refused() {
        for (line, expected) in [
            ("worker --detach", "systemd"),
            ("flower --basic_auth=u:pw", "FLOWER_BASIC_AUTH"),
            ("multi start w1", "does not exist here"),
            ("worker --frobnicate", "no option --frobnicate"),
            ("worker -Q", "needs a value"),
        ] {
            let error = ours(line).expect_err(line);
            assert!(error.contains(expected) && !error.contains("u:pw"), "{error}");
        }
    }
}
