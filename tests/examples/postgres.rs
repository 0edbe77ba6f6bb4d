//! The store in PostgreSQL, on a server of the test.

use std::env;
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::processes::{PATIENCE, fresh_folder};
use crate::running::{run, skipped};

/// A server with a folder and a socket of its own.
struct Postgres {
    process: Child,
    folder: TempDir,
}

impl Postgres {
    /// Returns `None` if it is not installed.
    fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            skipped("PostgreSQL is not installed");
            return None;
        };
        let folder = fresh_folder();
        let path = folder.path().to_str().unwrap().to_owned();
        let data = format!("{path}/data");
        let user = unprivileged();
        if let Some((user, group)) = user {
            chown(&path, Some(user), Some(group)).unwrap();
        }
        let run = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(programs.join(program));
            command.args(arguments).current_dir(&path).stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(Stdio::null());
            if let Some((user, group)) = user {
                command.uid(user).gid(group);
            }
            command.spawn().unwrap()
        };
        let created =
            run("initdb", &["-D", &data, "-U", "jane", "-A", "trust", "-E", "UTF8", "--no-sync"]);
        assert!(created.wait_with_output().unwrap().status.success());
        let process = run("postgres", &["-D", &data, "-k", &path, "-F", "-c", "listen_addresses="]);
        let postgres = Self { process, folder };
        postgres.wait_until_ready(Path::new(&data));
        Some(postgres)
    }

    fn url(&self) -> String {
        format!("postgres://jane@localhost/postgres?host={}", self.folder.path().display())
    }

    fn wait_until_ready(&self, data: &Path) {
        let started = Instant::now();
        let is_ready = || {
            let status = fs::read_to_string(data.join("postmaster.pid"));
            status.is_ok_and(|status| status.contains("ready"))
        };
        while !is_ready() {
            assert!(started.elapsed() < PATIENCE, "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The folder of the server's programs, which Debian does not link.
fn programs() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders = env::split_paths(&path).chain(versions.map(|version| version.path().join("bin")));
    folders.into_iter().find(|folder| folder.join("initdb").is_file())
}

/// PostgreSQL does not run as root: the user of its package, if this is root.
fn unprivileged() -> Option<(u32, u32)> {
    let (me, users) = (fs::read_to_string("/proc/self/status"), fs::read_to_string("/etc/passwd"));
    let is_root = me.unwrap_or_default().lines().any(|line| line.starts_with("Uid:\t0\t"));
    let users = users.unwrap_or_default();
    let user = users.lines().find(|line| is_root && line.starts_with("postgres:"))?;
    let mut numbers = user.split(':').skip(2).map(|number| number.parse().unwrap());
    Some((numbers.next()?, numbers.next()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_in_postgres_conforms() {
    let Some(postgres) = Postgres::start() else { return };
    let url = postgres.url();
    // Twice: the tables are there already.
    for _ in 0..2 {
        let (code, output, errors) = run("postgres_store", &[("DATABASE_URL", &url)]).await;
        assert_eq!((code, output.as_str()), (Some(0), "the store conforms\n"), "{errors}");
    }
    let unreachable = "postgres://jane:hunter2@127.0.0.1:1/postgres";
    let (code, output, errors) = run("postgres_store", &[("DATABASE_URL", unreachable)]).await;
    assert_eq!((code, output.as_str()), (Some(1), ""), "{errors}");
    assert!(!errors.contains("hunter2"), "{errors}");
    let (code, _, errors) = run("postgres_store", &[]).await;
    assert_eq!((code, errors.as_str()), (Some(2), "error: DATABASE_URL is not set\n"));
}
