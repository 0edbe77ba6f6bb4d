//! MCP configurations.

use crate::sandbox::state::State;
use crate::sandbox::state::ids::{new_id, random_uuid};

#[derive(Clone, Debug)]
pub(crate) struct McpConfig {
    pub(crate) id: String,
    /// The last segment of its server's URL.
    pub(crate) server_id: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) mappings: Vec<ToolMapping>,
}

/// The tools of a connection.
#[derive(Clone, Debug)]
pub(crate) struct ToolMapping {
    pub(crate) connection_name: String,
    /// Empty: all.
    pub(crate) tools: Vec<String>,
}

impl McpConfig {
    pub(crate) fn new(name: String) -> Self {
        Self {
            id: new_id("cfg"),
            server_id: random_uuid(),
            name,
            description: String::new(),
            mappings: Vec::new(),
        }
    }
}

impl ToolMapping {
    pub(crate) fn has(&self, tool_name: &str) -> bool {
        self.tools.is_empty() || self.tools.iter().any(|name| name == tool_name)
    }
}

impl State {
    pub(crate) fn mcp_server_url(&self, config: &McpConfig) -> String {
        format!("{}/mcp/v3/servers/{}", self.environment_url, config.server_id)
    }
}
