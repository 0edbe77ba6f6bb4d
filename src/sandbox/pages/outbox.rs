//! `/outbox`: the e-mails that the sandbox has sent.

use bytes::Bytes;
use http::{Response, StatusCode};

use super::deliveries::{or_hint, time};
use super::{Html, shell};
use crate::sandbox::state::State;
use crate::sandbox::state::mail::{OutboxMail, PasswordlessType};

/// Maximum number of e-mails on the page.
const SHOWN: usize = 50;

pub(crate) fn outbox(state: &State) -> Response<Bytes> {
    let mails = state.mail.outbox().take(SHOWN).map(|mail| row(mail, mail.expires_at <= state.now));
    let types = PasswordlessType::ALL.into_iter().map(|offered| {
        let label = match offered {
            PasswordlessType::Link => "A link",
            PasswordlessType::LinkOtp => "A link and a code",
            PasswordlessType::Otp => "A code",
        };
        Html::fill(
            r#"<option value="{{value}}" {{selected}}>{{label}}</option>"#,
            &[
                ("label", Html::text(label)),
                ("selected", attribute("selected", offered == state.mail.passwordless_type)),
                ("value", Html::text(offered.as_str())),
            ],
        )
    });
    shell(
        StatusCode::OK,
        "Outbox",
        include_str!("outbox.html"),
        &[
            ("mails", or_hint(mails, "No e-mails yet.")),
            ("new_credentials", attribute("checked", state.mail.new_credentials_on_resend)),
            ("same_browser", attribute("checked", state.mail.enforce_same_browser)),
            ("types", Html::all(types)),
        ],
    )
}

fn row(mail: &OutboxMail, expired: bool) -> Html {
    let code = mail.code.as_ref().map_or(Html::empty(), |code| {
        Html::fill(
            r#"<p>Code <strong class="code">{{code}}</strong></p>"#,
            &[("code", Html::text(code))],
        )
    });
    let link = mail.link.as_ref().map_or(Html::empty(), |link| {
        Html::fill(
            r#"<p class="wrap"><a href="{{link}}">{{link}}</a></p>"#,
            &[("link", Html::text(link))],
        )
    });
    let variables = mail.template_variables.iter().map(|(name, value)| {
        Html::fill(
            "<li>{{name}}: {{value}}</li>",
            &[("name", Html::text(name)), ("value", Html::text(value))],
        )
    });
    let (tone, label) = if expired { ("bad", "Expired") } else { ("good", "Valid until") };
    Html::fill(
        include_str!("mail_row.html"),
        &[
            ("code", code),
            ("email", Html::text(&mail.email)),
            ("expires_at", time(mail.expires_at)),
            ("label", Html::text(label)),
            ("link", link),
            ("sent_at", time(mail.sent_at)),
            ("template", Html::text(&mail.template)),
            ("tone", Html::text(tone)),
            ("variables", Html::all(variables)),
        ],
    )
}

fn attribute(name: &'static str, is_set: bool) -> Html {
    if is_set { Html::fill(name, &[]) } else { Html::empty() }
}
