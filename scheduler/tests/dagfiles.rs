//! DAG files, with real Python: what loads, and what tries to do harm.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Running, World, until};
use tempfile::TempDir;
use tradewind_scheduler::SchedulerOptions;
use tradewind_scheduler::dagfiles::{ParseOptions, parse_file};
use tradewind_store::DagStore as _;
use tradewind_store::SqliteStore;

const GOOD: &str = r#"
from airflow import DAG
from airflow.operators.bash import BashOperator
with DAG("NAME", schedule=None) as dag:
    BashOperator(task_id="a", bash_command="echo 1")
"#;

fn python_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../python")
}

fn options(folder: &TempDir, timeout: f64) -> ParseOptions {
    ParseOptions {
        dags_folder: folder.path().to_owned(),
        python: PathBuf::from("python3"),
        python_path: python_path(),
        timeout: Duration::from_secs_f64(timeout),
        memory_mib: 512,
    }
}

fn write(folder: &TempDir, name: &str, text: &str) {
    fs::write(folder.path().join(name), text).unwrap();
}

fn good(name: &str) -> String {
    GOOD.replace("NAME", name)
}

#[tokio::test]
async fn whatever_a_file_does_the_answer_is_a_result() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder, "noisy.py", &format!("print('{{' * 9999)\n{}", good("noisy")));
    write(&folder, "exits.py", "import os # dag airflow\nos._exit(3)\n");
    write(&folder, "killed.py", "import os # dag airflow\nos.kill(os.getpid(), 9)\n");
    write(&folder, "bomb.py", "# dag airflow\nx = []\nwhile True: x.append(bytearray(1 << 24))\n");
    write(&folder, "syntax.py", "# airflow dag\n\ndef broken(:\n");
    let cases = [
        ("noisy.py", 1, ""),
        ("exits.py", 0, "exit code 3"),
        ("killed.py", 0, "SIGKILL"),
        ("bomb.py", 0, "MemoryError"),
        ("syntax.py", 0, "SyntaxError"),
        ("missing.py", 0, "missing.py"),
    ];
    for (file, dags, text) in cases {
        let parsed = parse_file(&options(&folder, 20.0), file).await;
        assert_eq!(parsed.dags.len(), dags, "{file}: {parsed:?}");
        let found = parsed.error.map(|e| format!("{}\n{}", e.message, e.detail));
        assert!(found.clone().unwrap_or_default().contains(text), "{file}: {found:?}");
        assert_eq!(found.is_none(), text.is_empty(), "{file}: {found:?}");
    }
    let syntax = parse_file(&options(&folder, 20.0), "syntax.py").await;
    assert_eq!(syntax.error.unwrap().line, Some(3));
}

#[tokio::test]
async fn a_hanging_file_is_killed_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("pid");
    let text = format!(
        "# dag airflow\nimport subprocess, time\np = subprocess.Popen(['sleep', '600'])\n\
         open({mark:?}, 'w').write(str(p.pid))\ntime.sleep(600)\n"
    );
    write(&folder, "hang.py", &text);
    let begun = Instant::now();
    let parsed = parse_file(&options(&folder, 3.0), "hang.py").await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    let message = parsed.error.unwrap().message;
    assert!(message.contains("longer than 3 s"), "{message}");
    let pid = fs::read_to_string(mark).unwrap();
    until("the grandchild to be gone", || async {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn problems_that_only_we_know_are_import_errors_too() {
    let folder = tempfile::tempdir().unwrap();
    let text = good("cycle") + "    dag.tasks[0].pool_slots = 0\n" + &good("fine");
    write(&folder, "some.py", &text);
    let parsed = parse_file(&options(&folder, 20.0), "some.py").await;
    let names: Vec<_> = parsed.dags.iter().map(|dag| dag.dag_id.as_str()).collect();
    assert_eq!(names, ["fine"], "{:?}", parsed.error);
    let error = parsed.error.unwrap();
    assert!(format!("{} {}", error.message, error.detail).contains("pool_slots"), "{error:?}");
}

struct Watched {
    world: World,
    scheduler: Running,
    folder: TempDir,
}

impl Watched {
    async fn new(prepare: impl FnOnce(&TempDir)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(&folder);
        let world = World::on(SqliteStore::in_memory().unwrap(), "2026-11-21T00:00:00Z").await;
        let scheduler = world.scheduler_with(SchedulerOptions {
            dagfiles: true,
            dags_folder: folder.path().to_owned(),
            python_path: python_path(),
            parse_timeout: Duration::from_secs(20),
            scan_interval: Duration::from_secs(3600),
            ..World::options()
        });
        let mut handle = scheduler.handle.clone();
        handle.scanned().await;
        Self { world, scheduler, folder }
    }

    async fn dags(&self) -> Vec<String> {
        let dags = self.world.store.dags(false).await.unwrap();
        dags.into_iter().map(|dag| dag.dag_id).collect()
    }

    async fn becomes(&self, names: &[&str]) {
        until(&format!("the DAGs to be {names:?}"), || async {
            (self.dags().await == names).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_follows_the_folder() {
    let w = Watched::new(|folder| {
        write(folder, "one.py", &good("one"));
        write(folder, "helper.py", "NAME = 'x'\n");
    })
    .await;
    assert_eq!(w.dags().await, ["one"]);
    // The next look is an hour away: everything from here on is seen by watching.
    write(&w.folder, "two.py", &good("two"));
    w.becomes(&["one", "two"]).await;
    // A broken file keeps its last good version, and says why.
    write(&w.folder, "one.py", &(good("one") + "\nraise RuntimeError('no dag today, airflow')\n"));
    let errors = until("an import error", || async {
        Some(w.world.store.import_errors().await.unwrap()).filter(|errors| !errors.is_empty())
    })
    .await;
    assert_eq!(errors[0].fileloc, "one.py");
    assert!(errors[0].error.message.contains("no dag today"), "{:?}", errors[0]);
    assert!(errors[0].error.line.is_some());
    assert_eq!(w.dags().await, ["one", "two"]);
    // Mended, with another name.
    write(&w.folder, "one.py", &good("uno"));
    w.becomes(&["two", "uno"]).await;
    assert!(w.world.store.import_errors().await.unwrap().is_empty());
    // In a new folder, and gone again.
    fs::create_dir(w.folder.path().join("team")).unwrap();
    write(&w.folder, "team/three.py", &good("three"));
    w.becomes(&["three", "two", "uno"]).await;
    fs::remove_file(w.folder.path().join("two.py")).unwrap();
    w.becomes(&["three", "uno"]).await;
    w.scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_and_helpers_count() {
    let w = Watched::new(|folder| {
        let script = "import zipfile, sys\n\
            with zipfile.ZipFile(sys.argv[1], 'w') as z:\n    z.writestr('inner.py', sys.argv[2])\n";
        let status = std::process::Command::new("python3")
            .args(["-c", script])
            .arg(folder.path().join("bundle.zip"))
            .arg(good("zipped"))
            .status()
            .unwrap();
        assert!(status.success());
        write(folder, "names.py", "NAME = 'helped'\n");
        let text = good("x").replace("\"x\"", "names.NAME");
        write(folder, "uses.py", &format!("import names\n{text}"));
    })
    .await;
    assert_eq!(w.dags().await, ["helped", "zipped"]);
    let zipped = w.world.store.dag("zipped").await.unwrap().unwrap();
    assert_eq!(zipped.spec.fileloc, "bundle.zip/inner.py");
    write(&w.folder, "names.py", "NAME = 'changed'\n");
    w.becomes(&["changed", "zipped"]).await;
    w.scheduler.stop().await;
}
