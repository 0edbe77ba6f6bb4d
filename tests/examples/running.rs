//! An example's program, and its environment.

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;
use tokio::time::timeout;
use tower_scalekit::Sandbox;
use tower_scalekit::sandbox::SandboxServer;

use crate::processes::{PATIENCE, Program, fresh_folder};

/// A Scalekit environment that the test controls.
pub struct Environment {
    pub sandbox: Sandbox,
    pub server: SandboxServer,
}

impl Environment {
    pub async fn serve() -> Self {
        let sandbox = Sandbox::new();
        let server = sandbox.serve(([127, 0, 0, 1], 0).into()).await.unwrap();
        Self { sandbox, server }
    }

    pub fn url(&self) -> &str {
        self.server.environment_url()
    }

    /// The variables that select it.
    pub fn settings(&self) -> Vec<(&str, &str)> {
        vec![
            ("SCALEKIT_ENVIRONMENT_URL", self.url()),
            ("SCALEKIT_CLIENT_ID", self.sandbox.client_id()),
            ("SCALEKIT_CLIENT_SECRET", self.sandbox.client_secret().expose()),
        ]
    }
}

/// Starts an example with these settings and no others.
pub fn start(example: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Program {
    Program::start(&program(example), arguments, settings, fresh_folder())
}

/// The result of an example that exits by itself: exit code, output, errors.
pub async fn run(example: &str, settings: &[(&str, &str)]) -> (Option<i32>, String, String) {
    run_with(example, &[], settings).await
}

/// The same with arguments.
pub async fn run_with(
    example: &str,
    arguments: &[&str],
    settings: &[(&str, &str)],
) -> (Option<i32>, String, String) {
    let mut command = command(example, arguments);
    command.envs(settings.iter().copied());
    let output = timeout(PATIENCE, command.output()).await.expect("it runs on").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// An example that is about to start without any settings.
pub fn command(example: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program(example));
    command.args(arguments).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// An example that is about to start on a terminal of its own, without any settings. Prints a line
/// and returns `None` if no terminal can be created.
pub fn command_on_a_terminal(example: &str, arguments: &[&str]) -> Option<Command> {
    let script = std::process::Command::new("script").arg("--version").output();
    let is_known = |version: Vec<u8>| String::from_utf8_lossy(&version).contains("util-linux");
    if !script.is_ok_and(|script| is_known(script.stdout)) {
        skipped("script of util-linux is not installed");
        return None;
    }
    let mut command = Command::new("script");
    let line = format!("stty cols 80 rows 24; exec \"$EXAMPLE\" {}", arguments.join(" "));
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.env_clear().env("EXAMPLE", program(example)).env("TERM", "xterm-256color");
    command.envs(env::var_os("PATH").map(|path| ("PATH", path)));
    command.stdin(Stdio::null()).kill_on_drop(true);
    Some(command)
}

/// Reports a skipped test; in CI that is a failure.
pub fn skipped(why: &str) {
    assert!(env::var("CI").as_deref() != Ok("true"), "cannot run: {why}");
    // Bypasses the harness, which hides the output of passing tests.
    let _ = writeln!(io::stdout(), "skipped: {why}");
}

/// In the folder above this test's: `cargo test` builds examples too.
fn program(example: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let program = profile.join("examples").join(format!("{example}{}", env::consts::EXE_SUFFIX));
    assert!(program.is_file(), "{} is missing: `cargo build --examples`", program.display());
    program
}
