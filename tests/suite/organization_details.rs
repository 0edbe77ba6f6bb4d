//! Domains and machine clients, as they agree with login and tokens.

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::{Request, Response, StatusCode};
use tower_scalekit::api::Api;
use tower_scalekit::api::organization_clients::ClientSettings;
use tower_scalekit::api::organizations::PortalFeature;
use tower_scalekit::http_client::HttpClient as _;
use tower_scalekit::model::{DomainType, DomainVerificationStatus};
use tower_scalekit::secret::SecretString;

use crate::deprovisioning::organization_id;
use crate::support::{Reading as _, World};

fn api(world: &World) -> Api {
    world.sandbox.scalekit().api()
}

async fn request(world: &World, method: &str, target: &str, form: &str) -> Response<Bytes> {
    let target = target.strip_prefix(&world.sandbox.environment_url()).unwrap_or(target);
    let request = Request::builder()
        .method(method)
        .uri(format!("{}{target}", world.sandbox.environment_url()))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Bytes::from(form.to_owned()))
        .unwrap();
    world.sandbox.client().send(request).await.unwrap()
}

#[tokio::test]
async fn a_domain_routes_to_the_identity_provider_once_an_administrator_has_verified_it() {
    let world = World::new();
    let api = api(&world);
    let acme = organization_id(&world, "Acme");
    let kind = DomainType::OrganizationDomain;
    let domain = api.domains().create(&acme, "acme.example", kind).await.unwrap();
    let connections = api.connections();
    assert_eq!(connections.enabled_for_email("ada@acme.example").await.unwrap().len(), 0);

    let link = api.organizations().portal_link(&acme, &[PortalFeature::Sso]).await.unwrap();
    let opened = request(&world, "GET", link.location.expose(), "").await;
    let portal = opened.location().to_owned();
    let page = request(&world, "GET", &portal, "").await;
    assert!(page.text().contains("acme.example") && page.text().contains("Verify"));
    let form = format!("action=enable&id={}", domain.id);
    let verified = request(&world, "POST", &portal, &form).await;
    assert_eq!(verified.status(), StatusCode::SEE_OTHER, "{}", verified.text());

    let domain = api.domains().get(&acme, &domain.id).await.unwrap();
    assert_eq!(domain.verification_status, Some(DomainVerificationStatus::Verified));
    let found = connections.enabled_for_email("ada@acme.example").await.unwrap();
    assert_eq!(found.len(), 1);
    let mut browser = world.browser();
    let login = browser.start_login("/login?login_hint=ada%40acme.example").await;
    assert!(request(&world, "GET", &login, "").await.text().contains("Okta"));

    api.domains().delete(&acme, &domain.id).await.unwrap();
    assert_eq!(connections.enabled_for_email("ada@acme.example").await.unwrap().len(), 0);
    let all: Vec<_> = api.domains().list(&acme).stream().try_collect().await.unwrap();
    assert_eq!(all.len(), 1);
}

#[tokio::test]
async fn a_machine_client_gets_tokens_with_each_of_its_secrets() {
    let world = World::new();
    let api = api(&world);
    let acme = organization_id(&world, "Acme");
    let clients = api.organization_clients(&acme);
    let mut settings = ClientSettings::new("Deployment");
    settings.audience = Some(vec!["https://api.example.com".to_owned()]);
    settings.scopes = Some(vec!["deploy".to_owned()]);
    let claims = [("team", "alpha"), ("oid", "org_other")];
    let claims = claims.map(|(name, value)| (name.to_owned(), value.to_owned()));
    settings.custom_claims = Some(claims.into());
    let created = clients.create(&settings).await.unwrap();
    let id = &created.client.client_id;
    let token = async |secret: &SecretString| {
        let form = format!(
            "grant_type=client_credentials&client_id={id}&client_secret={}",
            secret.expose()
        );
        request(&world, "POST", "/oauth/token", &form).await
    };
    let second = clients.create_secret(id).await.unwrap();
    for secret in [&created.plain_secret, &second.plain_secret] {
        let response = token(secret).await;
        let verifier = world
            .sandbox
            .scalekit()
            .token_verifier()
            .audience("https://api.example.com")
            .build()
            .unwrap();
        let access_token = response.json()["access_token"].as_str().unwrap().to_owned();
        let principal = verifier.verify(&access_token).await.unwrap();
        assert_eq!(principal.organization_id(), Some(acme.as_str()));
        assert_eq!(
            (principal.subject(), principal.scopes()),
            (id.as_str(), &["deploy".to_owned()][..])
        );
        assert_eq!(principal.raw_claims()["team"], "alpha");
    }
    clients.delete_secret(id, &created.client.secrets[0].id).await.unwrap();
    assert_eq!(token(&created.plain_secret).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(token(&second.plain_secret).await.status(), StatusCode::OK);
    clients.delete_secret(id, &second.secret.id).await.unwrap();
    assert_eq!(token(&second.plain_secret).await.status(), StatusCode::UNAUTHORIZED);
}
