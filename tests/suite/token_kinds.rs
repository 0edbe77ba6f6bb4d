//! Which of Scalekit's documented tokens are accepted as access tokens.

use serde_json::{Map, Value, json};
use tower_scalekit::sandbox::{TokenDraft, TokenFault};
use tower_scalekit::token::{TokenError, TokenVerifier};
use tower_scalekit::{Sandbox, Scalekit};

use crate::support::{JANE, sandbox_builder};

macro_rules! claims {
    ($kind:literal) => {
        include_str!(concat!("../data/tokens/", $kind, ".claims.json"))
    };
}

/// Signs documented claims with the URL of this environment, this client and the current time.
fn signed(sandbox: &Sandbox, claims: &str, without: &[&str]) -> String {
    let own = sandbox.tokens().access_token_draft(JANE).claims;
    let documented: Map<String, Value> = serde_json::from_str(claims).unwrap();
    let client_id = Value::from(sandbox.client_id());
    let mut draft = sandbox.tokens().access_token_draft(JANE);
    draft.claims = documented;
    for (name, value) in &mut draft.claims {
        match (name.as_str(), &mut *value) {
            ("exp" | "iat" | "nbf", _) => *value = own[name].clone(),
            ("iss", Value::String(issuer)) => {
                *issuer = issuer.replace("https://acme.scalekit.dev", &sandbox.environment_url());
            }
            ("azp", _) => *value = client_id.clone(),
            ("aud", Value::Array(audiences)) => {
                for audience in audiences {
                    if audience.as_str().unwrap().contains("skc_") {
                        *audience = client_id.clone();
                    }
                }
            }
            _ => {}
        }
    }
    draft.claims.retain(|name, _| !without.contains(&name.as_str()));
    sandbox.tokens().sign_draft(&draft)
}

fn verifiers(scalekit: &Scalekit) -> [TokenVerifier; 2] {
    let named = scalekit.token_verifier().audience(scalekit.client_id());
    [named, scalekit.token_verifier().any_audience()].map(|builder| builder.build().unwrap())
}

#[tokio::test]
async fn of_the_documented_tokens_only_access_tokens_are_accepted() {
    use TokenError::{
        InvalidAudience as Audience, InvalidIssuer as Issuer, WrongTokenType as Kind,
    };
    let sandbox = sandbox_builder().build();
    let [named, any] = verifiers(&sandbox.scalekit());
    const MARKS: [&str; 3] = ["at_hash", "c_hash", "nonce"];
    for (claims, without, by_audience, by_any_audience) in [
        (claims!("access_token.fsa"), &[][..], Ok(()), Ok(())),
        (claims!("access_token.modular_sso"), &[], Ok(()), Ok(())),
        (claims!("m2m_org_client_access_token"), &[], Err(Audience), Ok(())),
        (claims!("mcp_access_token"), &[], Err(Audience), Ok(())),
        (claims!("mcp_access_token.resource_issuer"), &[], Err(Issuer), Err(Issuer)),
        (claims!("id_token.fsa"), &[], Err(Kind), Err(Kind)),
        (claims!("id_token.modular_sso"), &[], Err(Kind), Err(Kind)),
        (claims!("idp_initiated_login"), &[], Err(Issuer), Err(Issuer)),
        // Only the missing `jti` distinguishes these from access tokens.
        (claims!("id_token.fsa"), &MARKS, Err(Kind), Err(Kind)),
        (claims!("id_token.modular_sso"), &MARKS, Err(Kind), Err(Kind)),
        (claims!("access_token.fsa"), &["jti"], Err(Kind), Err(Kind)),
        (claims!("access_token.modular_sso"), &["jti"], Err(Kind), Err(Kind)),
        // No ID token has this audience.
        (claims!("mcp_access_token"), &["jti"], Err(Audience), Ok(())),
    ] {
        let token = signed(&sandbox, claims, without);
        let verdicts = (named.verify(&token).await.map(drop), any.verify(&token).await.map(drop));
        assert_eq!(verdicts, (by_audience, by_any_audience), "{without:?} {claims}");
    }
}

#[tokio::test]
async fn tokens_of_machines_without_audience_need_the_opt_in() {
    use TokenError::{InvalidAudience as Audience, InvalidClaim as Claim, WrongTokenType as Kind};
    let sandbox = sandbox_builder().build();
    let builder = || sandbox.scalekit().token_verifier().audience("https://api.example.com");
    let (plain, machines) = (builder().build().unwrap(), builder().machine_tokens().build());
    let machines = machines.unwrap();
    let machine = claims!("m2m_org_client_access_token");
    for (claims, changes, expected) in [
        (machine, json!({}), Ok(())),
        (machine, json!({"aud": null}), Ok(())),
        (machine, json!({"aud": []}), Err(Audience)),
        (machine, json!({"aud": ""}), Err(Audience)),
        (machine, json!({"aud": "https://other.example.com"}), Err(Audience)),
        (machine, json!({"aud": 7}), Err(Claim("aud"))),
        (machine, json!({"sub": "usr_1"}), Err(Audience)),
        (machine, json!({"client_id": null}), Err(Audience)),
        (machine, json!({"client_id": null, "sub": null}), Err(Audience)),
        (machine, json!({"client_id": ["m2morg_1"]}), Err(Claim("client_id"))),
        (machine, json!({"nonce": "n"}), Err(Kind)),
        (claims!("access_token.fsa"), json!({"aud": null}), Err(Audience)),
        (claims!("access_token.modular_sso"), json!({"aud": null}), Err(Audience)),
        (claims!("id_token.fsa"), json!({"aud": null}), Err(Kind)),
        (claims!("mcp_access_token"), json!({"aud": null}), Err(Audience)),
    ] {
        let mut edited: Value = serde_json::from_str(claims).unwrap();
        for (name, value) in changes.as_object().unwrap() {
            edited[name.as_str()] = value.clone();
        }
        let token = signed(&sandbox, &edited.to_string(), &[]);
        assert_eq!(machines.verify(&token).await.map(drop), expected, "{changes} {claims}");
        assert!(plain.verify(&token).await.is_err(), "{changes} {claims}");
    }
    let own = builder().machine_tokens().client_id("m2morg_other").build().unwrap();
    let token = signed(&sandbox, machine, &[]);
    assert_eq!(own.verify(&token).await.unwrap_err(), Claim("client_id"));
}

#[tokio::test]
async fn an_id_token_without_hashes_and_nonce_is_not_accepted_as_access_token() {
    let sandbox = sandbox_builder().build();
    let [named, any] = verifiers(&sandbox.scalekit());
    for (name, value) in [("jti", ""), ("jti", "id_1"), ("jti", "xtkn_1"), ("scope", "openid")] {
        let mut draft = sandbox.tokens().id_token_draft(JANE, Some("nonce"));
        TokenFault::MissingHashesAndNonce.apply(&mut draft);
        draft.claims.insert(name.to_owned(), value.into());
        let token = sandbox.tokens().sign_draft(&draft);
        for verifier in [&named, &any] {
            assert_eq!(
                verifier.verify(&token).await.unwrap_err(),
                TokenError::WrongTokenType,
                "{value}"
            );
        }
    }
}

#[tokio::test]
async fn an_id_token_of_another_client_is_not_accepted_as_access_token_for_it() {
    let sandbox = sandbox_builder().build();
    let scalekit = sandbox.scalekit();
    for client in ["skc_2", "m2m_2"] {
        let named = scalekit.token_verifier().audience(client).build().unwrap();
        let any = scalekit.token_verifier().any_audience().build().unwrap();
        let issued_to_client = |mut draft: TokenDraft, without: &str| {
            draft.claims.insert("aud".into(), [client].as_slice().into());
            draft.claims.insert("azp".into(), client.into());
            draft.claims.insert("client_id".into(), client.into());
            draft.claims.remove(without);
            sandbox.tokens().sign_draft(&draft)
        };
        for without in ["azp", "client_id"] {
            let mut draft = sandbox.tokens().id_token_draft(JANE, None);
            TokenFault::MissingHashesAndNonce.apply(&mut draft);
            let id_token = issued_to_client(draft, without);
            let access_token = issued_to_client(sandbox.tokens().access_token_draft(JANE), without);
            for verifier in [&named, &any] {
                let error = verifier.verify(&id_token).await.unwrap_err();
                assert_eq!(error, TokenError::WrongTokenType, "{client} {without}");
                assert!(verifier.verify(&access_token).await.is_ok(), "{client} {without}");
            }
        }
    }
}

#[test]
fn the_documented_token_responses_have_the_members_that_are_read() {
    for (response, members) in [
        (include_str!("../data/tokens/token_response.json"), &["refresh_token", "id_token"][..]),
        (include_str!("../data/tokens/m2m_token_response.json"), &["token_type", "scope"]),
    ] {
        let response: Map<String, Value> = serde_json::from_str(response).unwrap();
        assert!(response["access_token"].is_string() && response["expires_in"].is_u64());
        assert!(members.iter().all(|member| response[*member].is_string()));
    }
}
