//! The fields of a form or a script's JSON.

use std::collections::BTreeMap;
use std::error::Error as StdError;

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::Body;
use serde_json::Value;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::rejection::PasswordlessLoginError;
use crate::middleware::body_limits::BodyLimits;
use crate::middleware::replay_body::read_body;
use crate::util::json::parse_object;

pub(super) struct Fields(BTreeMap<String, Zeroizing<String>>);

impl Fields {
    /// Reads a form or a JSON object of strings, without repeated fields.
    pub(super) async fn read<B>(
        headers: &HeaderMap,
        body: B,
        limits: &BodyLimits,
    ) -> Result<Self, PasswordlessLoginError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let parse = match media_type(headers).as_deref() {
            Some("application/x-www-form-urlencoded") => Self::from_form,
            Some("application/json") => Self::from_json,
            _ => return Err(PasswordlessLoginError::InvalidRequest),
        };
        parse(&read_body(body, limits).await?).ok_or(PasswordlessLoginError::InvalidRequest)
    }

    /// Returns a field; an empty one counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.sent(name).filter(|value| !value.is_empty())
    }

    /// Returns a field, even if it is empty.
    pub(super) fn sent(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str())
    }

    fn from_form(body: &[u8]) -> Option<Self> {
        let mut fields = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(body) {
            if fields.insert(name.into_owned(), Zeroizing::new(value.into_owned())).is_some() {
                return None;
            }
        }
        Some(Self(fields))
    }

    fn from_json(body: &[u8]) -> Option<Self> {
        let mut fields = BTreeMap::new();
        for (name, value) in parse_object(body).ok()? {
            match value {
                Value::Null => {}
                Value::String(value) => {
                    fields.insert(name, Zeroizing::new(value));
                }
                _ => return None,
            }
        }
        Some(Self(fields))
    }
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    let media_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?.split(';').next()?;
    Some(media_type.trim().to_ascii_lowercase())
}
