use std::time::Duration;

use http::{HeaderMap, Uri};
use serde_json::{Value, json};

use super::resource::WELL_KNOWN;
use super::{ProtectedResource, ProtectedResourceBuilder, ResourceId};
use crate::dpop::Dpop;
use crate::http_client::UnreachableClient;
use crate::scalekit::Scalekit;

fn builder(url: &str) -> ProtectedResourceBuilder {
    let scalekit = Scalekit::builder("https://acme.scalekit.dev", "skc_1", "hush");
    let scalekit = scalekit.http_client(UnreachableClient).build().unwrap();
    ProtectedResource::builder(&scalekit, url, ResourceId::new("res_123456789").unwrap())
}

fn metadata(resource: &ProtectedResource) -> Value {
    let metadata = resource.metadata(&Uri::from_static("/"), &HeaderMap::new());
    serde_json::from_slice(&metadata).unwrap()
}

#[test]
fn the_document_matches_the_dashboards() {
    let resource = builder("https://mcp.yourapp.com")
        .scopes(["todo:read", "todo:write"])
        .documentation("https://mcp.yourapp.com/docs")
        .build()
        .unwrap();
    assert_eq!(
        metadata(&resource),
        json!({
            "authorization_servers": ["https://acme.scalekit.dev/resources/res_123456789"],
            "bearer_methods_supported": ["header"],
            "resource": "https://mcp.yourapp.com",
            "resource_documentation": "https://mcp.yourapp.com/docs",
            "scopes_supported": ["todo:read", "todo:write"],
        })
    );
    // Empty members are omitted.
    let least = metadata(&builder("https://mcp.yourapp.com").build().unwrap());
    assert_eq!(least.as_object().unwrap().len(), 3, "{least}");
}

#[test]
fn the_document_says_which_proofs_are_accepted() {
    let url = "https://mcp.yourapp.com/mcp";
    let dpop = Dpop::builder("https://mcp.yourapp.com");
    let optional = metadata(&builder(url).dpop(&dpop.build().unwrap()).build().unwrap());
    let algorithms = json!(["ES256", "ES384", "EdDSA"]);
    assert_eq!(optional["dpop_signing_alg_values_supported"], algorithms);
    assert_eq!(optional.get("dpop_bound_access_tokens_required"), None);

    let dpop = Dpop::builder("https://mcp.yourapp.com").required().build().unwrap();
    let required = metadata(&builder(url).dpop(&dpop).build().unwrap());
    assert_eq!(required["dpop_bound_access_tokens_required"], true);

    let other = Dpop::builder("https://other.yourapp.com").build().unwrap();
    assert!(builder(url).dpop(&other).build().is_err());
}

#[test]
fn the_well_known_segment_precedes_the_path() {
    let well_known = "https://h.test/.well-known/oauth-protected-resource";
    for (url, resource, address) in [
        ("https://h.test", "https://h.test", well_known.to_owned()),
        ("https://h.test/", "https://h.test", well_known.to_owned()),
        ("https://h.test/mcp", "https://h.test/mcp", format!("{well_known}/mcp")),
        ("https://h.test/mcp/", "https://h.test/mcp", format!("{well_known}/mcp")),
        ("https://h.test/a/b%20c", "https://h.test/a/b%20c", format!("{well_known}/a/b%20c")),
    ] {
        let built = builder(url).build().unwrap();
        assert_eq!((built.url(), built.metadata_url().as_str()), (resource, &*address));
        assert_eq!(metadata(&built)["resource"], resource);
        let path = built.metadata_url().path();
        assert!(built.is_metadata_path(path) && built.is_metadata_path(WELL_KNOWN));
        assert!(built.is_metadata_path(&format!("{path}/")));
        for other in ["/", "/mcp", &format!("{path}//"), &format!("{path}x"), "/x/.well-known"] {
            assert!(!built.is_metadata_path(other), "{other}");
        }
    }
}

#[test]
fn a_trailing_slash_is_accepted_if_equivalent_or_configured() {
    for (url, accepted) in [
        ("https://h.test", &["https://h.test", "https://h.test/"][..]),
        ("https://h.test/", &["https://h.test", "https://h.test/"]),
        ("https://h.test/mcp", &["https://h.test/mcp"]),
        ("https://h.test/mcp/", &["https://h.test/mcp", "https://h.test/mcp/"]),
    ] {
        let resource = builder(url).build().unwrap();
        assert_eq!(resource.verifier().resources(), accepted, "{url}");
    }
}

#[test]
fn the_host_of_a_request_selects_one_of_the_configured_urls() {
    let resource = builder("http://127.0.0.1:3000/mcp")
        .additional_url("http://localhost:3000/mcp/")
        .additional_url("https://mcp.example.com/mcp")
        .build()
        .unwrap();
    let metadata = |uri: &str, hosts: &[&str]| {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append("host", host.parse().unwrap());
        }
        let metadata = resource.metadata(&uri.parse().unwrap(), &headers);
        let metadata: Value = serde_json::from_slice(&metadata).unwrap();
        metadata["resource"].as_str().unwrap().to_owned()
    };
    let first = "http://127.0.0.1:3000/mcp";
    for (hosts, expected) in [
        (&["localhost:3000"][..], "http://localhost:3000/mcp"),
        (&["LOCALHOST:3000"], "http://localhost:3000/mcp"),
        (&["mcp.example.com"], "https://mcp.example.com/mcp"),
        (&["mcp.example.com:443"], "https://mcp.example.com/mcp"),
        (&["127.0.0.1:3000"], first),
        (&["localhost"], first),
        (&["localhost:3001"], first),
        (&["mcp.example.com.evil.test"], first),
        (&["me@localhost:3000"], first),
        (&["localhost:3000", "localhost:3000"], first),
        (&[], first),
    ] {
        assert_eq!(metadata("/", hosts), expected, "{hosts:?}");
    }
    // HTTP/2 names it in the URI.
    assert_eq!(metadata("http://localhost:3000/", &["a.test"]), "http://localhost:3000/mcp");
    let accepted = [
        first,
        "http://localhost:3000/mcp",
        "http://localhost:3000/mcp/",
        "https://mcp.example.com/mcp",
    ];
    assert_eq!(resource.verifier().resources(), accepted);

    for other in [
        "http://127.0.0.1:3000/mcp",
        "https://mcp.example.com/other",
        "http://mcp.example.com/mcp",
        "https://mcp.example.com/mcp?x",
    ] {
        let error = builder("http://127.0.0.1:3000/mcp").additional_url(other).build();
        assert_eq!(error.unwrap_err().problems().len(), 1, "{other}");
    }
    // Proofs name the URL that the client calls.
    let dpop = Dpop::builder("https://one.example.com").build().unwrap();
    let two = builder("https://one.example.com/mcp").additional_url("https://two.example.com/mcp");
    assert!(two.dpop(&dpop).build().is_err());
}

#[test]
fn all_invalid_settings_are_reported_at_once() {
    for url in [
        "",
        "/mcp",
        "http://mcp.test/mcp",
        "https://mcp.test/mcp?x",
        "https://mcp.test/mcp#x",
        "https://me@mcp.test/mcp",
        "https://MCP.test/mcp",
        "https://mcp.test:443/mcp",
        "https://mcp.test/a/../mcp",
    ] {
        assert!(builder(url).build().is_err(), "{url}");
    }
    let error = builder("mcp").scopes(["a b", "offline_access"]).documentation("docs").build();
    assert_eq!(error.unwrap_err().problems().len(), 4);
    let too_long = Duration::from_secs(301);
    let error = builder("https://h.test").leeway(too_long).not_before_leeway(too_long).build();
    assert_eq!(error.unwrap_err().problems().len(), 2);
    for id in ["", "res_", "123", "conn_1", "res_a/b", "res_a b"] {
        assert!(ResourceId::new(id).is_err(), "{id}");
    }
}
