//! The simulated Salesforce: three accounts, which a tool can delete.

use serde_json::{Value, json};

use super::{Effect, Tool, ToolFailure, ToolInput};

const DELETE: &str = "salesforce_account_delete";

pub(super) static TOOLS: [Tool; 2] = [
    Tool {
        id: "tol_58327482062864411",
        name: "salesforce_accounts_list",
        provider: "SALESFORCE",
        tag: "crm",
        title: "List accounts",
        description: "List the accounts of a connected Salesforce organization.",
        effect: Effect::Reads,
        input: r#"{
            "type": "object",
            "properties": { "limit": { "type": "integer", "minimum": 1, "maximum": 2000 } }
        }"#,
        run: |input| {
            let limit = input.count("limit", 20, 2000)?;
            Ok(json!({ "records": accounts(input).take(limit).collect::<Vec<_>>() }))
        },
    },
    Tool {
        id: "tol_58327482062864412",
        name: DELETE,
        provider: "SALESFORCE",
        tag: "crm",
        title: "Delete an account",
        description: "Delete an account of a connected Salesforce organization.",
        effect: Effect::Deletes,
        input: r#"{
            "type": "object",
            "required": ["account_id"],
            "properties": { "account_id": { "type": "string" } }
        }"#,
        run: |input| {
            let id = input.required("account_id")?;
            match accounts(input).any(|account| account.get("Id") == Some(&id.into())) {
                true => Ok(json!({ "id": id, "success": true })),
                false => Err(ToolFailure::not_found("ENTITY_IS_DELETED: entity is deleted")),
            }
        },
    },
];

/// ID, name, industry, annual revenue.
const ACCOUNTS: [(&str, &str, &str, u32); 3] = [
    ("001Hs00003B1aXYIAZ", "Globex", "Manufacturing", 84_000_000),
    ("001Hs00003B1aXZIAZ", "Initech", "Technology", 12_500_000),
    ("001Hs00003B1aXaIAJ", "Example Inc.", "Retail", 5_200_000),
];

/// Those that were not deleted.
fn accounts(input: &ToolInput<'_>) -> impl Iterator<Item = Value> {
    ACCOUNTS
        .iter()
        .filter(move |(id, ..)| {
            !input.former(DELETE).any(|params| params.get("account_id") == Some(&json!(id)))
        })
        .map(|(id, name, industry, revenue)| {
            json!({ "Id": id, "Name": name, "Industry": industry, "AnnualRevenue": revenue })
        })
}
