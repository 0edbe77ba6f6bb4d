//! Codes and magic links by e-mail.

use std::time::Duration;

use tower_scalekit::Sandbox;
use tower_scalekit::api::passwordless::{EmailTemplate, NewEmail, PasswordlessApi};

use super::calls::{Calls, call};
use crate::support::{JANE, JOHN, parameter};

impl Calls {
    pub(super) async fn passwordless(&mut self, passwordless: &PasswordlessApi, sandbox: &Sandbox) {
        let calls = self;
        let mut mail = NewEmail::new(JANE);
        mail.template = Some(EmailTemplate::SignUp);
        mail.template_variables = [("team".to_owned(), "Alpha".to_owned())].into();
        mail.expires_in = Some(Duration::from_secs(100));
        mail.magiclink_auth_uri = Some("https://app.example.com/passwordless/verify".to_owned());
        mail.state = Some("d62ivasry29lso".into());
        let sent = call!(calls, PasswordlessApi::send(passwordless, &mail)).await.unwrap();
        let id = sent.auth_request_id.expose();
        call!(calls, PasswordlessApi::resend(passwordless, id)).await.unwrap();
        let code = sandbox.mail().outbox()[0].code.clone().unwrap();
        let verified = call!(calls, PasswordlessApi::verify_code(passwordless, id, &code));
        assert_eq!(verified.await.unwrap().template, Some(EmailTemplate::SignUp));

        for with_id in [false, true] {
            let mut mail = NewEmail::new(JOHN);
            mail.magiclink_auth_uri = Some("https://app.example.com/in".to_owned());
            let sent = passwordless.send(&mail).await.unwrap();
            let token =
                parameter(&sandbox.mail().outbox()[0].link.clone().unwrap(), "link_token").unwrap();
            let id = with_id.then_some(sent.auth_request_id.expose());
            let verified = call!(calls, PasswordlessApi::verify_link(passwordless, &token, id));
            assert_eq!(verified.await.unwrap().email, JOHN);
        }
        passwordless.verify_code("h5Y8kT5RVwaea5WEgW4n", "123456").await.unwrap_err();
        passwordless.send(&NewEmail::new("nobody")).await.unwrap_err();
        passwordless.send(&mail).await.unwrap_err();
    }
}
