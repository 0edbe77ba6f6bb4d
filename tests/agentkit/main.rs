//! The example `agentkit` on the command line, run as people run it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Output;

use tokio::process::Command;
use tower_scalekit::Sandbox;
use tower_scalekit::sandbox::SandboxServer;

struct World {
    sandbox: Sandbox,
    server: SandboxServer,
}

impl World {
    async fn new() -> Self {
        let sandbox = Sandbox::new();
        let server = sandbox.serve(([127, 0, 0, 1], 0).into()).await.unwrap();
        Self { sandbox, server }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = alone(arguments);
        command
            .env("SCALEKIT_ENV_URL", self.server.environment_url())
            .env("SCALEKIT_CLIENT_ID", self.sandbox.client_id())
            .env("SCALEKIT_CLIENT_SECRET", self.sandbox.client_secret().expose());
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().await.unwrap()
    }

    fn account(&self) -> tower_scalekit::sandbox::ConnectedAccount {
        self.sandbox.connected_account("gmail", "user_123").unwrap()
    }
}

/// With an embedded sandbox.
fn alone(arguments: &[&str]) -> Command {
    let mut command = Command::new(example());
    command.args(arguments).env_clear().kill_on_drop(true);
    command
}

fn printed(output: &Output) -> Vec<&str> {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    std::str::from_utf8(&output.stdout).unwrap().lines().collect()
}

#[tokio::test]
async fn five_unread_mails_are_printed_as_a_list() {
    let output = alone(&["--yes"]).output().await.unwrap();
    let lines = printed(&output);
    assert!(lines[0].starts_with("sandbox on http://127.0.0.1:"));
    assert!(lines[1].ends_with(" is PENDING_AUTH") && lines[2].ends_with(" is ACTIVE"));
    assert_eq!(lines[3], "5 unread mails");
    let mails: Vec<_> = lines[4..].chunks(3).collect();
    assert_eq!(mails.len(), 5);
    for (number, mail) in (1..).zip(&mails) {
        assert!(mail[0].starts_with(&format!("{number}. ")), "{mail:?}");
        let (sender, time) = mail[1].trim().split_once(", ").unwrap();
        assert!(sender.ends_with(".test>"), "{sender}");
        assert_eq!((time.len(), &time[10..11]), (16, " "), "{time}");
        assert!(mail[2].starts_with("   ") && mail[2].len() > 20);
    }
    assert_eq!(mails[0][0], "1. Launch checklist for Thursday");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_takes_the_account_that_there_is() {
    let world = World::new().await;
    let first = world.run(&["--yes"]).await;
    let id = world.account().id;
    assert_eq!(printed(&first)[0], format!("connected account {id} is PENDING_AUTH"));
    let second = world.run(&[]).await; // nobody has to consent again
    let lines = printed(&second);
    assert_eq!(lines[..2], [&format!("connected account {id} is ACTIVE"), "5 unread mails"]);
    assert_eq!(world.sandbox.connected_accounts().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_account_is_let_in_again() {
    let world = World::new().await;
    let id = world.sandbox.add_connected_account("gmail", "user_123");
    world.sandbox.expire_connected_account(&id);
    let output = world.run(&["--yes"]).await;
    let lines = printed(&output);
    assert_eq!(lines[0], format!("connected account {id} is EXPIRED"));
    assert_eq!(lines[1], format!("connected account {id} is ACTIVE"));
    assert_eq!((lines[2], lines.len()), ("5 unread mails", 18));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_yes_a_person_opens_the_link() {
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

    let world = World::new().await;
    let mut command = world.command(&[]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    output.next_line().await.unwrap().unwrap();
    let line = output.next_line().await.unwrap().unwrap();
    let link = line.strip_prefix("open this link to connect Gmail: ").unwrap();
    world.sandbox.consent(link).unwrap();
    let mut rest = String::new();
    output.into_inner().read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("5 unread mails"), "{rest}");
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_one_line() {
    let world = World::new().await;
    let mut command = world.command(&["--yes"]);
    let wrong = command.env("GMAIL_CONNECTION_NAME", "Gmail").output().await.unwrap();
    let id = world.sandbox.add_connected_account("gmail", "user_123");
    world.sandbox.fail_provider("gmail", 1, http::StatusCode::TOO_MANY_REQUESTS);
    let busy = world.run(&["--yes"]).await;
    world.sandbox.disconnect_connected_account(&id);
    world.sandbox.require_user_verification(true);
    let unverified = world.run(&["--yes"]).await;
    let unknown = world.run(&["--nope"]).await;
    let half = alone(&["--yes"]).env("SCALEKIT_CLIENT_ID", "skc_1").output().await.unwrap();
    for (output, code, words) in [
        (wrong, 1, "no connection is named \"Gmail\": set GMAIL_CONNECTION_NAME"),
        (busy, 1, "the tool failed, RESOURCE_EXHAUSTED: Gmail answered 429 (execution exec_"),
        (unverified, 1, "the authorization link: HTTP status client error (400 Bad Request)"),
        (unknown, 2, "--nope"),
        (half, 2, "SCALEKIT_CLIENT_SECRET is not set"),
    ] {
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(errors.starts_with("error: ") && errors.contains(words), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

/// Beside this test's folder: `cargo test` builds examples too.
fn example() -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let example = profile.join("examples").join(format!("agentkit{}", env::consts::EXE_SUFFIX));
    assert!(example.is_file(), "{} is missing: `cargo build --examples`", example.display());
    example
}
