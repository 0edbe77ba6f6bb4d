//! Settings, domains and machine clients of organizations.

use std::time::Duration;

use futures::TryStreamExt as _;
use tower_scalekit::Sandbox;
use tower_scalekit::api::Api;
use tower_scalekit::api::domains::DomainsApi;
use tower_scalekit::api::organization_clients::{ClientSettings, OrganizationClientsApi};
use tower_scalekit::api::organizations::{OrganizationsApi, SessionPolicy};
use tower_scalekit::model::{DomainType, DomainVerificationStatus};

use super::calls::{Calls, call};

impl Calls {
    pub(super) async fn organization_details(&mut self, api: &Api, sandbox: &Sandbox) {
        let calls = self;
        let globex = &sandbox.organizations().list()[1].id;
        let organizations = &api.organizations();
        let changed =
            call!(calls, OrganizationsApi::set_feature(organizations, globex, "sso", false));
        assert!(!changed.await.unwrap().settings.has("sso"));
        organizations.set_feature(globex, "sso", true).await.unwrap();
        organizations.set_feature(globex, "dir_sync", true).await.unwrap();

        let policy = call!(calls, OrganizationsApi::session_policy(organizations, globex));
        assert_eq!(policy.await.unwrap(), SessionPolicy::Application);
        for idle_timeout in [None, Some(Duration::from_secs(1800))] {
            let absolute_timeout = Some(Duration::from_secs(24 * 3600));
            let custom = SessionPolicy::Custom { absolute_timeout, idle_timeout };
            let set =
                call!(calls, OrganizationsApi::set_session_policy(organizations, globex, &custom));
            assert_eq!(set.await.unwrap(), custom);
            assert_eq!(organizations.session_policy(globex).await.unwrap(), custom);
        }
        let application = SessionPolicy::Application;
        organizations.set_session_policy(globex, &application).await.unwrap();
        call!(calls, OrganizationsApi::set_max_users(organizations, globex, 50)).await.unwrap();
        calls.domains(&api.domains(), globex).await;
        calls.clients(&api.organization_clients(globex)).await;
    }

    async fn domains(&mut self, domains: &DomainsApi, organization: &str) {
        let calls = self;
        let kind = DomainType::OrganizationDomain;
        let made =
            call!(calls, DomainsApi::create(domains, organization, "Globex.example", kind.clone()));
        let made = made.await.unwrap();
        assert_eq!(made.domain, "globex.example");
        assert_eq!(made.verification_status, Some(DomainVerificationStatus::Pending));
        domains.create(organization, "globex.example", kind.clone()).await.unwrap_err();
        domains.create(organization, "gmail.com", kind).await.unwrap_err();
        let kind = DomainType::AllowedEmailDomain;
        domains.create(organization, "partner.example", kind).await.unwrap();
        let found = call!(calls, DomainsApi::get(domains, organization, &made.id)).await.unwrap();
        assert_eq!(found, made);
        for size in [1, 2, 3, 100] {
            let all = call!(calls, DomainsApi::list(domains, organization)).page_size(size);
            assert_eq!(all.stream().try_collect::<Vec<_>>().await.unwrap().len(), 3, "{size}");
        }
        call!(calls, DomainsApi::delete(domains, organization, &made.id)).await.unwrap();
        domains.get(organization, &made.id).await.unwrap_err();
    }

    async fn clients(&mut self, clients: &OrganizationClientsApi) {
        let calls = self;
        let mut settings = ClientSettings::new("Deployment");
        settings.description = Some("Deploys".to_owned());
        settings.scopes = Some(vec!["deploy".to_owned()]);
        settings.audience = Some(vec!["https://api.example.com".to_owned()]);
        settings.custom_claims = Some([("team".to_owned(), "alpha".to_owned())].into());
        settings.expiry = Some(Duration::from_secs(3600));
        let created = call!(calls, OrganizationClientsApi::create(clients, &settings));
        let client = created.await.unwrap().client;
        let id = &client.client_id;
        assert_eq!((client.expiry, client.secrets.len()), (Some(3600), 1));
        assert_eq!(Some(&client.custom_claims), settings.custom_claims.as_ref());
        assert_eq!(call!(calls, OrganizationClientsApi::get(clients, id)).await.unwrap(), client);
        let all = call!(calls, OrganizationClientsApi::list(clients)).page_size(10).stream();
        assert_eq!(all.try_collect::<Vec<_>>().await.unwrap(), std::slice::from_ref(&client));
        let renamed = ClientSettings::new("Release");
        let changed =
            call!(calls, OrganizationClientsApi::update(clients, id, &renamed)).await.unwrap();
        assert_eq!((changed.name, changed.scopes), (renamed.name, client.scopes));
        let secret = call!(calls, OrganizationClientsApi::create_secret(clients, id));
        let secret = secret.await.unwrap().secret.id;
        let deleted = call!(calls, OrganizationClientsApi::delete_secret(clients, id, &secret));
        deleted.await.unwrap();
        clients.delete_secret(id, &secret).await.unwrap_err();
        call!(calls, OrganizationClientsApi::delete(clients, id)).await.unwrap();
        clients.get(id).await.unwrap_err();
    }
}
