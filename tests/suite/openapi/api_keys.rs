//! API keys.

use futures::TryStreamExt as _;
use time::Duration;
use tower_scalekit::Sandbox;
use tower_scalekit::api::api_keys::{ApiKeyUpdate, ApiKeysApi, NewApiKey};

use super::calls::{Calls, call};
use crate::support::JANE;

impl Calls {
    pub(super) async fn api_keys(&mut self, api_keys: &ApiKeysApi, sandbox: &Sandbox) {
        let calls = self;
        let jane = sandbox.users().get(JANE).unwrap();
        let mut new = NewApiKey::new(&jane.organization_id);
        new.user_id = Some(jane.id.clone());
        new.description = Some("Deployment".to_owned());
        new.custom_claims = [("team".to_owned(), "alpha".to_owned())].into();
        new.expiry = Some(sandbox.clock().clock().now() + Duration::days(1));
        let created = call!(calls, ApiKeysApi::create(api_keys, &new)).await.unwrap();
        let token = created.token.expose();
        let key = call!(calls, ApiKeysApi::validate(api_keys, token)).await.unwrap();
        assert_eq!(created.token_info.as_ref(), Some(&key));
        assert_eq!((&key.roles, &key.custom_claims), (&jane.roles, &new.custom_claims));
        assert_eq!(key.email.as_deref(), Some(JANE));
        assert!(token.ends_with(key.token_suffix.as_deref().unwrap()));

        let mut update = ApiKeyUpdate::default();
        update.description = Some(String::new());
        update.custom_claims = [("team".to_owned(), String::new())].into();
        let changed =
            call!(calls, ApiKeysApi::update(api_keys, &key.token_id, &update)).await.unwrap();
        assert_eq!((changed.description, changed.custom_claims.len()), (None, 0));
        api_keys.create(&NewApiKey::new(&jane.organization_id)).await.unwrap();
        let all = call!(calls, ApiKeysApi::list(api_keys, &jane.organization_id)).page_size(1);
        assert_eq!(all.stream().try_collect::<Vec<_>>().await.unwrap().len(), 2);
        let own =
            call!(calls, ApiKeysApi::list_for_user(api_keys, &jane.organization_id, &jane.id));
        assert_eq!(own.stream().try_collect::<Vec<_>>().await.unwrap().len(), 1);
        call!(calls, ApiKeysApi::invalidate(api_keys, token)).await.unwrap();
        api_keys.invalidate(&key.token_id).await.unwrap();
        api_keys.validate(token).await.unwrap_err();
    }
}
