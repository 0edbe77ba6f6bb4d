//! The example `agentkit` on the command line, run as people run it.

use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;
use tower_scalekit::sandbox::ConnectedAccount;

use crate::running::{Environment, command};

impl Environment {
    fn agent(&self, arguments: &[&str]) -> Command {
        let mut command = command("agentkit", arguments);
        command.envs(self.settings());
        command
    }

    async fn run_agent(&self, arguments: &[&str]) -> Output {
        self.agent(arguments).output().await.unwrap()
    }

    fn account(&self) -> ConnectedAccount {
        self.sandbox.connected_account("gmail", "user_123").unwrap()
    }
}

fn printed(output: &Output) -> Vec<&str> {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    std::str::from_utf8(&output.stdout).unwrap().lines().collect()
}

#[tokio::test]
async fn five_unread_mails_are_printed_as_a_list() {
    let output = command("agentkit", &["--yes"]).output().await.unwrap();
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
    let environment = Environment::serve().await;
    let first = environment.run_agent(&["--yes"]).await;
    let id = environment.account().id;
    assert_eq!(printed(&first)[0], format!("connected account {id} is PENDING_AUTH"));
    let second = environment.run_agent(&[]).await; // nobody has to consent again
    let lines = printed(&second);
    assert_eq!(lines[..2], [&format!("connected account {id} is ACTIVE"), "5 unread mails"]);
    assert_eq!(environment.sandbox.connected_accounts().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_account_is_let_in_again() {
    let environment = Environment::serve().await;
    let id = environment.sandbox.add_connected_account("gmail", "user_123");
    environment.sandbox.expire_connected_account(&id);
    let output = environment.run_agent(&["--yes"]).await;
    let lines = printed(&output);
    assert_eq!(lines[0], format!("connected account {id} is EXPIRED"));
    assert_eq!(lines[1], format!("connected account {id} is ACTIVE"));
    assert_eq!((lines[2], lines.len()), ("5 unread mails", 18));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_yes_a_person_opens_the_link() {
    let environment = Environment::serve().await;
    let mut command = environment.agent(&[]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    output.next_line().await.unwrap().unwrap();
    let line = output.next_line().await.unwrap().unwrap();
    let link = line.strip_prefix("open this link to connect Gmail: ").unwrap();
    environment.sandbox.consent(link).unwrap();
    let mut rest = String::new();
    output.into_inner().read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("5 unread mails"), "{rest}");
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_one_line() {
    let environment = Environment::serve().await;
    let mut misnamed = environment.agent(&["--yes"]);
    let wrong = misnamed.env("GMAIL_CONNECTION_NAME", "Gmail").output().await.unwrap();
    let id = environment.sandbox.add_connected_account("gmail", "user_123");
    environment.sandbox.fail_provider("gmail", 1, http::StatusCode::TOO_MANY_REQUESTS);
    let busy = environment.run_agent(&["--yes"]).await;
    environment.sandbox.disconnect_connected_account(&id);
    environment.sandbox.require_user_verification(true);
    let unverified = environment.run_agent(&["--yes"]).await;
    let unknown = environment.run_agent(&["--nope"]).await;
    let half =
        command("agentkit", &["--yes"]).env("SCALEKIT_CLIENT_ID", "skc_1").output().await.unwrap();
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
