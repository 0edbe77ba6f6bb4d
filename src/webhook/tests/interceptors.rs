use bytes::Bytes;
use http::Response;

use super::*;
use crate::webhook::interceptor::{
    InterceptorData, InterceptorRequest, InterceptorResponse, NewMembership, TriggerPoint,
};

fn file(name: &str) -> Vec<u8> {
    fs::read(data("interceptors").join(name)).unwrap()
}

fn request(trigger_point: &str) -> InterceptorRequest {
    let body = file(&format!("{trigger_point}.request_body.json"));
    let request = InterceptorRequest::parse(&body).unwrap();
    assert_eq!(request.trigger_point.as_str(), trigger_point);
    assert!(!matches!(request.trigger_point, TriggerPoint::Unknown(_)));
    let whole: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(Value::Object(request.raw.clone()), whole);
    assert_eq!(request.display_name.as_deref(), whole["display_name"].as_str());
    request
}

fn assert_response(trigger_point: &str, response: InterceptorResponse) {
    let expected = file(&format!("{trigger_point}.response_body.json"));
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    let response: Response<Bytes> = response.into();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(serde_json::from_slice::<Value>(response.body()).unwrap(), expected);
}

#[test]
fn a_signup_is_read_and_denied() {
    let request = request("PRE_SIGNUP");
    assert!(!format!("{request:?}").contains("xsrPHl7k7ARgdhC6"), "no state in logs");
    let context = &request.context;
    assert_eq!(context.environment_id.as_deref(), Some("env_92561807201272162"));
    assert_eq!(context.user_id.as_deref(), Some("usr_93418238346728951"));
    assert_eq!(context.user_email.as_deref(), Some("john.doe@acmecorp.com"));
    assert_eq!(context.organization_id, None);
    assert_eq!(context.connection_details[0].id.as_deref(), Some("conn_92561808744978132"));
    assert_eq!(context.connection_details[0].connection_type.as_deref(), Some("OAUTH"));
    assert_eq!(context.connection_details[0].provider.as_deref(), Some("GOOGLE"));
    let auth_request = &context.auth_request;
    assert_eq!(auth_request.connection_id.as_deref(), Some("conn_81665025441299343"));
    assert_eq!(auth_request.organization_id.as_deref(), Some("org_102953846317318346"));
    assert_eq!(auth_request.domain.as_deref(), Some("foocorp.com"));
    assert_eq!(auth_request.login_hint.as_deref(), Some("john.doe@example.com"));
    assert_eq!(auth_request.state.as_deref(), Some("xsrPHl7k7ARgdhC6"));
    assert_eq!(context.device_type.as_deref(), Some("Desktop"));
    assert_eq!(context.ip_address.as_deref(), Some("203.0.113.24"));
    assert_eq!(
        (context.region.as_deref(), context.city.as_deref()),
        (Some("IN"), Some("Bengaluru"))
    );
    assert!(context.user_agent.as_ref().unwrap().starts_with("Mozilla"));
    assert_eq!(context.triggered_at, Some(datetime!(2025-10-09 09:48:02.875 UTC)));
    let InterceptorData::Signup(Some(user)) = &request.data else { panic!("{:?}", request.data) };
    assert_eq!(user.id.as_deref(), Some("usr_93418238346728951"));
    assert_eq!(user.given_name.as_deref(), Some("John"));
    assert_eq!(user.created_at, Some(datetime!(2025-10-06 11:06:49.12 UTC)));
    assert_eq!(user.metadata["type"], "social_user");
    let membership = &user.memberships[0];
    assert_eq!(membership.organization_id.as_deref(), Some("org_93418204671239864"));
    assert_eq!(membership.organization_name.as_deref(), Some("Example inc"));
    assert_eq!(
        (membership.status.as_deref(), &*membership.roles),
        (Some("ACTIVE"), &["admin".to_owned()][..])
    );
    assert_eq!(membership.metadata["cost"]["region"], "US");

    let mut membership =
        NewMembership::in_organization("org_102953846317318346").role("admin").role("viewer");
    membership.external_organization_id = Some("ext_B6YycAGRaPmnuxAFPT5KI4HBHxr4qWX".to_owned());
    let no = "Only @acmecorp.com email addresses are allowed to sign up";
    let response = InterceptorResponse::deny(no).create_organization_membership(membership);
    assert_response("PRE_SIGNUP", response);

    let stranger = br#"{"trigger_point":"PRE_SIGNUP","data":{"user":null}}"#;
    let stranger = InterceptorRequest::parse(stranger).unwrap();
    assert_eq!(stranger.data, InterceptorData::Signup(None));
}

#[test]
fn a_session_creation_is_read_and_allowed_with_claims() {
    let request = request("PRE_SESSION_CREATION");
    assert_eq!(request.context.organization_id.as_deref(), Some("org_93418204671239864"));
    let InterceptorData::SessionCreation(user) = &request.data else {
        panic!("{:?}", request.data)
    };
    assert_eq!(
        (user.first_name.as_deref(), user.last_name.as_deref()),
        (Some("John"), Some("Doe"))
    );
    assert_eq!(user.email_verified, Some(true));
    let response = InterceptorResponse::allow()
        .claim("subscription_tier", "enterprise")
        .claim("data_region", "us-west-2")
        .claim("feature_flags", json!(["analytics_dashboard", "api_access", "custom_branding"]))
        .claim("account_manager", "jane.smith@acmecorp.com");
    assert_response("PRE_SESSION_CREATION", response);
}

#[test]
fn an_invitation_is_read_and_denied() {
    let request = request("PRE_USER_INVITATION");
    let InterceptorData::UserInvitation(organization) = &request.data else {
        panic!("{:?}", request.data)
    };
    assert_eq!(organization.id.as_deref(), Some("org_93731871904672153"));
    assert_eq!(organization.name.as_deref(), Some("Acme Corp"));
    let no = "Cannot invite users from external domains. Please use @acmecorp.com email addresses.";
    assert_response("PRE_USER_INVITATION", InterceptorResponse::deny(no));
}

#[test]
fn a_token_of_an_application_is_read_and_allowed_with_claims() {
    let request = request("PRE_M2M_TOKEN_CREATION");
    assert_eq!(request.context.client_id.as_deref(), Some("m2morg_93710427703245914"));
    let InterceptorData::M2mTokenCreation(token) = &request.data else {
        panic!("{:?}", request.data)
    };
    assert_eq!(token.client_id.as_deref(), Some("m2morg_93710427703245914"));
    let claims = &token.claims;
    assert_eq!(claims.oid.as_deref(), Some("org_89669394174574792"));
    assert_eq!(claims.scope.as_ref().unwrap(), &claims.scopes.join(" "));
    assert_eq!(claims.custom_claims["deployment_environment"], "production");
    let Value::Object(claims) = json!({
        "scope": "deploy:applications read:deployments", "aud": "https://api.acmecorp.com",
        "rate_limit": "1000", "environment": "production",
    }) else {
        unreachable!()
    };
    assert_response("PRE_M2M_TOKEN_CREATION", InterceptorResponse::allow().claims(claims));
}

#[test]
fn responses_contain_only_the_decision() {
    let text = |response: InterceptorResponse| Response::<Bytes>::from(response).into_body();
    assert_eq!(text(InterceptorResponse::allow()), r#"{"decision":"ALLOW"}"#);
    assert_eq!(text(InterceptorResponse::deny("")), r#"{"decision":"DENY"}"#);
    assert_eq!(
        text(
            InterceptorResponse::allow().create_organization_membership(
                NewMembership::in_external_organization("tenant-7")
            )
        ),
        r#"{"decision":"ALLOW","response":{"create_organization_membership":{"external_organization_id":"tenant-7"}}}"#
    );
}

#[test]
fn unknown_triggers_are_kept_and_invalid_bodies_are_rejected() {
    let body =
        br#"{"trigger_point":"POST_USER_AUTHENTICATION","data":{"a":1},"interceptor_context":[]}"#;
    let request = InterceptorRequest::parse(body).unwrap();
    let unknown = TriggerPoint::Unknown("POST_USER_AUTHENTICATION".to_owned());
    assert_eq!(request.trigger_point, unknown);
    assert_eq!(request.data, InterceptorData::Unknown(json!({"a": 1})));
    for (body, error) in [
        (r#"{"data":{}}"#, EventError::Missing("trigger_point")),
        (r#"{"trigger_point":null}"#, EventError::Missing("trigger_point")),
        ("[]", EventError::Malformed),
        ("", EventError::Malformed),
    ] {
        assert_eq!(InterceptorRequest::parse(body.as_bytes()), Err(error), "{body}");
    }
    // The data may be missing.
    for word in
        ["PRE_SIGNUP", "PRE_SESSION_CREATION", "PRE_USER_INVITATION", "PRE_M2M_TOKEN_CREATION"]
    {
        let bare = InterceptorRequest::parse(format!(r#"{{"trigger_point":"{word}"}}"#).as_bytes());
        assert!(!matches!(bare.unwrap().data, InterceptorData::Unknown(_)));
    }
}

#[cfg(feature = "axum-core")]
#[test]
fn a_handler_returns_the_response_directly() {
    use axum_core::response::IntoResponse as _;

    let response = InterceptorResponse::deny("no").into_response();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
}
