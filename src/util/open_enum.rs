//! Enums that keep unknown values.

/// Defines an enum of Scalekit's values, whose last variant holds values that this version does not
/// know.
macro_rules! open_enum {
    (
        $(#[$meta:meta])*
        $name:ident {
            $($(#[$doc:meta])* $variant:ident = $word:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $variant,)+
            /// A value that this version does not know.
            Unknown(String),
        }

        impl $name {
            /// The value as Scalekit writes it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Unknown(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            /// Ignores case.
            fn from(word: &str) -> Self {
                $(if word.eq_ignore_ascii_case($word) {
                    return Self::$variant;
                })+
                Self::Unknown(word.to_owned())
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use open_enum;

#[cfg(test)]
mod tests {
    use crate::model::DirectoryProvider;

    #[test]
    fn known_values_ignore_case_and_unknown_ones_are_kept() {
        assert_eq!(DirectoryProvider::from("OKTA"), DirectoryProvider::Okta);
        assert_eq!(DirectoryProvider::from("microsoft_ad"), DirectoryProvider::MicrosoftAd);
        let other = DirectoryProvider::from("Keycloak");
        assert_eq!(other, DirectoryProvider::Unknown("Keycloak".to_owned()));
        assert_eq!(other.to_string(), "Keycloak");
        assert_eq!(DirectoryProvider::PingIdentity.as_str(), "PING_IDENTITY");
    }
}
