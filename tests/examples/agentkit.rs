//! The example `agentkit` on the command line.

use std::process::{Output, Stdio};
use std::time::Duration;

use http::Response;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{ChildStdout, Command};
use tokio::time::timeout;
use tower_scalekit::sandbox::{Endpoint, Fault, SandboxConnectedAccount};

use crate::processes::PATIENCE;
use crate::running::{Environment, command, command_on_a_terminal};

impl Environment {
    fn agent(&self, arguments: &[&str]) -> Command {
        let mut command = command("agentkit", arguments);
        command.envs(self.settings());
        command
    }

    async fn run_agent(&self, arguments: &[&str]) -> Output {
        self.agent(arguments).output().await.unwrap()
    }

    fn account(&self) -> SandboxConnectedAccount {
        self.sandbox.connected_accounts().get("gmail", "user_123").unwrap()
    }

    /// After this many calls, the next one gets this response.
    fn responses_after(&self, calls: usize, status: u16, body: &Value) {
        self.sandbox.faults().add_times(Endpoint::Api, calls, Fault::Delay(Duration::ZERO));
        let response = Response::builder().status(status).body(body.to_string().into()).unwrap();
        self.sandbox.faults().add_times(Endpoint::Api, 1, Fault::Response(response));
    }
}

/// Terminal commands, after ESC and as C1 characters, and characters that change the direction of
/// writing.
const COMMANDS: &str = "<\u{1b}[2J\u{7}\u{8}\u{7f}\r\n\t\0\u{85}\u{90}\u{9b}31m\u{9d}0;title\u{9c}\
     \u{9f}\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}gpj.exe\u{2066}\u{2069}\u{206a}>";

fn assert_harmless(output: &str) {
    let harmful = |letter: &char| match *letter {
        '\n' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' => true,
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}' => true,
        letter => letter.is_control(),
    };
    let found: Vec<_> = output.chars().filter(harmful).collect();
    assert!(found.is_empty(), "{found:?} in {output:?}");
}

fn printed(output: &Output) -> Vec<&str> {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    assert_eq!(errors, "", "progress is for terminals");
    std::str::from_utf8(&output.stdout).unwrap().lines().collect()
}

#[tokio::test]
async fn five_unread_emails_are_printed_as_a_list() {
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
async fn a_second_run_uses_the_existing_account() {
    let environment = Environment::serve().await;
    let first = environment.run_agent(&["--yes"]).await;
    let id = environment.account().id;
    assert_eq!(printed(&first)[0], format!("connected account {id} is PENDING_AUTH"));
    let second = environment.run_agent(&[]).await; // no further consent
    let lines = printed(&second);
    assert_eq!(lines[..2], [&format!("connected account {id} is ACTIVE"), "5 unread mails"]);
    assert_eq!(environment.sandbox.connected_accounts().list().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_account_can_be_reconnected() {
    let environment = Environment::serve().await;
    let id = environment.sandbox.connected_accounts().add("gmail", "user_123");
    environment.sandbox.connected_accounts().expire(&id);
    let output = environment.run_agent(&["--yes"]).await;
    let lines = printed(&output);
    assert_eq!(lines[0], format!("connected account {id} is EXPIRED"));
    assert_eq!(lines[1], format!("connected account {id} is ACTIVE"));
    assert_eq!((lines[2], lines.len()), ("5 unread mails", 18));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_yes_the_user_opens_the_link() {
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
async fn a_disconnected_account_can_be_reconnected() {
    let environment = Environment::serve().await;
    environment.sandbox.connected_accounts().keep_status_until_consent(true);
    let id = environment.sandbox.connected_accounts().add("gmail", "user_123");
    environment.sandbox.connected_accounts().disconnect(&id);
    let mut child = environment.agent(&[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = output.next_line().await.unwrap().unwrap();
    assert_eq!(line, format!("connected account {id} is DISCONNECTED"));
    let line = output.next_line().await.unwrap().unwrap();
    // Not before the wait has polled: account, link, account, and the account again.
    let looked = async {
        while environment.sandbox.requests().count(Endpoint::Api) < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, looked).await.expect("it waits no more");
    let link = line.strip_prefix("open this link to connect Gmail: ").unwrap();
    environment.sandbox.consent(link).unwrap();
    let mut rest = String::new();
    output.into_inner().read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("5 unread mails"), "{rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn emails_of_an_unknown_shape_are_printed_as_json() {
    let environment = Environment::serve().await;
    environment.sandbox.connected_accounts().add("gmail", "user_123");
    for data in [
        json!({ "messages": [{ "id": "1", "payload": { COMMANDS: COMMANDS } }] }),
        json!({ "threads": { "é": ["\\u009b", "\\", COMMANDS, 1.5, null] } }),
        json!({ "messages": COMMANDS }),
        json!({}),
    ] {
        environment.responses_after(1, 200, &json!({ "data": data, "execution_id": "exec_1" }));
        let output = environment.run_agent(&[]).await;
        let text = printed(&output).join("\n");
        assert_harmless(&text);
        let (first, json) = text.split_once('\n').unwrap();
        assert!(first.ends_with(" is ACTIVE"), "{text}");
        assert_eq!(serde_json::from_str::<Value>(json).unwrap(), data, "nothing gets lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn untrusted_text_does_not_control_the_terminal() {
    let environment = Environment::serve().await;
    environment.sandbox.connected_accounts().add("gmail", "user_123");
    let mail = json!({
        "id": COMMANDS,
        "subject": COMMANDS,
        "from": COMMANDS,
        "snippet": COMMANDS,
        "date": COMMANDS,
    });
    let mails = json!({ "data": { "messages": [mail, mail] } });
    environment.responses_after(1, 200, &mails);
    let output = environment.run_agent(&[]).await;
    let lines = printed(&output);
    assert_eq!((lines[1], lines.len()), ("2 unread mails", 8), "each part stays in its line");
    assert_harmless(&lines.join("\n"));

    let account = json!({ "connected_account": { "id": COMMANDS, "status": COMMANDS } });
    environment.responses_after(0, 200, &account);
    let output = environment.run_agent(&["--yes"]).await;
    let lines = printed(&output);
    assert!(
        lines[0].starts_with("connected account < [2J") && lines[0].ends_with(">"),
        "{lines:?}"
    );
    assert_harmless(&lines.join("\n"));

    let error = json!({ "code": 8, "message": COMMANDS, "details": [{
        "error_code": "TOOL_ERROR", "tool_error_info": { "tool_error_message": COMMANDS },
    }]});
    environment.responses_after(1, 429, &error);
    let of_the_tool = environment.run_agent(&[]).await;
    environment.responses_after(0, 400, &json!({ "code": 3, "message": COMMANDS }));
    let of_the_api = environment.run_agent(&[]).await;
    for output in [of_the_tool, of_the_api] {
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.starts_with("error: ") && errors.contains("gpj.exe"), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert_harmless(&errors);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_on_a_terminal_shows_a_spinner() {
    let environment = Environment::serve().await;
    let Some(mut command) = command_on_a_terminal("agentkit", &[]) else { return };
    let command = command.envs(environment.settings()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut terminal = Terminal { output: child.stdout.take().unwrap(), shown: String::new() };
    let waiting = "waiting until Gmail is connected";
    // The spinner changes repeatedly.
    terminal.shows(|shown| shown.matches(waiting).count() > 2).await;
    let (_, rest) = terminal.shown.split_once("open this link to connect Gmail: ").unwrap();
    let link = rest.split_whitespace().next().unwrap().to_owned();
    environment.sandbox.consent(&link).unwrap();
    terminal.shows(|shown| shown.contains("5 unread mails")).await;
    let (before, after) = terminal.shown.rsplit_once(waiting).unwrap();
    assert!(!before.contains("is ACTIVE") && after.contains("is ACTIVE"));
    assert!(after.contains("\u{1b}[2K"), "its line is taken away: {after:?}");
    assert!(child.wait().await.unwrap().success());
}

/// Everything written to a terminal so far.
struct Terminal {
    output: ChildStdout,
    shown: String,
}

impl Terminal {
    async fn shows(&mut self, is_there: impl Fn(&str) -> bool) {
        let read = async {
            while !is_there(&self.shown) {
                let mut bytes = [0; 4096];
                let count = self.output.read(&mut bytes).await.unwrap();
                assert!(count > 0, "it ended with {:?}", self.shown);
                self.shown += &String::from_utf8_lossy(&bytes[..count]);
            }
        };
        timeout(PATIENCE, read).await.expect("it does not come");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_one_line() {
    let environment = Environment::serve().await;
    let mut misnamed = environment.agent(&["--yes"]);
    let wrong = misnamed.env("GMAIL_CONNECTION_NAME", "Gmail").output().await.unwrap();
    let id = environment.sandbox.connected_accounts().add("gmail", "user_123");
    environment.sandbox.connected_accounts().fail_provider(
        "gmail",
        1,
        http::StatusCode::TOO_MANY_REQUESTS,
    );
    let busy = environment.run_agent(&["--yes"]).await;
    environment.sandbox.connected_accounts().disconnect(&id);
    environment.sandbox.connected_accounts().require_user_verification(true);
    let unverified = environment.run_agent(&["--yes"]).await;
    let unknown = environment.run_agent(&["--nope"]).await;
    let half =
        command("agentkit", &["--yes"]).env("SCALEKIT_CLIENT_ID", "skc_1").output().await.unwrap();
    for (output, code, text) in [
        (wrong, 1, "no connection is named \"Gmail\": set GMAIL_CONNECTION_NAME"),
        (busy, 1, "the tool failed, RESOURCE_EXHAUSTED: Gmail responded with 429 (execution exec_"),
        (unverified, 1, "the authorization link: HTTP status client error (400 Bad Request)"),
        (unknown, 2, "--nope"),
        (half, 2, "SCALEKIT_CLIENT_SECRET is not set"),
    ] {
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(errors.starts_with("error: ") && errors.contains(text), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}
