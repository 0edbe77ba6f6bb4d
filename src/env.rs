//! Environment variables, read the same way for every setting of the crate.
//!
//! White space, line breaks and invisible characters around a value are ignored, and an empty value
//! counts as unset. If the variable `NAME` is unset, the value is read from the file that
//! `NAME_FILE` names, as for secrets of container platforms.
//!
//! ```
//! assert!(tower_scalekit::env::var("TOWER_SCALEKIT_NO_SUCH_VARIABLE")?.is_none());
//! # Ok::<(), tower_scalekit::ConfigError>(())
//! ```

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::mem;
use std::str;

use zeroize::Zeroizing;

use crate::error::{ConfigError, ConfigProblem, Problems};
use crate::secret::SecretString;
use crate::util::pasted;

/// Longer files are rejected.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Returns the value of the environment variable, or of the file that `NAME_FILE` names; `None`
/// when neither is set. See the [module docs](self).
///
/// # Errors
/// Returned when both are set, when the value is not UTF-8, and when the file cannot be read, is
/// empty or has more than 64 KiB. The text names the variable, never its value.
pub fn var(name: &'static str) -> Result<Option<SecretString>, ConfigError> {
    var_from(name, |name| env::var_os(name))
}

/// Returns the values of several settings, or all of their problems at once.
///
/// ```
/// use tower_scalekit::webhook_verify::WebhookSecret;
/// use tower_scalekit::{SessionSecret, env};
///
/// let error = env::all((
///     SessionSecret::from_env("NO_SUCH_SESSION_SECRET"),
///     WebhookSecret::from_env("NO_SUCH_WEBHOOK_SECRET"),
/// ))
/// .unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "NO_SUCH_SESSION_SECRET is not set; NO_SUCH_WEBHOOK_SECRET is not set",
/// );
/// ```
///
/// # Errors
/// Returned when one of them is an error. Lists each problem once.
pub fn all<S: Settings>(settings: S) -> Result<S::Values, ConfigError> {
    settings.collect()
}

/// Several settings for [`all`]: a tuple of two to six results.
pub trait Settings: sealed::Sealed {
    /// The tuple of the values.
    type Values;

    #[doc(hidden)]
    fn collect(self) -> Result<Self::Values, ConfigError>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! settings {
    ($($value:ident)+) => {
        impl<$($value),+> sealed::Sealed for ($(Result<$value, ConfigError>,)+) {}

        #[allow(non_snake_case, reason = "each value is named for its type")]
        impl<$($value),+> Settings for ($(Result<$value, ConfigError>,)+) {
            type Values = ($($value,)+);

            fn collect(self) -> Result<Self::Values, ConfigError> {
                let ($($value,)+) = self;
                let mut problems = Problems::default();
                $(let $value = problems.collect($value);)+
                let values = match ($($value,)+) {
                    ($(Some($value),)+) => Some(($($value,)+)),
                    _ => None,
                };
                problems.without_repeats().finish(values)
            }
        }
    };
}

settings!(A B);
settings!(A B C);
settings!(A B C D);
settings!(A B C D E);
settings!(A B C D E F);

/// Like [`var`], with the given variables in place of the process's.
pub(crate) fn var_from(
    name: &'static str,
    read: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<SecretString>, ConfigError> {
    let Some(bytes) = bytes_from(name, read)? else { return Ok(None) };
    let text = str::from_utf8(&bytes).map_err(|_| ConfigProblem::invalid(name, "is not UTF-8"))?;
    Ok(Some(text.into()))
}

/// Like [`var`], for a value that need not be UTF-8.
pub(crate) fn bytes(name: &'static str) -> Result<Option<Zeroizing<Vec<u8>>>, ConfigError> {
    bytes_from(name, |name| env::var_os(name))
}

fn bytes_from(
    name: &'static str,
    read: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<Zeroizing<Vec<u8>>>, ConfigError> {
    let value = non_empty(read(name));
    let Some(path) = non_empty(read(&format!("{name}_FILE"))) else { return Ok(value) };
    let reason = if value.is_some() {
        format!("is set, and so is {name}_FILE; set only one of the two")
    } else {
        match read_file(&path) {
            Ok(value) if value.is_empty() => format!("the file that {name}_FILE names is empty"),
            Ok(value) => return Ok(Some(value)),
            Err(error) => format!("the file that {name}_FILE names cannot be read: {error}"),
        }
    };
    Err(ConfigProblem::invalid(name, reason).into())
}

fn non_empty(value: Option<OsString>) -> Option<Zeroizing<Vec<u8>>> {
    value.map(|value| trimmed(value.into_encoded_bytes())).filter(|value| !value.is_empty())
}

fn read_file(path: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    let path = str::from_utf8(path).map_err(|_| io::Error::other("its path is not UTF-8"))?;
    let mut value = Zeroizing::new(Vec::new());
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut value)?;
    if value.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("it has more than 64 KiB"));
    }
    Ok(trimmed(mem::take(&mut *value)))
}

fn trimmed(value: Vec<u8>) -> Zeroizing<Vec<u8>> {
    let value = Zeroizing::new(value);
    match str::from_utf8(&value) {
        Ok(text) => Zeroizing::new(pasted::trim(text).into()),
        Err(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let lookup = |name: &str| {
            variables.iter().find(|(set, _)| *set == name).map(|(_, value)| value.into())
        };
        let value = var_from("NAME", lookup).map_err(|error| error.to_string())?;
        Ok(value.map(|value| value.expose().to_owned()))
    }

    /// A file that is deleted on drop.
    struct TempFile(PathBuf);

    impl TempFile {
        fn new(name: &str, content: impl AsRef<[u8]>) -> Self {
            let name = format!("tower-scalekit-{}-{name}", std::process::id());
            let path = env::temp_dir().join(name);
            fs::write(&path, content).unwrap();
            Self(path)
        }

        fn path(&self) -> &str {
            self.0.to_str().unwrap()
        }
    }

    impl Drop for TempFile {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn white_space_around_a_value_is_ignored_and_an_empty_one_is_unset() {
        for value in ["value", " value\n", "\tvalue\r\n", "\u{feff}value\u{a0}"] {
            assert_eq!(read(&[("NAME", value)]), Ok(Some("value".to_owned())), "{value:?}");
        }
        assert_eq!(read(&[("NAME", "a b\nc")]), Ok(Some("a b\nc".to_owned())));
        for variables in [&[][..], &[("NAME", "")], &[("NAME", " \r\n"), ("NAME_FILE", "")]] {
            assert_eq!(read(variables), Ok(None), "{variables:?}");
        }
    }

    #[test]
    fn settings_of_several_parts_are_reported_together() {
        let missing = |setting| ConfigProblem::Missing { setting };
        let failed = |problems: &[&'static str]| -> Result<u8, ConfigError> {
            let mut all = Problems::default();
            problems.iter().for_each(|setting| all.push(missing(setting)));
            all.finish(None)
        };
        assert_eq!(all((Ok(1), Ok("two"), Ok('3'))).unwrap(), (1, "two", '3'));
        let error = all((failed(&["A", "B"]), Ok(()), failed(&["C", "A"]), failed(&["D"])));
        let expected = ["A", "B", "C", "D"].map(missing);
        assert_eq!(error.unwrap_err().problems(), expected);
        assert_eq!(all((failed(&["A"]), failed(&["A"]))).unwrap_err().problems().len(), 1);
    }

    #[test]
    fn a_file_holds_the_value_where_the_variable_is_unset() {
        let file = TempFile::new("value", "\u{feff}from the file\r\n");
        let path = format!(" {}\n", file.path());
        let expected = Ok(Some("from the file".to_owned()));
        assert_eq!(read(&[("NAME_FILE", file.path())]), expected);
        assert_eq!(read(&[("NAME_FILE", &path), ("NAME", " ")]), expected);
        let both = read(&[("NAME_FILE", file.path()), ("NAME", "value")]).unwrap_err();
        assert_eq!(both, "NAME: is set, and so is NAME_FILE; set only one of the two");
    }

    #[test]
    fn an_error_names_the_variable_and_not_the_value() {
        let [empty, long, binary] = [
            TempFile::new("empty", " \n"),
            TempFile::new("long", "x".repeat(64 * 1024 + 1)),
            TempFile::new("binary", b"secret\xff"),
        ];
        for (path, reason) in [
            ("/no/such/secret", "cannot be read"),
            (empty.path(), "empty"),
            (long.path(), "64 KiB"),
            (binary.path(), "not UTF-8"),
        ] {
            let error = read(&[("NAME_FILE", path)]).unwrap_err();
            assert!(error.starts_with("NAME: ") && error.contains(reason), "{error}");
            assert!(!error.contains(path) && !error.contains("secret"), "{error}");
        }
        let lookup = |name: &str| (name == "NAME_FILE").then(|| binary.path().into());
        let bytes = bytes_from("NAME", lookup).unwrap();
        assert_eq!(bytes.as_deref().map(Vec::as_slice), Some(&b"secret\xff"[..]));
    }
}
