//! Words of a set that may grow.

/// An enum of the environment's words, whose last variant keeps what this version does not know.
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
            /// A word this version does not know, as the environment writes it.
            Unknown(String),
        }

        impl $name {
            /// The environment's word for it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Unknown(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            /// In whatever case.
            fn from(word: &str) -> Self {
                $(if word.eq_ignore_ascii_case($word) {
                    return Self::$variant;
                })+
                Self::Unknown(word.to_owned())
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
    use crate::api::directories::DirectoryProvider;

    #[test]
    fn a_word_is_known_in_any_case_and_kept_when_it_is_not() {
        assert_eq!(DirectoryProvider::from("OKTA"), DirectoryProvider::Okta);
        assert_eq!(DirectoryProvider::from("microsoft_ad"), DirectoryProvider::MicrosoftAd);
        let other = DirectoryProvider::from("Keycloak");
        assert_eq!(other, DirectoryProvider::Unknown("Keycloak".to_owned()));
        assert_eq!(other.to_string(), "Keycloak");
        assert_eq!(DirectoryProvider::PingIdentity.as_str(), "PING_IDENTITY");
    }
}
