use serde::{Deserialize, Serialize};

use crate::model::wire;

/// State of a connection or directory after it was enabled or disabled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct EnabledState {
    /// Whether users can sign in through the connection, or the directory is synchronized.
    pub enabled: Option<bool>,
    /// A message of the environment, for instance that the state was the same before.
    #[serde(deserialize_with = "wire::text")]
    pub error_message: Option<String>,
}
