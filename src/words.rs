//! Words of a set that may grow.

/// An enum of the environment's words, whose last variant keeps what this version does not know.
macro_rules! words {
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

pub(crate) use words;

#[cfg(test)]
mod tests {
    words! {
        /// The colour of a door.
        Colour {
            /// As grass.
            Green = "GREEN",
            /// As the sky.
            LightBlue = "LIGHT_BLUE",
        }
    }

    #[test]
    fn a_word_is_known_in_any_case_and_kept_when_it_is_not() {
        assert_eq!(Colour::from("GREEN"), Colour::Green);
        assert_eq!(Colour::from("light_blue"), Colour::LightBlue);
        let pink = Colour::from("Pink");
        assert_eq!(pink, Colour::Unknown("Pink".to_owned()));
        assert_eq!((pink.to_string().as_str(), Colour::Green.as_str()), ("Pink", "GREEN"));
    }
}
