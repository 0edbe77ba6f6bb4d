use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::model::lenient::flag_of;
use crate::token::Claims;
use crate::util::diagnosis::Shown;

/// A user's profile, from the ID token of the login (OpenID Connect Core section 5.1), or set by
/// the app for a [`LocalSession`](super::LocalSession).
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct User {
    /// The user's ID (`usr_…`); the claim `sub`.
    pub id: String,
    /// E-mail address; empty when the scope `email` was not requested.
    pub email: String,
    /// Whether the environment has verified that the address belongs to the user.
    pub email_verified: bool,
    /// Full name.
    pub name: Option<String>,
    /// First name.
    pub given_name: Option<String>,
    /// Last name.
    pub family_name: Option<String>,
    /// The user name at the identity provider.
    pub preferred_username: Option<String>,
    /// URL of a picture.
    pub picture: Option<String>,
    /// Language and region, as in `en-GB`.
    pub locale: Option<String>,
    /// Phone number.
    pub phone_number: Option<String>,
}

// Manual impl: handlers log it, and a log must not contain e-mail addresses.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("id", &format_args!("{}", Shown(&self.id)))
            .finish_non_exhaustive()
    }
}

impl User {
    /// Returns the full name, or else the e-mail address, or else the ID.
    #[must_use]
    pub fn display_name(&self) -> &str {
        [self.name.as_deref().unwrap_or_default(), &self.email]
            .into_iter()
            .find(|name| !name.is_empty())
            .unwrap_or(&self.id)
    }

    /// Returns the claims that `from_claims` reads, without empty ones.
    pub(super) fn to_claims(&self) -> Map<String, Value> {
        [
            ("sub", Some(&self.id)),
            ("email", Some(&self.email)),
            ("name", self.name.as_ref()),
            ("given_name", self.given_name.as_ref()),
            ("family_name", self.family_name.as_ref()),
            ("preferred_username", self.preferred_username.as_ref()),
            ("picture", self.picture.as_ref()),
            ("locale", self.locale.as_ref()),
            ("phone_number", self.phone_number.as_ref()),
        ]
        .into_iter()
        .filter_map(|(name, text)| Some((name, text.filter(|text| !text.is_empty())?)))
        .map(|(name, text)| (name.to_owned(), Value::from(text.as_str())))
        .chain(self.email_verified.then(|| ("email_verified".to_owned(), Value::Bool(true))))
        .collect()
    }

    /// Reads the profile. A claim of an unexpected type is left out, because a profile authorizes
    /// nothing.
    pub(super) fn from_claims(claims: &Claims) -> Self {
        Self {
            id: text(claims, "sub").unwrap_or_default(),
            email: text(claims, "email").unwrap_or_default(),
            // Some identity providers send a string.
            email_verified: claims
                .value("email_verified")
                .as_ref()
                .and_then(flag_of)
                .unwrap_or_default(),
            name: text(claims, "name"),
            given_name: text(claims, "given_name"),
            family_name: text(claims, "family_name"),
            preferred_username: text(claims, "preferred_username"),
            picture: text(claims, "picture"),
            locale: text(claims, "locale"),
            phone_number: text(claims, "phone_number"),
        }
    }
}

fn text(claims: &Claims, name: &str) -> Option<String> {
    claims.text_or_none(name).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn email_verified_may_be_a_string() {
        for (value, verified) in [
            (json!("true"), true),
            (json!("True"), true),
            (json!("false"), false),
            (json!("yes"), false),
            (json!(1), false),
            (json!(null), false),
        ] {
            let claims = json!({"sub": "usr_1", "email_verified": value});
            let user = User::from_claims(&Claims::new(claims.as_object().unwrap().clone()));
            assert_eq!(user.email_verified, verified, "{value}");
        }
    }

    #[test]
    fn claims_of_unexpected_types_are_left_out_of_a_profile() {
        let claims =
            json!({"sub": "usr_1", "email": "a@b.test", "email_verified": true, "name": 7});
        let user = User::from_claims(&Claims::new(claims.as_object().unwrap().clone()));
        assert_eq!((user.id.as_str(), user.email_verified, &user.name), ("usr_1", true, &None));
        assert_eq!(user.display_name(), "a@b.test");
        assert_eq!(User { id: "usr_1".into(), ..User::default() }.display_name(), "usr_1");
        assert_eq!(User::from_claims(&Claims::new(user.to_claims())), user);
        let named = User { name: Some("Jane".into()), ..user };
        assert_eq!(named.display_name(), "Jane");
    }
}
