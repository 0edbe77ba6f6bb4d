//! Settings as in deployments: with white space around a value, and in files.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::processes::fresh_folder;
use crate::running::{Environment, run, start};

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
