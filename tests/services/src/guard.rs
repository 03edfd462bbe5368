//! A process that outlives us and cleans up when we could not.
//!
//! It waits on a pipe: a line means "the server is stopped, go"; end of file means that the test
//! process is gone, so it kills the server (by pid) and removes its temp folder.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Error;

const SCRIPT: &str = r#"
if read -r _; then exit 0; fi
kill -"$1" "$2" 2>/dev/null
n=0
while kill -0 "$2" 2>/dev/null && [ $n -lt 40 ]; do n=$((n+1)); sleep 0.05; done
kill -9 "$2" 2>/dev/null
rm -rf "$3"
"#;

#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
}

impl Guard {
    pub(crate) fn watch(signal: &str, pid: u32, dir: &Path) -> Result<Self, Error> {
        let child = Command::new("sh")
            .args(["-c", SCRIPT, "guard", signal, &pid.to_string()])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::io("starting the guard shell"))?;
        Ok(Self { child })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.child.stdin.take() {
            // The guard may have been killed by hand; then there is nothing left to tell it.
            let _gone = stdin.write_all(b"done\n");
        }
        let _reaped = self.child.wait();
    }
}
