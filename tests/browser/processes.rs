//! The programs that a test starts: the example, and Chromium with its driver. They end when their
//! handle is dropped, also after a panic.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// Long enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A program whose output is read.
pub struct Program {
    child: Child,
    lines: Receiver<String>,
    /// Disconnected when the output has ended, as it does with the process.
    output: Receiver<()>,
    /// Its standard error, printed when the test fails.
    errors: PathBuf,
    folder: TempDir,
}

impl Program {
    /// Starts a program with these environment variables and no others.
    pub fn start(
        program: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
        folder: TempDir,
    ) -> Self {
        let errors = folder.path().join("stderr");
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let output = File::create(folder.path().join("stdout")).unwrap();
        let (lines, output) = read_lines(child.stdout.take().unwrap(), output);
        Self { child, lines, output, errors, folder }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The rest of the next output line that begins with `start`.
    pub fn said(&self, start: &str) -> String {
        self.find_line(|line| line.strip_prefix(start).map(str::to_owned))
            .unwrap_or_else(|| panic!("no line {start:?}; standard error:\n{}", self.errors()))
    }

    /// What is found first in an output line.
    pub fn find_line<T>(&self, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).ok()?;
            if let Some(found) = find(&line) {
                return Some(found);
            }
        }
    }

    pub fn errors(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let kill = format!("kill -TERM {}", self.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Sends SIGKILL, and waits until the process has ended.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until the process exits.
    pub fn ended(&mut self) -> ExitStatus {
        self.ended_within(PATIENCE).unwrap_or_else(|| panic!("runs on:\n{}", self.errors()))
    }

    fn ended_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        match self.output.recv_timeout(patience) {
            Err(RecvTimeoutError::Disconnected) => Some(self.child.wait().unwrap()),
            Ok(()) | Err(RecvTimeoutError::Timeout) => None,
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("standard error of process {}:\n{}", self.id(), self.errors());
        }
    }
}

/// The driver and its browsers.
pub struct Driver {
    program: Program,
    port: u16,
}

impl Driver {
    pub fn start(driver: &Path) -> Self {
        const TRIES: usize = 5;
        // The driver exits if its port for IPv4 is in use for IPv6.
        let started = (0..TRIES).find_map(|_| Self::try_start(driver));
        started.expect("ChromeDriver does not start")
    }

    fn try_start(driver: &Path) -> Option<Self> {
        let folder = fresh_folder();
        let path = env::var("PATH").unwrap_or_default();
        // Chromium stores its settings, caches and sockets below these.
        let home = folder.path().to_str().unwrap().to_owned();
        let environment = [("PATH", path.as_str()), ("HOME", &home), ("TMPDIR", &home)];
        let program = Program::start(driver, &["--port=0"], &environment, folder);
        let start = "ChromeDriver was started successfully on port ";
        let port = program
            .find_line(|line| line.strip_prefix(start)?.trim_end_matches('.').parse().ok())?;
        Some(Self { program, port })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// For the profile; deleted when the driver is dropped.
    pub fn folder(&self) -> &Path {
        self.program.folder()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The browsers are the driver's children: it ends them on request, not when it is killed.
        if let Ok(mut connection) = TcpStream::connect(("127.0.0.1", self.port)) {
            let request = b"GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
            let _ = connection.set_read_timeout(Some(PATIENCE));
            let _ = connection.write_all(request);
            let _ = connection.read_to_end(&mut Vec::new());
        }
        let _ = self.program.ended_within(Duration::from_secs(5));
    }
}

pub fn fresh_folder() -> TempDir {
    tempfile::Builder::new().prefix("tower-scalekit-browser-").tempdir().unwrap()
}

/// The first of these programs that is installed.
pub fn installed(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let folders: Vec<_> = env::split_paths(&path).collect();
    let found = |name: &&str| folders.iter().map(|folder| folder.join(name)).find(|p| p.is_file());
    names.iter().find_map(found)
}

/// The lines of an output, read to its end and stored in a file; and what is disconnected then.
fn read_lines(output: ChildStdout, mut kept: File) -> (Receiver<String>, Receiver<()>) {
    let (sender, lines) = mpsc::channel();
    let (open, ended) = mpsc::channel();
    thread::spawn(move || {
        let _open = open;
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = writeln!(kept, "{line}");
            let _ = sender.send(line);
        }
    });
    (lines, ended)
}
