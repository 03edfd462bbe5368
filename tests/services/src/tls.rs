//! A certificate authority of the test's own, and a server certificate of it for 127.0.0.1.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::Error;
use crate::server::{find, temp_dir};

const CONFIG: &str = "[req]\n\
     distinguished_name = name\n\
     prompt = no\n\
     [name]\n\
     CN = tradewind test\n\
     [authority]\n\
     basicConstraints = critical,CA:TRUE\n\
     keyUsage = critical,keyCertSign\n\
     [server]\n\
     basicConstraints = critical,CA:FALSE\n\
     subjectAltName = IP:127.0.0.1,DNS:localhost\n";

/// Certificate files; removed when dropped.
#[derive(Debug)]
pub struct Tls {
    dir: TempDir,
}

impl Tls {
    /// Makes the files.
    ///
    /// # Errors
    /// When `openssl` is missing or refuses.
    pub fn new() -> Result<Self, Error> {
        let tls = Self { dir: temp_dir("tls")? };
        let config = tls.file("openssl.cnf");
        std::fs::write(&config, CONFIG).map_err(Error::io("writing openssl.cnf"))?;
        tls.openssl(&["authority", "-keyout", "ca.key", "-out", "ca.pem"])?;
        let signed = ["-CA", "ca.pem", "-CAkey", "ca.key"];
        let mut server = vec!["server", "-keyout", "server.key", "-out", "server.pem"];
        server.extend(signed);
        tls.openssl(&server)?;
        Ok(tls)
    }

    fn openssl(&self, args: &[&str]) -> Result<(), Error> {
        let program = find("openssl", &["/usr/bin"], "openssl")?;
        let status = Command::new(program)
            .current_dir(self.dir.path())
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"])
            .args(["-config", "openssl.cnf", "-extensions"])
            .args(args)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(Error::io("running openssl"))?;
        let refused = || std::io::Error::other(format!("openssl req ended with {status}"));
        if status.success() { Ok(()) } else { Err(Error::io("making a certificate")(refused())) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The authority's certificate, for clients.
    pub fn authority(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// Folder with `ca.pem`, `server.pem` and `server.key`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}
