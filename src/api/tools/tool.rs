use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::model::wire;

/// A tool with its definition for models.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Tool {
    /// Its ID.
    #[serde(deserialize_with = "wire::text")]
    pub id: Option<String>,
    /// The service, for instance `GMAIL`.
    #[serde(deserialize_with = "wire::text")]
    pub provider: Option<String>,
    /// Its `name`, `description`, `input_schema` and `annotations`.
    #[serde(deserialize_with = "wire::or_default")]
    pub definition: Map<String, Value>,
    /// Further metadata.
    #[serde(deserialize_with = "wire::or_default")]
    pub metadata: Map<String, Value>,
    /// Tags.
    #[serde(deserialize_with = "wire::or_default")]
    pub tags: Vec<String>,
    /// Whether it is the default version.
    #[serde(deserialize_with = "wire::or_default")]
    pub is_default: bool,
    /// Time of the last change.
    #[serde(with = "wire::timestamp")]
    pub updated_at: Option<OffsetDateTime>,
}

impl Tool {
    /// The name for [`execute`](super::ToolsApi::execute).
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.text("name")
    }

    /// What the tool does, for models.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.text("description")
    }

    /// The JSON Schema of its input, which is an object. Without one in the definition: any object.
    #[must_use]
    pub fn input_schema(&self) -> Map<String, Value> {
        // `input` is the name in the example of Scalekit's OpenAPI document.
        let mut schema = ["input_schema", "input"]
            .into_iter()
            .find_map(|name| self.definition.get(name)?.as_object())
            .cloned()
            .unwrap_or_default();
        schema.entry("type").or_insert_with(|| "object".into());
        // Models reject the schema of an object without properties.
        schema.entry("properties").or_insert_with(|| json!({}));
        schema
    }

    /// What the tool may do at its service. Hints that the definition does not contain are `None`.
    #[must_use]
    pub fn annotations(&self) -> ToolAnnotations {
        self.definition
            .get("annotations")
            // If any hint is malformed, none is trusted.
            .and_then(|given| ToolAnnotations::deserialize(given).ok())
            .unwrap_or_default()
    }

    /// Whether the tool is annotated as one that changes nothing. Tools without the annotation are
    /// not.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.annotations().read_only_hint == Some(true)
    }

    /// The definition as a model expects it; `None` if the tool has no name.
    /// [`Toolset::definitions`](super::Toolset::definitions) has those of several tools, with names
    /// that models accept.
    #[must_use]
    pub fn to_definition(&self, format: ToolFormat) -> Option<Value> {
        Some(self.named(self.name()?, self.description(), format))
    }

    /// The definition with another name and description.
    pub(super) fn named(&self, name: &str, description: Option<&str>, format: ToolFormat) -> Value {
        let schema_name = match format {
            ToolFormat::Anthropic => "input_schema",
            ToolFormat::Mcp => "inputSchema",
            ToolFormat::OpenAi | ToolFormat::OpenAiResponses => "parameters",
        };
        let mut definition = Map::from_iter([
            ("name".to_owned(), name.into()),
            (schema_name.to_owned(), self.input_schema().into()),
        ]);
        if let Some(description) = description {
            definition.insert("description".to_owned(), description.into());
        }
        match format {
            ToolFormat::Anthropic => {}
            ToolFormat::Mcp => {
                let annotations = self.annotations().to_mcp();
                if !annotations.is_empty() {
                    definition.insert("annotations".to_owned(), annotations.into());
                }
            }
            ToolFormat::OpenAi => return json!({ "type": "function", "function": definition }),
            ToolFormat::OpenAiResponses => {
                definition.insert("type".to_owned(), "function".into());
                // A strict schema would have to require all properties.
                definition.insert("strict".to_owned(), false.into());
            }
        }
        definition.into()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.definition.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }
}

/// How a model expects the definition of a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ToolFormat {
    /// An item of `tools` in Anthropic's Messages API.
    Anthropic,
    /// A tool of the Model Context Protocol, for instance for `rmcp::model::Tool`.
    Mcp,
    /// An item of `tools` in OpenAI's Chat Completions API, which other providers offer, too.
    OpenAi,
    /// An item of `tools` in OpenAI's Responses API.
    OpenAiResponses,
}

/// What a tool may do at its service: the hints of the Model Context Protocol.
///
/// They come from Scalekit's catalog, or from the author of a custom tool. Do not rely on those of
/// an author whom you do not trust.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ToolAnnotations {
    /// A name for people.
    #[serde(deserialize_with = "wire::text")]
    pub title: Option<String>,
    /// Whether it changes nothing.
    #[serde(alias = "readOnlyHint")]
    pub read_only_hint: Option<bool>,
    /// Whether it may delete or overwrite something.
    #[serde(alias = "destructiveHint")]
    pub destructive_hint: Option<bool>,
    /// Whether a repetition with the same arguments has no further effect.
    #[serde(alias = "idempotentHint")]
    pub idempotent_hint: Option<bool>,
    /// Whether it interacts with others than the user.
    #[serde(alias = "openWorldHint")]
    pub open_world_hint: Option<bool>,
}

impl ToolAnnotations {
    fn to_mcp(&self) -> Map<String, Value> {
        [
            ("title", self.title.as_deref().map(Value::from)),
            ("readOnlyHint", self.read_only_hint.map(Value::from)),
            ("destructiveHint", self.destructive_hint.map(Value::from)),
            ("idempotentHint", self.idempotent_hint.map(Value::from)),
            ("openWorldHint", self.open_world_hint.map(Value::from)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
    }
}

/// A tool for one of a user's accounts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ScopedTool {
    /// The account (`ca_…`).
    #[serde(deserialize_with = "wire::text")]
    pub connected_account_id: Option<String>,
    /// Your app's identifier of the user.
    #[serde(deserialize_with = "wire::text")]
    pub identifier: Option<String>,
    /// The tool.
    #[serde(deserialize_with = "wire::or_default")]
    pub tool: Tool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(definition: Value) -> Tool {
        serde_json::from_value(json!({ "definition": definition })).unwrap()
    }

    #[test]
    fn a_definition_has_the_form_of_each_model() {
        let schema = json!({
            "type": "object", "required": ["text"], "properties": { "text": { "type": "string" } },
        });
        let send = tool(json!({
            "name": "slack_send_message", "description": "Send a message.", "input_schema": schema,
            "annotations": { "title": "Send", "read_only_hint": false, "open_world_hint": true },
        }));
        let of = |format| send.to_definition(format).unwrap();
        let (name, description) = ("slack_send_message", "Send a message.");
        assert_eq!(
            of(ToolFormat::OpenAi),
            json!({ "type": "function", "function": {
                "name": name, "description": description, "parameters": schema,
            }})
        );
        assert_eq!(
            of(ToolFormat::OpenAiResponses),
            json!({
                "type": "function", "name": name, "description": description,
                "parameters": schema, "strict": false,
            })
        );
        assert_eq!(
            of(ToolFormat::Anthropic),
            json!({ "name": name, "description": description, "input_schema": schema })
        );
        let mcp = of(ToolFormat::Mcp);
        assert_eq!(
            mcp,
            json!({
                "name": name, "description": description, "inputSchema": schema,
                "annotations": { "title": "Send", "readOnlyHint": false, "openWorldHint": true },
            })
        );
        let parsed: rmcp::model::Tool = serde_json::from_value(mcp).unwrap();
        assert_eq!(
            (&*parsed.name, parsed.annotations.unwrap().read_only_hint),
            (name, Some(false))
        );
        assert!(!send.is_read_only());
    }

    #[test]
    fn a_schema_is_always_that_of_an_object() {
        let empty = json!({ "type": "object", "properties": {} });
        for definition in [
            json!({}),
            json!({ "input_schema": null }),
            json!({ "input_schema": "none" }),
            json!({ "input_schema": {} }),
            json!({ "input": { "type": "object" } }),
        ] {
            assert_eq!(Value::from(tool(definition.clone()).input_schema()), empty, "{definition}");
        }
        assert_eq!(tool(json!({ "name": "" })).to_definition(ToolFormat::Mcp), None);
        assert_eq!(
            tool(json!({ "name": "x" })).to_definition(ToolFormat::Mcp).unwrap(),
            json!({ "name": "x", "inputSchema": empty })
        );
    }

    #[test]
    fn only_a_clear_annotation_makes_a_tool_read_only() {
        for (annotations, is_read_only) in [
            (json!({ "read_only_hint": true }), true),
            (json!({ "readOnlyHint": true }), true),
            (json!({ "read_only_hint": false }), false),
            (json!({ "read_only_hint": null }), false),
            (json!({ "read_only_hint": "true" }), false),
            (json!({ "read_only_hint": true, "destructive_hint": "yes" }), false),
            (json!({}), false),
            (json!(true), false),
            (Value::Null, false),
        ] {
            let tool = tool(json!({ "name": "x", "annotations": annotations }));
            assert_eq!(tool.is_read_only(), is_read_only, "{annotations}");
        }
    }
}
