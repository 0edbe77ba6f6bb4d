//! An example's program, and the environment behind it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;
use tokio::time::timeout;
use tower_scalekit::Sandbox;
use tower_scalekit::sandbox::SandboxServer;

use crate::processes::{PATIENCE, Program, fresh_folder};

/// A Scalekit environment that the test holds in its hand.
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

    /// The variables that name it.
    pub fn settings(&self) -> Vec<(&str, &str)> {
        vec![
            ("SCALEKIT_ENVIRONMENT_URL", self.url()),
            ("SCALEKIT_CLIENT_ID", self.sandbox.client_id()),
            ("SCALEKIT_CLIENT_SECRET", self.sandbox.client_secret().expose()),
        ]
    }
}

/// Starts an example with these settings and no other.
pub fn start(example: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Program {
    Program::start(&program(example), arguments, settings, fresh_folder())
}

/// What an example leaves behind that ends by itself: exit code, output, errors.
pub async fn run(example: &str, settings: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = command(example, &[]);
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

/// Beside this test's folder: `cargo test` builds examples too.
fn program(example: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let program = profile.join("examples").join(format!("{example}{}", env::consts::EXE_SUFFIX));
    assert!(program.is_file(), "{} is missing: `cargo build --examples`", program.display());
    program
}
