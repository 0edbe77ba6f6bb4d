//! The document, and deviations from it.

use std::collections::BTreeMap;

use http::StatusCode;
use jsonschema::Draft;
use serde_json::{Map, Value, json};

use super::exchange::{Exchange, fits};

/// Operations whose body has a schema that contradicts itself: it is the membership, and has a member
/// `membership` that is required. The SDKs send the membership.
const BODY_OF_MEMBERSHIP: [&str; 2] = [
    "/api/v1/memberships/organizations/{organization_id}/users/{id}",
    "/api/v1/memberships/organizations/{organization_id}/users:external/{external_id}",
];

/// Scalekit's OpenAPI document, taken strictly.
pub(super) struct Document {
    paths: Value,
    /// The schemas, closed: objects have no other members than those listed.
    schemas: Value,
    /// The same without read-only members.
    writable: Value,
}

impl Document {
    pub(super) fn load() -> Self {
        let text = include_str!("../../data/openapi/scalekit.json");
        let mut document: Value = serde_json::from_str(text).unwrap();
        for path in BODY_OF_MEMBERSHIP {
            let schema = "requestBody/content/application~1json/schema";
            let path = path.replace('/', "~1");
            let schema = document.pointer_mut(&format!("/paths/{path}/post/{schema}")).unwrap();
            assert!(schema.as_object_mut().unwrap().remove("required").is_some());
        }
        let schemas = &document["components"]["schemas"];
        Self {
            paths: document["paths"].clone(),
            schemas: closed(schemas, false),
            writable: closed(schemas, true),
        }
    }

    /// The deviations, one per line.
    pub(super) fn faults(&self, exchange: &Exchange) -> Vec<String> {
        let called = format!("{} {}", exchange.method, exchange.path);
        let Some((operation, parameters)) = self.operation(exchange) else {
            return vec![format!("{called}: not in the document")];
        };
        let mut faults = self.of_parameters(operation, exchange, parameters);
        faults.extend(self.of_body(operation, exchange));
        faults.extend(self.of_response(operation, exchange));
        faults.iter().map(|fault| format!("{called}: {fault}")).collect()
    }

    /// Path and method of each operation.
    pub(super) fn operations(&self) -> impl Iterator<Item = (String, String)> {
        const METHODS: [&str; 5] = ["delete", "get", "patch", "post", "put"];
        self.paths.as_object().unwrap().iter().flat_map(|(path, operations)| {
            let methods = METHODS.iter().filter(|method| operations.get(**method).is_some());
            methods.map(|method| (path.clone(), method.to_ascii_uppercase()))
        })
    }

    /// Path and method of the operation of an exchange.
    pub(super) fn operation_of(&self, exchange: &Exchange) -> Option<(String, String)> {
        let method = exchange.method.as_str().to_ascii_lowercase();
        let paths = self.paths.as_object().unwrap().iter();
        let fitting = paths.filter_map(|(template, operations)| {
            operations.get(&method)?;
            Some((template, fits(template, &exchange.path)?.len()))
        });
        let (template, _) = fitting.min_by_key(|(_, parameters)| *parameters)?;
        Some((template.clone(), exchange.method.to_string()))
    }

    /// The operation with the most literal path, and its path parameters.
    fn operation(&self, exchange: &Exchange) -> Option<(&Value, Vec<(&str, String)>)> {
        let method = exchange.method.as_str().to_ascii_lowercase();
        let paths = self.paths.as_object().unwrap().iter();
        let fitting = paths.filter_map(|(template, operations)| {
            Some((operations.get(&method)?, fits(template, &exchange.path)?))
        });
        fitting.min_by_key(|(_, parameters)| parameters.len())
    }

    fn of_parameters(
        &self,
        operation: &Value,
        exchange: &Exchange,
        in_path: Vec<(&str, String)>,
    ) -> Vec<String> {
        let mut sent: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for (name, value) in &in_path {
            sent.entry(("path", name)).or_default().push(value);
        }
        for (name, value) in &exchange.query {
            sent.entry(("query", name)).or_default().push(value);
        }
        let mut faults = Vec::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let (place, name) = (text(&parameter["in"]), text(&parameter["name"]));
            let Some(values) = sent.remove(&(place, name)) else {
                if parameter["required"] == true {
                    faults.push(format!("{place} parameter {name}: missing"));
                }
                continue;
            };
            let what = format!("{place} parameter {name}");
            let schema = &parameter["schema"];
            let values: Vec<_> = values.iter().map(|value| typed(value, schema)).collect();
            match (values.as_slice(), schema["type"] == "array") {
                (_, true) => faults.extend(self.of(&what, &values.into(), schema, &self.schemas)),
                ([value], false) => faults.extend(self.of(&what, value, schema, &self.schemas)),
                (_, false) => faults.push(format!("{what}: repeated")),
            }
        }
        let unknown = sent.keys().map(|(place, name)| format!("{place} parameter {name}: unknown"));
        faults.extend(unknown);
        faults
    }

    fn of_body(&self, operation: &Value, exchange: &Exchange) -> Vec<String> {
        let Some(body) = operation.get("requestBody") else {
            let is_there = !exchange.body.is_empty() || exchange.content_type.is_some();
            return is_there.then(|| "an unexpected body".to_owned()).into_iter().collect();
        };
        if exchange.body.is_empty() {
            let is_missing = body["required"] == true;
            return is_missing.then(|| "the body is missing".to_owned()).into_iter().collect();
        }
        self.of_content("body", body, &exchange.content_type, &exchange.body, &self.writable)
    }

    /// An error may have a status that the document does not list; a success may not.
    fn of_response(&self, operation: &Value, exchange: &Exchange) -> Vec<String> {
        let status = exchange.status;
        if status == StatusCode::NOT_IMPLEMENTED {
            return vec!["the sandbox does not implement it".to_owned()];
        }
        match operation["responses"].get(status.as_str()) {
            Some(response) => self.of_content(
                "response",
                response,
                &exchange.response_type,
                &exchange.response,
                &self.schemas,
            ),
            None if status.is_client_error() || status.is_server_error() => vec![],
            None => vec![format!("response {status}: no such status")],
        }
    }

    fn of_content(
        &self,
        what: &str,
        described: &Value,
        content_type: &Option<String>,
        content: &[u8],
        schemas: &Value,
    ) -> Vec<String> {
        if content_type.as_deref() != Some("application/json") {
            return vec![format!("{what}: content type {content_type:?}")];
        }
        let Ok(content) = serde_json::from_slice(content) else {
            return vec![format!("{what}: not JSON")];
        };
        let schema = &described["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{what}: the document has no schema");
        self.of(what, &content, schema, schemas)
    }

    fn of(&self, what: &str, value: &Value, schema: &Value, schemas: &Value) -> Vec<String> {
        let mut schema = closed(schema, false);
        schema["components"] = json!({ "schemas": schemas });
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .should_validate_formats(true)
            .with_format("int64", |text: &str| text.parse::<i64>().is_ok())
            .with_format("int32", |text: &str| text.parse::<i32>().is_ok())
            .build(&schema)
            .unwrap();
        let errors = validator.iter_errors(value);
        errors.map(|error| format!("{what}{}: {error}", error.instance_path())).collect()
    }
}

/// A schema whose objects have no other members than those listed, and with `written` no read-only
/// ones.
fn closed(schema: &Value, written: bool) -> Value {
    let Value::Object(schema) = schema else {
        return match schema {
            Value::Array(all) => all.iter().map(|schema| closed(schema, written)).collect(),
            other => other.clone(),
        };
    };
    for composed in ["allOf", "anyOf", "oneOf"] {
        assert!(
            !schema.contains_key(composed),
            "{composed}: its parts cannot be closed one by one"
        );
    }
    let mut closed: Map<String, Value> =
        schema.iter().map(|(name, value)| (name.clone(), self::closed(value, written))).collect();
    if let Some(Value::Object(properties)) = closed.get_mut("properties") {
        properties.retain(|_, property| !written || property.get("readOnly") != Some(&json!(true)));
        closed.entry("additionalProperties").or_insert(json!(false));
    }
    closed.into()
}

/// A parameter's text as a value of its schema's type.
fn typed(text: &str, schema: &Value) -> Value {
    let parsed = match schema["type"].as_str().unwrap() {
        "array" => return typed(text, &schema["items"]),
        "boolean" => text.parse::<bool>().ok().map(Value::from),
        "integer" => text.parse::<i64>().ok().map(Value::from),
        _ => None,
    };
    parsed.unwrap_or_else(|| text.into())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
