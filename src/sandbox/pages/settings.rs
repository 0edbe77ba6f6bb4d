//! The settings that pages of the sandbox need: their values, and the line that sets a missing one.

use super::Html;
use crate::sandbox::environment::Environment;
use crate::sandbox::state::State;

/// A setting of this sandbox.
struct Setting {
    name: &'static str,
    values: Vec<String>,
    /// The variable of the example `sandbox`, with a value to copy.
    line: &'static str,
    /// The same in code.
    code: &'static str,
}

pub(super) fn rows(environment: &Environment, state: &State) -> Html {
    let settings = [
        Setting {
            name: "Redirect URIs",
            values: state.redirect_uris.iter().cloned().collect(),
            line: "REDIRECT_URI=https://app.example.com/auth/callback",
            code: "sandbox.register_redirect_uri(url)",
        },
        Setting {
            name: "Post-logout redirect URIs",
            values: state.post_logout_redirect_uris.iter().cloned().collect(),
            line: "POST_LOGOUT_REDIRECT_URI=https://app.example.com/auth/logout/callback",
            code: "Sandbox::builder().post_logout_redirect_uri(url)",
        },
        Setting {
            name: "Initiate-login URL, for the portals of identity providers",
            values: state.initiate_login_url.iter().cloned().collect(),
            line: "INITIATE_LOGIN_URL=http://localhost:3000/login",
            code: "sandbox.idp().set_initiate_login_url(url)",
        },
        Setting {
            name: "Webhook endpoints",
            values: state.webhooks.endpoints.iter().map(|endpoint| endpoint.url.clone()).collect(),
            line: "WEBHOOK_URL=http://localhost:3000/webhooks/scalekit",
            code: "sandbox.webhooks().add_endpoint(url)",
        },
        Setting {
            name: "URL of the MCP server",
            values: state
                .resources
                .iter()
                .flat_map(|resource| {
                    resource.urls.iter().map(|url| format!("{url} ({})", resource.id))
                })
                .collect(),
            line: "MCP_RESOURCE_URL=http://localhost:3000/mcp",
            code: "sandbox.mcp().set_resource_url(id, url)",
        },
        Setting {
            name: "Machine clients",
            values: state
                .machines
                .iter()
                .map(|machine| format!("{} {}", machine.id, machine.secret.expose()))
                .collect(),
            line: "MACHINE_AUDIENCE=https://api.example.com MACHINE_SCOPES=read:items",
            code: "sandbox.organizations().add_machine_client(id, client)",
        },
        Setting {
            name: "Modular SSO",
            values: environment.settings.modular_sso.then(|| "on".to_owned()).into_iter().collect(),
            line: "MODULAR_SSO=1",
            code: "Sandbox::builder().modular_sso()",
        },
    ];
    Html::all(settings.into_iter().map(|Setting { name, values, line, code }| {
        let value = match values.as_slice() {
            [] => Html::fill(
                "Not set: <code>{{line}}</code> or <code>{{code}}</code>",
                &[("line", Html::text(line)), ("code", Html::text(code))],
            ),
            values => Html::all(values.iter().map(|value| {
                Html::fill("<code>{{value}}</code> ", &[("value", Html::text(value))])
            })),
        };
        Html::fill(
            include_str!("setting_row.html"),
            &[("name", Html::text(name)), ("value", value)],
        )
    }))
}
