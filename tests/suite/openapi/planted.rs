//! Deviations are found: valid exchanges, each with one change.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::document::Document;
use super::exchange::Exchange;
use super::recorded;

#[tokio::test]
async fn every_planted_deviation_is_found() {
    let document = Document::load();
    let (exchanges, _) = recorded().await;
    let one = |call: &str| {
        let is_it = |exchange: &&Exchange| exchange.is_of(call) && exchange.status.is_success();
        let found = exchanges.iter().find(is_it).unwrap_or_else(|| panic!("no {call}")).clone();
        assert_eq!(document.faults(&found), Vec::<String>::new());
        found
    };
    let sessions = one("GET /api/v1/users/{user_id}/sessions");
    let created = one("POST /api/v1/organizations");
    let organization = one("GET /api/v1/organizations/{id}");
    let directory = one("GET /api/v1/organizations/{organization_id}/directories/{id}");

    let query = |name: &str, value: &str| {
        let mut query = sessions.query.clone();
        query.retain(|(known, _)| known != name);
        query.push((name.to_owned(), value.to_owned()));
        Exchange { query, ..sessions.clone() }
    };
    let twice =
        [("page_size".to_owned(), "1".to_owned()), ("page_size".to_owned(), "2".to_owned())];
    let body = |change: &dyn Fn(&mut Value)| Exchange {
        body: changed(&created.body, change),
        ..created.clone()
    };
    let response = |of: &Exchange, change: &dyn Fn(&mut Value)| Exchange {
        response: changed(&of.response, change),
        ..of.clone()
    };
    for (planted, fault) in [
        (
            Exchange { path: "/api/v2/organizations".into(), ..created.clone() },
            "not in the document",
        ),
        (
            Exchange { path: "/api/v1/sessions/a/b".into(), ..sessions.clone() },
            "not in the document",
        ),
        (Exchange { method: Method::PUT, ..created.clone() }, "not in the document"),
        (query("pagesize", "1"), "query parameter pagesize: unknown"),
        (query("page_size", "many"), "query parameter page_size: "),
        (Exchange { query: twice.into(), ..sessions.clone() }, "repeated"),
        (Exchange { body: Bytes::new(), ..created.clone() }, "the body is missing"),
        (Exchange { body: "{}".into(), ..sessions.clone() }, "an unexpected body"),
        (Exchange { body: "{".into(), ..created.clone() }, "body: not JSON"),
        (Exchange { content_type: None, ..created.clone() }, "body: content type"),
        (body(&|body| body["displayName"] = json!("Acme")), "'displayName'"),
        (body(&|body| body["display_name"] = json!(7)), "body/display_name: 7"),
        (body(&|body| drop(body.as_object_mut().unwrap().remove("display_name"))), "required"),
        (body(&|body| body["metadata"]["plan"] = json!(7)), "body/metadata/plan: 7"),
        (Exchange { status: StatusCode::OK, ..created.clone() }, "no such status"),
        (
            Exchange { status: StatusCode::NOT_IMPLEMENTED, ..created.clone() },
            "does not implement it",
        ),
        (Exchange { response: Bytes::new(), ..created.clone() }, "response: not JSON"),
        (Exchange { response_type: None, ..created.clone() }, "response: content type"),
        (response(&organization, &|response| response["more"] = json!(1)), "'more'"),
        (response(&organization, &|response| response["organization"]["ID"] = json!("")), "'ID'"),
        (response(&organization, &|response| response["organization"]["id"] = json!(null)), "null"),
        (
            response(&organization, &|response| {
                response["organization"]["region_code"] = json!("MOON")
            }),
            "response/organization/region_code: ",
        ),
        (
            response(&organization, &|response| {
                response["organization"]["create_time"] = json!("now")
            }),
            "response/organization/create_time: ",
        ),
        (
            response(&directory, &|response| {
                response["directory"]["secrets"] = json!([{ "kind": 1 }])
            }),
            "response/directory/secrets/0: ",
        ),
    ] {
        let faults = document.faults(&planted);
        assert!(faults.iter().any(|found| found.contains(fault)), "{fault}: {faults:#?}");
    }
}

fn changed(json: &[u8], change: &dyn Fn(&mut Value)) -> Bytes {
    let mut value = serde_json::from_slice(json).unwrap();
    change(&mut value);
    value.to_string().into()
}
