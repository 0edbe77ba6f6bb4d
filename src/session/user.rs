use crate::token::Claims;

/// Profile of a person, from the ID token of the login (OpenID Connect Core section 5.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// The person's id (`usr_…`); the claim `sub`.
    pub id: String,
    /// E-mail address; empty when the scope `email` was not asked for.
    pub email: String,
    /// Whether the environment has checked that the address is theirs.
    pub email_verified: bool,
    /// Full name.
    pub name: Option<String>,
    /// First name.
    pub given_name: Option<String>,
    /// Last name.
    pub family_name: Option<String>,
    /// The name they log in with at their identity provider.
    pub preferred_username: Option<String>,
    /// Address of a picture.
    pub picture: Option<String>,
    /// Language and region, as in `en-GB`.
    pub locale: Option<String>,
    /// Phone number.
    pub phone_number: Option<String>,
}

impl User {
    /// The name to show: the full name, or else the e-mail address, or else the id.
    #[must_use]
    pub fn display_name(&self) -> &str {
        let name = self.name.as_deref().filter(|name| !name.is_empty());
        name.or(Some(self.email.as_str()).filter(|email| !email.is_empty())).unwrap_or(&self.id)
    }

    /// Reads what can be read: a claim of another shape is left out, because a profile decides
    /// nothing.
    pub(super) fn from_claims(claims: &Claims) -> Self {
        let text = |name| claims.text(name).ok().flatten().map(str::to_owned);
        let verified = claims.members().get("email_verified");
        Self {
            id: text("sub").unwrap_or_default(),
            email: text("email").unwrap_or_default(),
            email_verified: verified.and_then(serde_json::Value::as_bool).unwrap_or_default(),
            name: text("name"),
            given_name: text("given_name"),
            family_name: text("family_name"),
            preferred_username: text("preferred_username"),
            picture: text("picture"),
            locale: text("locale"),
            phone_number: text("phone_number"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_profile_is_read_as_far_as_it_goes() {
        let claims =
            json!({"sub": "usr_1", "email": "a@b.test", "email_verified": true, "name": 7});
        let user = User::from_claims(&Claims::new(claims.as_object().unwrap().clone()));
        assert_eq!((user.id.as_str(), user.email_verified, &user.name), ("usr_1", true, &None));
        assert_eq!(user.display_name(), "a@b.test");
        assert_eq!(User { id: "usr_1".into(), ..User::default() }.display_name(), "usr_1");
        let named = User { name: Some("Jane".into()), ..user };
        assert_eq!(named.display_name(), "Jane");
    }
}
