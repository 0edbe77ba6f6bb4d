//! Connections, and links to the admin portal.

use tower_scalekit::Sandbox;
use tower_scalekit::api::Api;
use tower_scalekit::api::connections::ConnectionsApi;
use tower_scalekit::api::organizations::{OrganizationsApi, PortalFeature};

use super::calls::{Calls, call};

impl Calls {
    pub(super) async fn single_sign_on(&mut self, api: &Api, sandbox: &Sandbox) {
        let calls = self;
        let acme = sandbox.organizations().list()[0].clone();
        let connections = &api.connections();
        let all = call!(calls, ConnectionsApi::list(connections)).await.unwrap();
        assert_eq!(all.len(), sandbox.connections().list().len());
        let own = call!(calls, ConnectionsApi::list_by_organization(connections, &acme.id))
            .await
            .unwrap();
        assert_eq!(own.len(), 1);
        let id = &own[0].id;
        let domain = &acme.domains[0];
        let of_domain = call!(calls, ConnectionsApi::list_by_domain(connections, domain));
        assert_eq!(of_domain.await.unwrap().len(), 1);
        let enabled = call!(calls, ConnectionsApi::enabled_for_domain(connections, domain));
        assert_eq!(enabled.await.unwrap().len(), 1);
        let address = format!("jane@{domain}");
        let enabled = call!(calls, ConnectionsApi::enabled_for_email(connections, &address));
        assert_eq!(enabled.await.unwrap().len(), 1);

        call!(calls, ConnectionsApi::disable(connections, &acme.id, id)).await.unwrap();
        assert_eq!(connections.enabled_for_domain(domain).await.unwrap(), []);
        call!(calls, ConnectionsApi::enable(connections, &acme.id, id)).await.unwrap();
        call!(calls, ConnectionsApi::get(connections, &acme.id, id)).await.unwrap();
        call!(calls, ConnectionsApi::delete(connections, &acme.id, id)).await.unwrap();
        connections.get(&acme.id, id).await.unwrap_err();

        let organizations = &api.organizations();
        let features = [PortalFeature::Sso, PortalFeature::DirSync];
        call!(calls, OrganizationsApi::portal_link(organizations, &acme.id, &features))
            .await
            .unwrap();
        organizations.portal_link(&acme.id, &[]).await.unwrap();
    }
}
