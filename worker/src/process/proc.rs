//! A look at `/proc`. Blocking, a few milliseconds for a few hundred processes.

use std::fs;

use nix::unistd::Pid;

/// One live process (zombies are left out).
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) session: i32,
    environ: Vec<u8>,
}

impl Process {
    /// A variable of the environment that the process's program was started with.
    pub(crate) fn variable(&self, name: &str) -> Option<&[u8]> {
        self.environ.split(|byte| *byte == 0).find_map(|pair| {
            pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
        })
    }

    pub(crate) fn has(&self, name: &str, value: &str) -> bool {
        self.variable(name) == Some(value.as_bytes())
    }
}

/// All live processes except this one. Those of other users have no readable environment.
pub(crate) fn processes() -> Vec<Process> {
    let own = Pid::this().as_raw();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter_map(read)
        .collect()
}

fn read(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (state, parent, session) = parse(&stat)?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    Some(Process { pid, parent, session, environ })
}

/// State, parent and session. The command name may hold blanks and parentheses: skip to the last one.
fn parse(stat: &str) -> Option<(&str, i32, i32)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some((state, parent, session))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn odd_command_names_are_read() {
        assert_eq!(parse("12 (a) b (c) S 3 4 5 0 -1"), Some(("S", 3, 5)));
        assert_eq!(parse("nonsense"), None);
    }
}
