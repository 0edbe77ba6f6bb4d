//! `sso`: messages of the page where administrators set up single sign-on.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use tower_scalekit::Sandbox;
use tower_scalekit::sandbox::{Endpoint, Fault};

use crate::visitor::Visitor;
use crate::watched::{JANE, Watched};

const JOHN: &str = "john@acme.test";
/// Of the sandbox's first organization.
pub const ADMINISTRATORS: (&str, &str) =
    ("SSO_ADMINISTRATORS", "org_59615193906282635: Jane@Acme.test ");

/// The example, with Jane as the administrator of Acme, though John is its first user.
async fn started() -> (Watched, Visitor, Visitor) {
    let sso = Watched::start_at(Sandbox::builder().modular_sso(), "sso", &[ADMINISTRATORS]).await;
    let john = logged_in(&sso, JOHN).await;
    let jane = logged_in(&sso, JANE).await;
    (sso, jane, john)
}

async fn logged_in(sso: &Watched, email: &str) -> Visitor {
    let visitor = Visitor::new(sso.secrets.clone());
    let started = visitor.get(&sso.address("/login?domain_hint=acme.test")).await;
    let authorization = started.headers()[header::LOCATION].to_str().unwrap();
    let callback = sso.sandbox.log_in(authorization, email).unwrap();
    let done = visitor.get(&callback).await;
    assert!(done.status().is_redirection(), "{done:?}");
    visitor
}

fn text(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_portal_requires_permission_to_manage_single_sign_on() {
    let (sso, jane, john) = started().await;
    let portal = sso.address("/admin-portal");
    let opened = jane.get(&portal).await;
    assert_eq!(opened.status(), StatusCode::OK);
    assert!(text(&opened).contains("<iframe"), "{}", text(&opened));

    assert_eq!(john.get(&sso.address("/api/me")).await.status(), StatusCode::OK);
    let asked = sso.sandbox.requests().count(Endpoint::Api);
    let rejected = john.get(&portal).await;
    assert_eq!(rejected.status(), StatusCode::FORBIDDEN);
    assert!(text(&rejected).contains("This page is not for you"), "{}", text(&rejected));
    assert_eq!(sso.sandbox.requests().count(Endpoint::Api), asked, "no link is made for him");

    let nobody = Visitor::new(sso.secrets.clone()).get(&portal).await;
    assert!(nobody.status().is_redirection(), "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_environment_are_explained() {
    let (sso, jane, _) = started().await;
    let status = Fault::Status;
    for (fault, expected, message) in [
        (status(StatusCode::NOT_FOUND), StatusCode::NOT_FOUND, "no longer registered here"),
        (status(StatusCode::FORBIDDEN), StatusCode::INTERNAL_SERVER_ERROR, "Ask our support"),
        (Fault::Html, StatusCode::INTERNAL_SERVER_ERROR, "Ask our support"),
        (Fault::Unreachable, StatusCode::SERVICE_UNAVAILABLE, "Try again in a moment"),
        (
            status(StatusCode::TOO_MANY_REQUESTS),
            StatusCode::SERVICE_UNAVAILABLE,
            "Try again in a moment",
        ),
    ] {
        sso.sandbox.faults().add(Endpoint::Api, fault.clone());
        let portal = jane.get(&sso.address("/admin-portal")).await;
        assert_eq!(portal.status(), expected, "{fault:?}");
        assert!(text(&portal).contains(message), "{fault:?}: {}", text(&portal));
        // She is still logged in, and does not see the environment's message.
        assert!(text(&portal).contains(JANE) && !text(&portal).contains("configured to fail"));

        let address = sso.address("/sso?email=jane@acme.test");
        let asked = Visitor::new(sso.secrets.clone()).get(&address).await;
        // Not about a certain organization.
        let (expected, message) = match expected {
            StatusCode::NOT_FOUND => (StatusCode::INTERNAL_SERVER_ERROR, "Ask our support"),
            expected => (expected, message),
        };
        assert_eq!(asked.status(), expected, "{fault:?}");
        assert!(text(&asked).contains(message), "{fault:?}: {}", text(&asked));
        sso.sandbox.faults().clear(Endpoint::Api);
    }
}
