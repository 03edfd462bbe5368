//! The Python side, carried in the binary and laid out once per version under `TRADEWIND_HOME`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rust_embed::RustEmbed;
use tradewind_proto::sign::sha256_hex;

#[derive(RustEmbed)]
#[folder = "../python"]
#[include = "airflow/**/*.py"]
#[include = "tradewind_host/**/*.py"]
struct PythonFiles;

/// Lays the Python packages out under `home/python/<hash>` and returns that folder. Several processes
/// may do so at once: each writes a folder of its own and renames it into place.
pub(crate) fn extract_python(home: &Path) -> io::Result<PathBuf> {
    let target = home.join("python").join(version());
    if target.is_dir() {
        return Ok(target);
    }
    let staging = home.join("python").join(format!(".staging-{}", std::process::id()));
    for name in PythonFiles::iter() {
        let path = staging.join(name.as_ref());
        let Some(file) = PythonFiles::get(&name) else { continue };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, file.data)?;
    }
    match fs::rename(&staging, &target) {
        Ok(()) => Ok(target),
        Err(_) if target.is_dir() => {
            fs::remove_dir_all(&staging)?;
            Ok(target)
        }
        Err(error) => Err(error),
    }
}

/// The bundled example DAGs: file name and text.
pub(crate) fn example_dags() -> Vec<(String, Vec<u8>)> {
    const FOLDER: &str = "tradewind_host/example_dags/";
    let names = PythonFiles::iter()
        .filter(|name| name.strip_prefix(FOLDER).is_some_and(|rest| rest.starts_with("example_")));
    names
        .filter_map(|name| {
            let file = PythonFiles::get(&name)?;
            Some((name.strip_prefix(FOLDER)?.to_owned(), file.data.into_owned()))
        })
        .collect()
}

fn version() -> String {
    let mut names: Vec<_> = PythonFiles::iter().collect();
    names.sort();
    let mut all = Vec::new();
    for name in names {
        all.extend_from_slice(name.as_bytes());
        if let Some(file) = PythonFiles::get(&name) {
            all.extend_from_slice(&file.metadata.sha256_hash());
        }
    }
    let hash = sha256_hex(&all);
    hash.get(..16).unwrap_or(&hash).to_owned()
}
