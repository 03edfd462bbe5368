//! Why a server could not be started.

use std::path::PathBuf;

/// Error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program is not installed.
    #[error(
        "{program} is not installed (looked in {looked}); install it: apt-get install {package}"
    )]
    Missing {
        /// The program's name.
        program: &'static str,
        /// Folders that were looked through.
        looked: String,
        /// Debian package that has it.
        package: &'static str,
    },
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The server ended or stayed silent.
    #[error("{name} {what}; the end of its log ({log}):\n{tail}")]
    NotReady {
        /// The server.
        name: &'static str,
        /// `ended with …` or `did not answer within …`.
        what: String,
        /// Log file; gone with the temp folder.
        log: PathBuf,
        /// Last lines of the log.
        tail: String,
    },
    /// A helper program such as `initdb` failed.
    #[error("{program} failed: {output}")]
    Helper {
        /// The program.
        program: &'static str,
        /// Its output.
        output: String,
    },
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
