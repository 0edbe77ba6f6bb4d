//! An MCP server of the official Rust SDK with the tools, resources and prompts that the official
//! conformance suite expects, and two of an app.

#![expect(deprecated, reason = "the suite tests logging, which earlier revisions have")]

use std::sync::{Arc, Mutex};

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult, ErrorData,
    GetPromptRequestParams, GetPromptResponse, InputRequiredResult, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities, ServerConfig,
    SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter, Tool,
    UnsubscribeRequestParams,
};
use rmcp::service::{RequestContext, SubscriptionContext, SubscriptionSink};
use rmcp::{RoleServer, ServerHandler};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A red pixel, and a sound without samples.
const IMAGE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8/5+hHgAHggJ/PchI7wAAAABJRU5ErkJggg==";
const AUDIO: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=";

/// Requires the scope that the app's second tool has.
pub(crate) const RESTRICTED_TOOL: &str = "add_todo";

const TOOLS: [&str; 28] = [
    RESTRICTED_TOOL,
    "list_todos",
    "test_simple_text",
    "test_image_content",
    "test_audio_content",
    "test_embedded_resource",
    "test_multiple_content_types",
    "test_error_handling",
    "test_tool_with_progress",
    "test_tool_with_logging",
    "test_sampling",
    "test_elicitation",
    "test_elicitation_sep1034_defaults",
    "test_elicitation_sep1330_enums",
    "test_missing_capability",
    "test_streaming_elicitation",
    "test_logging_tool",
    "test_trigger_tool_change",
    "test_trigger_prompt_change",
    "test_reconnection",
    "test_input_required_result_elicitation",
    "test_input_required_result_sampling",
    "test_input_required_result_list_roots",
    "test_input_required_result_request_state",
    "test_input_required_result_multiple_inputs",
    "test_input_required_result_multi_round",
    "test_input_required_result_tampered_state",
    "test_input_required_result_capabilities",
];

#[derive(Clone, Default)]
pub(crate) struct DiagnosticServer {
    subscriptions: Arc<Mutex<Vec<SubscriptionSink>>>,
}

fn parsed<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    let text = value.to_string();
    serde_json::from_value(value)
        .map_err(|error| ErrorData::internal_error(format!("{error}: {text}"), None))
}

/// A list that clients may share: the layer makes it private.
fn list<T: DeserializeOwned>(name: &str, items: Value) -> Result<T, ErrorData> {
    parsed(json!({
        "resultType": "complete", name: items, "ttlMs": 60_000, "cacheScope": "public",
    }))
}

/// A result of a tool or a prompt.
fn complete<T: DeserializeOwned>(mut result: Value) -> Result<T, ErrorData> {
    result["resultType"] = "complete".into();
    parsed(result)
}

fn text(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

fn form(properties: Value) -> Value {
    let schema = json!({"type": "object", "properties": properties});
    let params = json!({"mode": "form", "message": "Required input", "requestedSchema": schema});
    json!({"method": "elicitation/create", "params": params})
}

fn elicitation(name: &str, kind: &str) -> Value {
    form(json!({name: {"type": kind}}))
}

/// Sends a request to the client, which earlier revisions allow. Its response is a request of its
/// own.
async fn ask(context: &RequestContext<RoleServer>, request: Value) -> Result<Value, ErrorData> {
    let response = context.peer.send_request(parsed(request)?).await;
    let failed = |error: String| ErrorData::internal_error(error, None);
    let response = response.map_err(|error| failed(error.to_string()))?;
    serde_json::to_value(response).map_err(|error| failed(error.to_string()))
}

fn sampling(prompt: &str) -> Value {
    let message = json!({"role": "user", "content": {"type": "text", "text": prompt}});
    let params = json!({"messages": [message], "maxTokens": 100});
    json!({"method": "sampling/createMessage", "params": params})
}

fn roots() -> Value {
    json!({"method": "roots/list"})
}

/// A result that requires input.
fn input(requests: Value, state: Option<&str>) -> Result<InputRequiredResult, ErrorData> {
    Ok(InputRequiredResult::new(Some(parsed(requests)?), state.map(str::to_owned)))
}

fn tampered() -> ErrorData {
    ErrorData::invalid_params("requestState is not one of this server", None)
}

impl DiagnosticServer {
    fn sinks(&self) -> Vec<SubscriptionSink> {
        self.subscriptions.lock().unwrap().clone()
    }

    /// The tools that gather input in several requests.
    fn gather(
        request: &CallToolRequestParams,
        capabilities: &Value,
    ) -> Result<CallToolResponse, ErrorData> {
        let responses = serde_json::to_value(&request.input_responses).unwrap_or_default();
        let has = |name: &str| responses[name].is_object();
        let state = request.request_state.as_deref();
        let done = |message: &str| complete(text(message)).map(CallToolResponse::Complete);
        let required = |requests: Value, state: Option<&str>| {
            input(requests, state).map(CallToolResponse::InputRequired)
        };
        let everything = json!({
            "user_name": elicitation("name", "string"),
            "greeting": sampling("Generate a greeting"),
            "client_roots": roots(),
        });
        match request.name.trim_start_matches("test_input_required_result_") {
            "elicitation" if has("user_name") => {
                let name = responses["user_name"]["content"]["name"].as_str().unwrap_or_default();
                done(&format!("Hello, {name}!"))
            }
            "elicitation" => required(json!({"user_name": elicitation("name", "string")}), None),
            "sampling" if has("capital_question") => {
                let answer = &responses["capital_question"]["content"]["text"];
                done(&format!("Sampling response: {answer}"))
            }
            "sampling" => {
                let question = sampling("What is the capital of France?");
                required(json!({"capital_question": question}), None)
            }
            "list_roots" if has("client_roots") => done(&responses["client_roots"].to_string()),
            "list_roots" => required(json!({"client_roots": roots()}), None),
            "request_state" | "tampered_state" => match state {
                None => required(json!({"confirm": elicitation("ok", "boolean")}), Some("confirm")),
                Some("confirm") => done("Confirmed: state-ok"),
                Some(_) => Err(tampered()),
            },
            "multiple_inputs" => match state {
                Some("gather")
                    if ["user_name", "greeting", "client_roots"].iter().all(|name| has(name)) =>
                {
                    done("All inputs received")
                }
                None | Some("gather") => required(everything, Some("gather")),
                Some(_) => Err(tampered()),
            },
            "multi_round" => match state {
                None => required(json!({"step1": elicitation("name", "string")}), Some("round 1")),
                Some("round 1") => {
                    required(json!({"step2": elicitation("color", "string")}), Some("round 2"))
                }
                Some("round 2") => done("Multi-round flow complete"),
                Some(_) => Err(tampered()),
            },
            "capabilities" if responses.is_object() => done("Capability-aware flow complete"),
            "capabilities" => {
                let mut requests = everything;
                for (capability, name) in [
                    ("elicitation", "user_name"),
                    ("sampling", "greeting"),
                    ("roots", "client_roots"),
                ] {
                    if capabilities.get(capability).is_none() {
                        requests.as_object_mut().unwrap().remove(name);
                    }
                }
                required(requests, None)
            }
            other => Err(ErrorData::invalid_params(format!("Unknown tool: {other}"), None)),
        }
    }
}

impl ServerHandler for DiagnosticServer {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_completions()
            .enable_logging()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_tools()
            .enable_tool_list_changed();
        ServerConfig::new(capabilities.build())
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        (name == "test_custom_header").then(|| parsed(custom_header_tool()).unwrap())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        self.subscriptions.lock().unwrap().push(context.sink().clone());
        context.cancelled().await;
        Ok(())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = json!({"type": "object", "properties": {}});
        let plain = |name: &&str| json!({"name": name, "description": name, "inputSchema": schema});
        let mut tools: Vec<_> = TOOLS.iter().map(plain).collect();
        tools.push(custom_header_tool());
        list("tools", json!(tools))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let capabilities = serde_json::to_value(context.meta.client_capabilities());
        let capabilities = capabilities.unwrap_or_default();
        if request.name.starts_with("test_input_required_result_") {
            return Self::gather(&request, &capabilities);
        }
        let image = json!({"type": "image", "data": IMAGE, "mimeType": "image/png"});
        let resource = |uri: &str, mime: &str, text: &str| {
            let resource = json!({"uri": uri, "mimeType": mime, "text": text});
            json!({"type": "resource", "resource": resource})
        };
        let result = match &*request.name {
            "test_simple_text" => text("This is a simple text response for testing."),
            "test_image_content" => json!({"content": [image]}),
            "test_audio_content" => {
                json!({"content": [{"type": "audio", "data": AUDIO, "mimeType": "audio/wav"}]})
            }
            "test_embedded_resource" => {
                let text = "This is an embedded resource content.";
                json!({"content": [resource("test://embedded-resource", "text/plain", text)]})
            }
            "test_multiple_content_types" => {
                let text = r#"{"test":"data","value":123}"#;
                let data = resource("test://mixed-content-resource", "application/json", text);
                let first = json!({"type": "text", "text": "Multiple content types test:"});
                json!({"content": [first, image, data]})
            }
            "test_error_handling" => {
                let text = "This tool intentionally returns an error for testing";
                json!({"isError": true, "content": [{"type": "text", "text": text}]})
            }
            "test_tool_with_progress" => {
                if let Some(token) = context.meta.get_progress_token() {
                    for progress in [0, 50, 100] {
                        let progress = json!({
                            "progressToken": token, "progress": progress, "total": 100,
                        });
                        let _ = context.peer.notify_progress(parsed(progress)?).await;
                    }
                }
                text("Progress test completed")
            }
            "test_tool_with_logging" => {
                for step in ["started", "processing data", "completed"] {
                    let message = json!({"level": "info", "data": format!("Tool {step}")});
                    let _ = context.peer.notify_logging_message(parsed(message)?).await;
                }
                text("Logging test completed")
            }
            "test_sampling" => {
                let prompt = request.arguments.as_ref().and_then(|all| all.get("prompt"));
                let prompt = prompt.and_then(Value::as_str).unwrap_or_default();
                let result = ask(&context, sampling(prompt)).await?;
                text(&format!("LLM response: {}", result["content"]["text"]))
            }
            "test_elicitation" => {
                let user = json!({"username": {"type": "string"}, "email": {"type": "string"}});
                text(&format!("User response: {}", ask(&context, form(user)).await?))
            }
            "test_elicitation_sep1034_defaults" => {
                let statuses = ["active", "inactive", "pending"];
                let defaults = json!({
                    "name": {"type": "string", "default": "John Doe"},
                    "age": {"type": "integer", "default": 30},
                    "score": {"type": "number", "default": 95.5},
                    "status": {"type": "string", "enum": statuses, "default": "active"},
                    "verified": {"type": "boolean", "default": true},
                });
                text(&format!("Elicitation completed: {}", ask(&context, form(defaults)).await?))
            }
            "test_elicitation_sep1330_enums" => {
                let options = ["option1", "option2", "option3"];
                let titled = [1, 2, 3].map(|number| {
                    json!({"const": format!("value{number}"), "title": format!("Option {number}")})
                });
                let enums = json!({
                    "untitledSingle": {"type": "string", "enum": options},
                    "titledSingle": {"type": "string", "oneOf": titled},
                    "legacyEnum": {
                        "type": "string", "enum": ["opt1", "opt2", "opt3"],
                        "enumNames": ["Option One", "Option Two", "Option Three"],
                    },
                    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
                    "titledMulti": {"type": "array", "items": {"anyOf": titled}},
                });
                text(&format!("Elicitation completed: {}", ask(&context, form(enums)).await?))
            }
            "test_custom_header" => {
                let value = request.arguments.as_ref().and_then(|all| all.get("value"));
                text(value.and_then(Value::as_str).unwrap_or_default())
            }
            "test_missing_capability" if capabilities.get("sampling").is_none() => {
                let required = parsed(json!({"sampling": {}}))?;
                return Err(ErrorData::missing_required_client_capability(required));
            }
            "test_streaming_elicitation" => {
                let requests = json!({"value": elicitation("value", "string")});
                return input(requests, None).map(CallToolResponse::InputRequired);
            }
            "test_logging_tool" => {
                if let Some(level) = context.meta.log_level() {
                    let message = parsed(json!({"level": level, "data": "requested"}))?;
                    let _ = context.peer.notify_logging_message(message).await;
                }
                text("Logging tool completed")
            }
            "test_trigger_tool_change" => {
                for sink in self.sinks() {
                    let _ = sink.notify_tool_list_changed().await;
                }
                text("Triggered")
            }
            "test_trigger_prompt_change" => {
                for sink in self.sinks() {
                    let _ = sink.notify_prompt_list_changed().await;
                }
                text("Triggered")
            }
            name if TOOLS.contains(&name) => text("Done"),
            name => return Err(ErrorData::invalid_params(format!("Unknown tool: {name}"), None)),
        };
        complete(result).map(CallToolResponse::Complete)
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let resources = json!([
            {"uri": "test://static-text", "name": "Text", "mimeType": "text/plain"},
            {"uri": "test://static-binary", "name": "Image", "mimeType": "image/png"},
        ]);
        list("resources", resources)
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let template = json!({
            "uriTemplate": "test://template/{id}/data", "name": "Data",
            "mimeType": "application/json",
        });
        list("resourceTemplates", json!([template]))
    }

    async fn read_resource(
        &self,
        ReadResourceRequestParams { uri, .. }: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let template = uri.strip_prefix("test://template/").and_then(|id| id.strip_suffix("/data"));
        let content = match (&*uri, template) {
            ("test://static-text", _) => {
                let text = "This is the content of the static text resource.";
                json!({"uri": uri, "mimeType": "text/plain", "text": text})
            }
            ("test://static-binary", _) => {
                json!({"uri": uri, "mimeType": "image/png", "blob": IMAGE})
            }
            (_, Some(id)) => {
                let text =
                    json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
                json!({"uri": uri, "mimeType": "application/json", "text": text.to_string()})
            }
            _ => {
                let data = Some(json!({"uri": uri}));
                return Err(ErrorData::resource_not_found("Resource not found", data));
            }
        };
        list("contents", json!([content])).map(ReadResourceResponse::Complete)
    }

    async fn subscribe(
        &self,
        _: SubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(
        &self,
        _: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let argument = |name: &str| json!({"name": name, "description": name, "required": true});
        let arguments = [argument("arg1"), argument("arg2")];
        let prompts = json!([
            {"name": "test_simple_prompt", "description": "Simple"},
            {"name": "test_prompt_with_arguments", "description": "Arguments", "arguments": arguments},
            {"name": "test_prompt_with_embedded_resource", "description": "Resource"},
            {"name": "test_prompt_with_image", "description": "Image"},
            {"name": "test_input_required_result_prompt", "description": "Input"},
        ]);
        list("prompts", prompts)
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let say = |text: &str| json!({"role": "user", "content": {"type": "text", "text": text}});
        let messages = match &*request.name {
            "test_simple_prompt" => json!([say("This is a simple prompt for testing.")]),
            "test_prompt_with_arguments" => {
                let arguments = serde_json::to_value(&request.arguments).unwrap_or_default();
                let [one, two] =
                    ["arg1", "arg2"].map(|name| arguments[name].as_str().unwrap_or_default());
                json!([say(&format!("Prompt with arguments: arg1='{one}', arg2='{two}'"))])
            }
            "test_prompt_with_embedded_resource" => {
                let arguments = serde_json::to_value(&request.arguments).unwrap_or_default();
                let uri = arguments["resourceUri"].as_str().unwrap_or("test://example-resource");
                let text = "Embedded resource content for testing.";
                let resource = json!({"uri": uri, "mimeType": "text/plain", "text": text});
                let content = json!({"type": "resource", "resource": resource});
                json!([{"role": "user", "content": content}, say("Process the embedded resource.")])
            }
            "test_prompt_with_image" => {
                let image = json!({"type": "image", "data": IMAGE, "mimeType": "image/png"});
                json!([{"role": "user", "content": image}, say("Analyze the image.")])
            }
            "test_input_required_result_prompt" => {
                let responses = serde_json::to_value(&request.input_responses).unwrap_or_default();
                let context = &responses["user_context"]["content"]["context"];
                match context.as_str() {
                    Some(context) => json!([say(&format!("Prompt with context: {context}"))]),
                    None => {
                        let requests = json!({"user_context": elicitation("context", "string")});
                        return input(requests, None).map(GetPromptResponse::InputRequired);
                    }
                }
            }
            name => return Err(ErrorData::invalid_params(format!("Unknown prompt: {name}"), None)),
        };
        complete(json!({"messages": messages})).map(GetPromptResponse::Complete)
    }

    async fn complete(
        &self,
        _: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let values = json!({"values": ["paris", "park"], "total": 2, "hasMore": false});
        complete(json!({"completion": values}))
    }

    async fn set_level(
        &self,
        _: SetLevelRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }
}

fn custom_header_tool() -> Value {
    let value = json!({"type": "string", "x-mcp-header": "Value"});
    let schema = json!({"type": "object", "properties": {"value": value}, "required": ["value"]});
    json!({"name": "test_custom_header", "description": "Header", "inputSchema": schema})
}
