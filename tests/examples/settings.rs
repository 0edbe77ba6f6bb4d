//! Settings as in deployments: with white space around a value, and in files.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::processes::fresh_folder;
use crate::running::{Environment, run, run_with, start};

#[tokio::test(flavor = "multi_thread")]
async fn white_space_around_every_variable_is_ignored() {
    let environment = Environment::serve().await;
    let webhook_secret = format!("whsec_{}\n", STANDARD.encode([7; 32]));
    let settings = environment.settings();
    let padded: Vec<_> =
        settings.iter().map(|(name, value)| (*name, format!(" {value}\r\n"))).collect();
    let mut settings: Vec<_> = padded.iter().map(|(name, value)| (*name, &**value)).collect();
    settings.extend([
        ("BIND", " 127.0.0.1:0\n"),
        ("PUBLIC_URL", "http://127.0.0.1:3000/\n"),
        ("SESSION_SECRET", "0123456789abcdef0123456789abcdef\n"),
        ("SCALEKIT_WEBHOOK_SECRET", &webhook_secret),
        ("RUST_LOG", "info\n"),
        ("GMAIL_CONNECTION_NAME", "gmail\n"),
    ]);
    for example in ["saaskit", "login", "agentkit"] {
        let arguments: &[&str] = if example == "agentkit" { &["--serve"] } else { &[] };
        let program = start(example, arguments, &settings);
        program.said("listening on ");
        assert!(!program.errors().contains("is not set"), "{}", program.errors());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_variable_may_be_in_a_file() {
    let (environment, folder) = (Environment::serve().await, fresh_folder());
    let webhook_secret = format!("whsec_{}", STANDARD.encode([7; 32]));
    let mut values = environment.settings();
    values.extend([
        ("SESSION_SECRET", "0123456789abcdef0123456789abcdef"),
        ("SCALEKIT_WEBHOOK_SECRET", &webhook_secret),
        ("BIND", "127.0.0.1:0"),
    ]);
    let files: Vec<_> = values
        .iter()
        .map(|(name, value)| {
            let path = folder.path().join(name);
            fs::write(&path, format!("{value}\n")).unwrap();
            (format!("{name}_FILE"), path.to_str().unwrap().to_owned())
        })
        .collect();
    let files: Vec<_> = files.iter().map(|(name, path)| (&**name, &**path)).collect();
    let saaskit = start("saaskit", &[], &files);
    saaskit.said("listening on ");
    assert!(!saaskit.errors().contains("is not set"), "{}", saaskit.errors());
    let (code, output, errors) = run("setup", &files).await;
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_is_named_by_its_variable() {
    for name in ["SESSION_SECRET", "SCALEKIT_WEBHOOK_SECRET", "PUBLIC_URL", "BIND", "RUST_LOG"] {
        let file = format!("{name}_FILE");
        let settings = [(file.as_str(), "/no/such/file"), ("BIND", "127.0.0.1:0")];
        let settings = if name == "BIND" { &settings[..1] } else { &settings[..] };
        let (code, _, errors) = run("saaskit", settings).await;
        assert_eq!(code, Some(2), "{errors}");
        assert!(errors.contains(&file) && !errors.contains("/no/such/file"), "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_setting_is_exit_code_2_in_every_example() {
    let environment = [
        ("SCALEKIT_ENVIRONMENT_URL", "https://acme.scalekit.dev/path"),
        ("SCALEKIT_CLIENT_ID", "skc_1"),
        ("SCALEKIT_CLIENT_SECRET", "s3cret"),
    ];
    let half = &environment[1..2];
    let port = ("BIND", "127.0.0.1:0");
    let of_web: &[&[(&str, &str)]] = &[
        &environment,
        half,
        &[("RUST_LOG", "x=y=z")],
        &[("BIND", "here")],
        &[("BIND", "192.0.2.1:0")],
        &[port, ("PUBLIC_URL", "app.example.com")],
        &[
            port,
            ("REDIS_URL", "http://localhost"),
            ("SESSION_SECRET", "0123456789abcdef0123456789abcdef"),
        ],
    ];
    let of_login = &[port, ("SESSION_SECRET", "short")];
    let of_webhooks = &[port, ("SCALEKIT_WEBHOOK_SECRET", "whsec_short")];
    type Settings<'a> = &'a [(&'a str, &'a str)];
    let own: &[(&str, &[&str], &[Settings<'_>])] = &[
        ("agent", &[], &[&environment, half, &[("OPENAI_API_KEY_FILE", "/no/such/file")]]),
        ("agent", &["--unknown"], &[&[]]),
        ("agentkit", &["--serve"], &[of_login]),
        ("agentkit", &["--unknown"], &[&[]]),
        ("aws_lambda", &[], &[&[], half, &environment]),
        (
            "bring_your_own_auth",
            &[],
            &[&[
                port,
                ("SCALEKIT_ENVIRONMENT_URL", "https://acme.scalekit.dev"),
                environment[1],
                environment[2],
                ("MCP_RESOURCE_ID", "res_1"),
            ]],
        ),
        ("call_api", &[], &[of_login]),
        ("forward_auth", &[], &[of_login]),
        ("grpc_service", &[], &[&[port, ("API_AUDIENCE_FILE", "/no/such/file")]]),
        (
            "hyper_service",
            &[],
            &[of_login, of_webhooks, &[port, ("API_AUDIENCE_FILE", "/no/such/file")]],
        ),
        ("login", &[], &[of_login]),
        ("mcp_gateway", &[], &[&environment, half]),
        ("mcp_gateway", &["--unknown"], &[&[]]),
        ("mcp_server", &[], &[&[port, ("MCP_RESOURCE_ID", "mine")]]),
        ("observability", &[], &[of_login]),
        ("passwordless", &[], &[of_login]),
        ("postgres_store", &[], &[&[], &[("DATABASE_URL", "here")]]),
        ("saaskit", &[], &[of_login, of_webhooks]),
        (
            "sandbox",
            &[],
            &[
                &[("BIND", "here")],
                &[port, ("REDIRECT_URI", "http://localhost:3000/a, b")],
                &[port, ("WEBHOOK_URL", "/webhook")],
                &[port, ("INITIATE_LOGIN_URL", "login")],
                &[port, ("MCP_RESOURCE_URL", "mcp")],
            ],
        ),
        ("scim", &[], &[of_webhooks, &[port, ("DATABASE_URL", "postgres://x")]]),
        ("setup", &[], &[&environment, half, &[]]),
        ("spa", &[], &[of_login, &[port, ("IDLE_SECONDS", "soon")]]),
        ("sso", &[], &[of_login, &[port, ("SSO_ADMINISTRATORS", "jane@acme.test")]]),
    ];
    let all = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap();
    let is_example =
        |path: &PathBuf| path.join("main.rs").exists() || path.extension() == Some("rs".as_ref());
    for path in all.map(|entry| entry.unwrap().path()).filter(is_example) {
        let example = path.file_stem().unwrap().to_str().unwrap();
        // The exit code of a `main` that returns an error is 1.
        if example == "quick_start" {
            continue;
        }
        let own: Vec<_> = own.iter().filter(|(name, ..)| *name == example).collect();
        assert!(!own.is_empty(), "{example} is not in the list");
        let without = ["agent", "aws_lambda", "mcp_gateway", "postgres_store", "sandbox", "setup"];
        let has_server = !without.contains(&example);
        for settings in of_web.iter().filter(|_| has_server) {
            let arguments: &[&str] = if example == "agentkit" { &["--serve"] } else { &[] };
            assert_wrong(example, arguments, settings).await;
        }
        for (_, arguments, several) in own {
            for settings in *several {
                assert_wrong(example, arguments, settings).await;
            }
        }
    }
}

async fn assert_wrong(example: &str, arguments: &[&str], settings: &[(&str, &str)]) {
    let (code, output, errors) = run_with(example, arguments, settings).await;
    assert_eq!(code, Some(2), "{example} {arguments:?} {settings:?}: {output}{errors}");
    // Warnings and the line of a random session secret may come first.
    assert!(errors.lines().any(|line| line.starts_with("error: ")), "{example}: {errors}");
}
