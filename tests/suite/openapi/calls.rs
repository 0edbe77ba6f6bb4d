//! Every call of the API, at least once with all of its parameters.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::{Request, StatusCode};
use serde_json::json;
use time::OffsetDateTime;
use time::macros::datetime;
use tower_scalekit::Sandbox;
use tower_scalekit::api::Api;
use tower_scalekit::api::auth_requests::{AuthRequestsApi, LoginRequest, LoginUser};
use tower_scalekit::api::directories::{DirectoriesApi, DirectoryGroups, DirectoryUsers};
use tower_scalekit::api::organizations::{
    NewOrganization, OrganizationUpdate, Organizations, OrganizationsApi,
};
use tower_scalekit::api::sessions::{SessionsApi, UserSessions};
use tower_scalekit::http_client::HttpClient as _;
use tower_scalekit::model::SessionStatus;
use tower_scalekit::sandbox::{Endpoint, Fault};

use super::exchange::Recorder;
use crate::support::{JANE, JOHN};

const LONG_AGO: OffsetDateTime = datetime!(2020-01-02 03:04:05.678 UTC);

/// The functions that were called, as `Type::function`.
#[derive(Default)]
pub(super) struct Calls {
    pub(super) made: BTreeSet<&'static str>,
}

/// Calls a function and records its name.
macro_rules! call {
    ($calls:ident, $type:ident::$function:ident($($argument:expr),*)) => {{
        $calls.made.insert(concat!(stringify!($type), "::", stringify!($function)));
        $type::$function($($argument),*)
    }};
}

pub(super) use call;

impl Calls {
    pub(super) async fn make_all(sandbox: &Sandbox, api: &Api) -> Self {
        let mut calls = Self::default();
        calls.organizations(&api.organizations(), sandbox).await;
        calls.directories(&api.directories(), sandbox).await;
        calls.sessions(&api.sessions(), sandbox).await;
        calls.auth_requests(&api.auth_requests(), sandbox).await;
        calls.single_sign_on(api, sandbox).await;
        calls.connected_accounts(api, sandbox).await;
        calls.mcp_configs(&api.mcp_configs(), sandbox).await;
        calls.passwordless(&api.passwordless(), sandbox).await;
        calls.users(api, sandbox).await;
        calls.roles(api, sandbox).await;
        calls.api_keys(&api.api_keys(), sandbox).await;
        calls.organization_details(api, sandbox).await;
        calls
    }

    async fn organizations(&mut self, organizations: &OrganizationsApi, sandbox: &Sandbox) {
        let calls = self;
        let mut new = NewOrganization::new("Initech");
        new.external_id = Some("tenant-7".to_owned());
        new.slug = Some("initech".to_owned());
        new.logo_url = Some("https://initech.test/logo.png".to_owned());
        new.metadata = [("plan".to_owned(), "gold".to_owned())].into();
        let initech = call!(calls, OrganizationsApi::create(organizations, &new)).await.unwrap();
        let id = initech.id;
        assert_eq!(initech.metadata, new.metadata);

        call!(calls, OrganizationsApi::get(organizations, &id)).await.unwrap();
        let found = call!(calls, OrganizationsApi::get_by_external_id(organizations, "tenant-7"));
        assert_eq!(found.await.unwrap().id, id);
        let mut change = OrganizationUpdate::default();
        change.display_name = Some("Initech, Inc.".to_owned());
        change.external_id = Some("tenant-8".to_owned());
        change.slug = Some("initech-inc".to_owned());
        change.logo_url = Some("https://initech.test/new.png".to_owned());
        change.metadata = Some([("plan".to_owned(), "lead".to_owned())].into());
        let changed = call!(calls, OrganizationsApi::update(organizations, &id, &change));
        assert_eq!(changed.await.unwrap().slug.as_deref(), Some("initech-inc"));

        let all = call!(calls, OrganizationsApi::list(organizations));
        let pages = call!(calls, Organizations::page_size(all, 1));
        let all: Vec<_> = call!(calls, Organizations::stream(pages)).try_collect().await.unwrap();
        assert_eq!(all.len(), sandbox.organizations().list().len());
        let one = call!(calls, Organizations::external_id(organizations.list(), "tenant-8"));
        assert_eq!(one.stream().try_collect::<Vec<_>>().await.unwrap().len(), 1);
        call!(calls, OrganizationsApi::delete(organizations, &id)).await.unwrap();
        organizations.get(&id).await.unwrap_err();
    }

    async fn directories(&mut self, directories: &DirectoriesApi, sandbox: &Sandbox) {
        let calls = self;
        let acme = &sandbox.organizations().list()[0].id;
        let listed = call!(calls, DirectoriesApi::list(directories, acme)).await.unwrap();
        assert_eq!(listed.len(), 1);
        let primary = call!(calls, DirectoriesApi::primary(directories, acme)).await.unwrap();
        let id = &primary.id;
        call!(calls, DirectoriesApi::get(directories, acme, id)).await.unwrap();
        call!(calls, DirectoriesApi::disable(directories, acme, id)).await.unwrap();
        call!(calls, DirectoriesApi::enable(directories, acme, id)).await.unwrap();
        directories.enable(acme, id).await.unwrap();

        let groups = call!(calls, DirectoriesApi::groups(directories, acme, id));
        let groups = call!(calls, DirectoryGroups::page_size(groups, 1));
        let groups = call!(calls, DirectoryGroups::include_detail(groups, true));
        let groups = call!(calls, DirectoryGroups::include_external_groups(groups, true));
        let groups = call!(calls, DirectoryGroups::updated_after(groups, LONG_AGO));
        let groups: Vec<_> =
            call!(calls, DirectoryGroups::stream(groups)).try_collect().await.unwrap();
        assert!(groups.len() > 1);

        let users = call!(calls, DirectoriesApi::users(directories, acme, id));
        let users = call!(calls, DirectoryUsers::page_size(users, 1));
        let users = call!(calls, DirectoryUsers::include_detail(users, true));
        let users = call!(calls, DirectoryUsers::updated_after(users, LONG_AGO));
        let all: Vec<_> = call!(calls, DirectoryUsers::stream(users)).try_collect().await.unwrap();
        assert!(all.len() > 1);
        let group = &groups[0].id;
        let members = directories.users(acme, id);
        let members = call!(calls, DirectoryUsers::directory_group_id(members, group));
        members.stream().try_collect::<Vec<_>>().await.unwrap();
    }

    async fn sessions(&mut self, sessions: &SessionsApi, sandbox: &Sandbox) {
        let calls = self;
        for _ in 0..3 {
            let _ = sandbox.tokens().access_token(JANE);
        }
        let jane = &sandbox.users().get(JANE).unwrap().id;
        let found = call!(calls, SessionsApi::list_for_user(sessions, jane));
        let found = call!(calls, UserSessions::status(found, SessionStatus::Active));
        let found = call!(calls, UserSessions::start_time(found, LONG_AGO));
        let later = OffsetDateTime::now_utc() + time::Duration::days(1);
        let found = call!(calls, UserSessions::end_time(found, later));
        let found = call!(calls, UserSessions::page_size(found, 2));
        let found: Vec<_> = call!(calls, UserSessions::stream(found)).try_collect().await.unwrap();
        assert_eq!(found.len(), 3);
        let id = &found[0].session_id;
        call!(calls, SessionsApi::get(sessions, id)).await.unwrap();
        call!(calls, SessionsApi::revoke(sessions, id)).await.unwrap();
        sessions.get(id).await.unwrap();
        let revoked = call!(calls, SessionsApi::revoke_all_for_user(sessions, jane));
        assert_eq!(revoked.await.unwrap().total_revoked, 2);
        let ended = sessions.list_for_user(jane).status(SessionStatus::Revoked).stream();
        assert_eq!(ended.try_collect::<Vec<_>>().await.unwrap().len(), 3);
    }

    async fn auth_requests(&mut self, auth_requests: &AuthRequestsApi, sandbox: &Sandbox) {
        let calls = self;
        let user = LoginUser::new("your-id-of-john", JOHN);
        let (connection, login) = delegated_login(sandbox);
        let response =
            call!(calls, AuthRequestsApi::set_user(auth_requests, &connection, &login.id, &user));
        response.await.unwrap();
        let url =
            call!(calls, AuthRequestsApi::callback_url(auth_requests, &connection, &login.state));
        url.unwrap();
    }
}

/// A login that a client has begun, and that is delegated to the app's own login page at this
/// connection.
fn delegated_login(sandbox: &Sandbox) -> (String, LoginRequest) {
    let (resource, client) = (sandbox.mcp().resource_id(), "https://editor.test/client.json");
    let connection = sandbox.mcp().set_own_login(&resource, "https://app.test/login").unwrap();
    let document = json!({
        "client_id": client,
        "redirect_uris": ["http://127.0.0.1/callback"],
        "token_endpoint_auth_method": "none",
    });
    sandbox.mcp().add_client_metadata_document(client, document);
    let mut url = format!("{}/resources/{resource}/oauth/authorize", sandbox.environment_url());
    let parameters = [
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", "http://127.0.0.1/callback"),
        ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        ("code_challenge_method", "S256"),
    ];
    for (index, (name, value)) in parameters.iter().enumerate() {
        url += &format!("{}{name}={value}", if index == 0 { '?' } else { '&' });
    }
    let redirect = sandbox.log_in(&url, JOHN).unwrap();
    let (_, query) = redirect.split_once('?').unwrap();
    (connection, LoginRequest::from_query(query).unwrap())
}

/// Requests that the sandbox rejects: unauthenticated, not found, invalid, and too many.
pub(super) async fn fail(sandbox: &Sandbox, client: &Recorder) {
    let api = sandbox.scalekit();
    let token = api.client_credentials(&[]).await.unwrap().access_token;
    let bearer = format!("Bearer {}", token.expose());
    let jane = sandbox.users().get(JANE).unwrap().id;
    let sessions = format!("/api/v1/users/{jane}/sessions");
    for (authorization, path, status) in [
        ("Bearer nobodys", "/api/v1/organizations", StatusCode::UNAUTHORIZED),
        (&bearer, "/api/v1/organizations/org_404", StatusCode::NOT_FOUND),
        (&bearer, "/api/v1/organizations/no-id", StatusCode::BAD_REQUEST),
        (&bearer, "/api/v1/organizations:external/nobodys", StatusCode::NOT_FOUND),
        (&bearer, "/api/v1/sessions/ses_404", StatusCode::NOT_FOUND),
        (&bearer, "/api/v1/organizations?page_token=none", StatusCode::BAD_REQUEST),
        (&bearer, &format!("{sessions}?page_token=none"), StatusCode::BAD_REQUEST),
    ] {
        let request = Request::get(format!("{}{path}", sandbox.environment_url()))
            .header("authorization", authorization)
            .body(Bytes::new())
            .unwrap();
        assert_eq!(client.send(request).await.unwrap().status(), status, "{path}");
    }
    sandbox.faults().add_times(Endpoint::Api, 1, Fault::Status(StatusCode::TOO_MANY_REQUESTS));
    let request = Request::get(format!("{}{sessions}", sandbox.environment_url()))
        .header("authorization", &bearer)
        .body(Bytes::new())
        .unwrap();
    assert_eq!(client.send(request).await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
}
