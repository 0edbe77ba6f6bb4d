use std::sync::Arc;

use futures::future::join_all;
use serde_json::json;

use super::*;
use crate::clock::testing::SteppedClock;
use crate::token::testing::{JWKS_URI, KeyResponse, KeyServer, TestKey, at_once, compact, settle};

fn keys_of(server: &KeyServer, time: &SteppedClock) -> RemoteKeys {
    let url = Url::parse(JWKS_URI).unwrap();
    RemoteKeys::new(url, Arc::new(server.clone()), time.clock(), vec![Algorithm::RS256])
}

/// A server with key `k1`, a set that has fetched it, and a token signed with it.
async fn set_up(time: SteppedClock) -> (KeyServer, SteppedClock, RemoteKeys, String) {
    let server = KeyServer::serving_k1();
    let keys = keys_of(&server, &time);
    let token = TestKey::rsa(0).access_token("k1");
    verify(&keys, &token).await.unwrap();
    assert_eq!(server.count(), 1);
    (server, time, keys, token)
}

async fn verify(keys: &RemoteKeys, token: &str) -> Result<VerifiedJws, TokenError> {
    keys.verify_signature(token, TokenSource::Bearer).await
}

/// The result without waiting.
fn known(keys: &RemoteKeys, token: &str) -> Result<Arc<VerifyingKey>, TokenError> {
    match keys.verify_signature_now(token, TokenSource::Bearer) {
        TokenCheck::Done(result) => result.map(|signed| signed.key),
        TokenCheck::NeedsFetch(_) => panic!("it waits for a fetch"),
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_budget_allows_two_at_once_and_one_every_ten_seconds() {
    let mut budget = FetchBudget::full();
    let at = Duration::from_secs;
    let granted: Vec<u64> = (0..100).filter(|second| budget.take(at(*second))).collect();
    assert_eq!(granted, [0, 1, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
    assert!(budget.take(at(1000)) && budget.take(at(1000)) && !budget.take(at(1000)));
}

#[tokio::test]
async fn a_server_starts_with_the_endpoint_down_and_retries_once_a_second() {
    for clock in SteppedClock::each() {
        let (server, time) = (KeyServer::new(KeyResponse::Down), clock);
        let keys = keys_of(&server, &time);
        let token = TestKey::rsa(0).access_token("k1");
        let verify = || async { verify(&keys, &token).await.map(|signed| signed.claims) };

        assert_eq!(verify().await.unwrap_err(), TokenError::KeysUnavailable);
        assert_eq!(server.count(), 1);
        for _ in 0..9 {
            time.advance(Duration::from_millis(111));
            assert_eq!(known(&keys, &token).unwrap_err(), TokenError::KeysUnavailable);
        }
        settle().await;
        assert_eq!(server.count(), 1);

        time.advance(Duration::from_millis(1));
        assert_eq!(verify().await.unwrap_err(), TokenError::KeysUnavailable);
        assert_eq!(server.count(), 2);

        server.response(KeyResponse::keys([TestKey::rsa(0).jwk("k1")]));
        time.advance(seconds(1));
        assert!(verify().await.is_ok());
        assert_eq!(server.count(), 3);
    }
}

#[tokio::test]
async fn callers_at_startup_share_one_fetch() {
    for clock in SteppedClock::each() {
        let (server, time) = (KeyServer::serving_k1(), clock);
        let keys = keys_of(&server, &time);
        let token = TestKey::rsa(0).access_token("k1");
        let results = join_all((0..50).map(|_| verify(&keys, &token))).await;
        assert!(results.iter().all(Result::is_ok));
        assert_eq!(server.count(), 1);
    }
}

#[tokio::test]
async fn an_response_that_is_no_key_set_leaves_the_server_without_keys() {
    for clock in SteppedClock::each() {
        for response in bad_responses() {
            let (server, time) = (KeyServer::new(response.clone()), clock.clone());
            let token = TestKey::rsa(0).access_token("k1");
            let error = verify(&keys_of(&server, &time), &token).await.unwrap_err();
            assert_eq!(error, TokenError::KeysUnavailable, "{response:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_times_out_after_five_seconds() {
    for clock in SteppedClock::each() {
        let (server, time) = (KeyServer::serving_k1(), clock);
        server.hang();
        let token = TestKey::rsa(0).access_token("k1");
        let started = tokio::time::Instant::now();
        let error = verify(&keys_of(&server, &time), &token).await.unwrap_err();
        assert_eq!(error, TokenError::KeysUnavailable);
        assert_eq!(started.elapsed().as_secs(), 5);
    }
}

#[tokio::test]
async fn a_new_key_is_accepted_after_one_fetch() {
    for clock in SteppedClock::each() {
        let (server, _, keys, old_token) = set_up(clock).await;
        server.response(KeyResponse::keys([TestKey::rsa(0).jwk("k1"), TestKey::rsa(1).jwk("k2")]));
        let new_token = TestKey::rsa(1).access_token("k2");
        assert!(verify(&keys, &new_token).await.is_ok());
        assert_eq!(server.count(), 2);
        assert!(known(&keys, &new_token).is_ok() && known(&keys, &old_token).is_ok());
        settle().await;
        assert_eq!(server.count(), 2);
    }
}

#[tokio::test]
async fn all_tokens_of_the_new_key_share_one_fetch() {
    for clock in SteppedClock::each() {
        let (server, _, keys, old_token) = set_up(clock).await;
        server.response(KeyResponse::keys([TestKey::rsa(1).jwk("k2")]));
        server.hang();
        let new_token = TestKey::rsa(1).access_token("k2");
        let waiting: Vec<_> = (0..50)
            .map(|_| match keys.verify_signature_now(&new_token, TokenSource::Bearer) {
                TokenCheck::NeedsFetch(fetch) => fetch,
                TokenCheck::Done(result) => panic!("it does not wait: {result:?}"),
            })
            .collect();
        settle().await;
        assert!(known(&keys, &old_token).is_ok());
        server.resume();
        for fetched in join_all(waiting).await {
            let check = keys.verify_signature_after_fetch(&new_token, TokenSource::Bearer, fetched);
            assert!(matches!(check, TokenCheck::Done(Ok(_))));
        }
        assert_eq!(server.count(), 2);
    }
}

#[tokio::test]
async fn a_thousand_unknown_key_ids_cause_two_fetches_and_one_every_ten_seconds() {
    for clock in SteppedClock::each() {
        let (server, time, keys, known_token) = set_up(clock).await;
        let unknown = |number| TestKey::rsa(1).access_token(&format!("kid-{number}"));
        for number in 0..1000 {
            let error = verify(&keys, &unknown(number)).await.unwrap_err();
            // Without a fetch it is unknown whether the issuer has that key.
            let fetched = number < 2;
            assert_eq!(error == TokenError::NoMatchingKey, fetched);
            assert_eq!(error == TokenError::KeysUnavailable, !fetched);
            assert!(known(&keys, &known_token).is_ok());
        }
        assert_eq!(server.count(), 1 + 2);
        for round in 1..=5 {
            time.advance(seconds(10));
            for number in 0..10 {
                assert!(verify(&keys, &unknown(number)).await.is_err());
            }
            assert_eq!(server.count(), 1 + 2 + round);
        }
    }
}

#[tokio::test]
async fn invalid_tokens_of_one_source_do_not_limit_the_others() {
    let sources = [
        TokenSource::Bearer,
        TokenSource::Issuer,
        TokenSource::IdpInitiatedLogin,
        TokenSource::Logout,
    ];
    for clock in SteppedClock::each() {
        for (index, junk) in sources.into_iter().enumerate() {
            let (server, _, keys, old_token) = set_up(clock.clone()).await;
            let forged = format!("{}AAAA", &old_token[..old_token.len() - 4]);
            for number in 0..5 {
                let unknown = TestKey::rsa(1).access_token(&format!("kid-{number}"));
                assert!(keys.verify_signature(&unknown, junk).await.is_err());
                assert_eq!(
                    keys.verify_signature(&forged, junk).await.unwrap_err(),
                    TokenError::InvalidSignature
                );
            }
            assert_eq!(server.count(), 1 + 4);
            server.response(KeyResponse::keys([
                TestKey::rsa(0).jwk("k1"),
                TestKey::rsa(1).jwk("k2"),
            ]));
            let new_token = TestKey::rsa(1).access_token("k2");
            let error = keys.verify_signature(&new_token, junk).await.unwrap_err();
            assert_eq!(error, TokenError::KeysUnavailable, "{junk:?}");
            let other = sources[(index + 1) % sources.len()];
            assert!(
                keys.verify_signature(&new_token, other).await.is_ok(),
                "{other:?} beside {junk:?}"
            );
            assert!(keys.verify_signature(&new_token, junk).await.is_ok());
        }
    }
}

#[tokio::test]
async fn known_keys_never_wait_while_a_fetch_hangs() {
    for clock in SteppedClock::each() {
        let (server, time, keys, known_token) = set_up(clock).await;
        server.hang();
        for number in 0..1000 {
            let stranger = TestKey::rsa(1).token(&format!("kid-{number}"), "{}");
            assert!(matches!(
                keys.verify_signature_now(&stranger, TokenSource::Bearer),
                TokenCheck::NeedsFetch(_)
            ));
            assert!(known(&keys, &known_token).is_ok());
        }
        settle().await;
        assert_eq!(server.count(), 2);
        // Also if their set is past its age.
        time.advance(seconds(600));
        assert!(known(&keys, &known_token).is_ok());
        settle().await;
        assert!(known(&keys, &known_token).is_ok());
        assert_eq!(server.count(), 2);
    }
}

#[tokio::test]
async fn a_fetch_continues_when_its_only_caller_leaves() {
    for clock in SteppedClock::each() {
        let (server, _, keys, _) = set_up(clock).await;
        server.response(KeyResponse::keys([TestKey::rsa(1).jwk("k2")]));
        let new_token = TestKey::rsa(1).access_token("k2");
        assert!(matches!(
            keys.verify_signature_now(&new_token, TokenSource::Bearer),
            TokenCheck::NeedsFetch(_)
        ));
        settle().await;
        assert!(known(&keys, &new_token).is_ok());
    }
}

#[tokio::test]
async fn keys_are_unavailable_when_the_fetch_fails() {
    for clock in SteppedClock::each() {
        let (server, time, keys, old_token) = set_up(clock).await;
        // A new key with a new ID, and one with an old ID.
        for id in ["k2", "k1"] {
            let new_token = TestKey::rsa(1).access_token(id);
            for response in [KeyResponse::Down, KeyResponse::Panic] {
                server.response(response);
                let error = verify(&keys, &new_token).await.unwrap_err();
                assert_eq!(error, TokenError::KeysUnavailable, "{id}");
                assert!(known(&keys, &old_token).is_ok());
                time.advance(seconds(10));
            }
        }
    }
}

#[tokio::test]
async fn keys_are_unavailable_while_fetches_fail_even_beyond_the_budget() {
    for clock in SteppedClock::each() {
        let (server, time, keys, old_token) = set_up(clock).await;
        // The second one has an old ID.
        let new_tokens = ["k2", "k1"].map(|id| TestKey::rsa(1).access_token(id));
        server.response(KeyResponse::Down);
        for _ in 0..5 {
            for token in &new_tokens {
                let error = verify(&keys, token).await.unwrap_err();
                assert_eq!(error, TokenError::KeysUnavailable);
            }
            assert!(known(&keys, &old_token).is_ok());
        }
        assert_eq!(server.count(), 1 + 4);
        server.response(KeyResponse::keys([TestKey::rsa(0).jwk("k1")]));
        time.advance(seconds(10));
        for (token, error) in
            new_tokens.iter().zip([TokenError::NoMatchingKey, TokenError::InvalidSignature])
        {
            assert_eq!(verify(&keys, token).await.unwrap_err(), error);
        }
        let [_, forged] = &new_tokens;
        assert_eq!(known(&keys, forged).unwrap_err(), TokenError::InvalidSignature);
    }
}

#[tokio::test]
async fn a_set_past_its_age_is_refetched_in_the_background() {
    for clock in SteppedClock::each() {
        let (server, time, keys, old_token) = set_up(clock).await;
        let new_token = TestKey::rsa(1).access_token("k2");
        server.response(KeyResponse::keys([TestKey::rsa(1).jwk("k2")]));

        time.advance(seconds(299));
        assert!(known(&keys, &old_token).is_ok());
        settle().await;
        assert_eq!(server.count(), 1);

        time.advance(seconds(1));
        server.hang();
        for _ in 0..10 {
            assert!(known(&keys, &old_token).is_ok());
            settle().await;
        }
        assert_eq!(server.count(), 2);
        server.resume();
        settle().await;
        assert!(known(&keys, &new_token).is_ok());
        assert_eq!(verify(&keys, &old_token).await.unwrap_err(), TokenError::NoMatchingKey);
    }
}

#[tokio::test]
async fn stale_keys_are_used_for_a_day_and_refetched_every_ten_seconds() {
    for clock in SteppedClock::each() {
        let (server, time, keys, token) = set_up(clock).await;
        server.response(KeyResponse::Down);
        time.advance(seconds(300));
        for _ in 0..100 {
            assert!(known(&keys, &token).is_ok());
            settle().await;
            time.advance(seconds(1));
        }
        assert_eq!(server.count(), 1 + 10);

        time.advance(seconds(24 * 60 * 60 - 401));
        assert!(known(&keys, &token).is_ok());
        settle().await;
        time.advance(seconds(1));
        assert_eq!(verify(&keys, &token).await.unwrap_err(), TokenError::KeysUnavailable);

        server.response(KeyResponse::keys([TestKey::rsa(0).jwk("k1")]));
        time.advance(seconds(1));
        assert!(verify(&keys, &token).await.is_ok());
    }
}

/// Responses of an endpoint in place of a set with a usable key.
fn bad_responses() -> Vec<KeyResponse> {
    let body = |status, text: &str| KeyResponse::Body(status, text.to_owned().into());
    let good = json!({"keys": [TestKey::rsa(1).jwk("k2")]}).to_string();
    let mut oversized = good.clone();
    oversized.push_str(&" ".repeat(256 * 1024));
    vec![
        KeyResponse::Down,
        KeyResponse::Panic,
        body(200, "<html>Log in to the hotel's network</html>"),
        body(200, ""),
        body(200, "{}"),
        body(200, r#"{"keys": []}"#),
        body(200, r#"{"keys": [{"kty": "oct", "k": "AAAA", "kid": "k1"}]}"#),
        body(200, &good[..good.len() / 2]),
        body(200, &oversized),
        body(204, &good),
        body(302, &good),
        body(404, &good),
        body(500, &good),
    ]
}

#[tokio::test]
async fn an_response_that_is_no_key_set_leaves_the_old_keys_in_place() {
    for clock in SteppedClock::each() {
        for response in bad_responses() {
            let (server, time, keys, token) = set_up(clock.clone()).await;
            let before = known(&keys, &token).unwrap();
            server.response(response.clone());
            time.advance(seconds(300));
            assert!(known(&keys, &token).is_ok());
            settle().await;
            assert_eq!(server.count(), 2, "{response:?}");
            let after = known(&keys, &token).unwrap();
            assert!(Arc::ptr_eq(&before, &after) && !after.is_removed(), "{response:?}");
        }
    }
}

#[tokio::test]
async fn an_unchanged_key_is_the_same_key_after_a_fetch() {
    for clock in SteppedClock::each() {
        let (server, time, keys, token) = set_up(clock).await;
        let before = known(&keys, &token).unwrap();
        server.response(KeyResponse::keys([TestKey::rsa(2).jwk("k3"), TestKey::rsa(0).jwk("k1")]));
        time.advance(seconds(300));
        assert!(known(&keys, &token).is_ok());
        settle().await;
        assert!(Arc::ptr_eq(&before, &known(&keys, &token).unwrap()));

        server.response(KeyResponse::keys([TestKey::rsa(2).jwk("k3")]));
        time.advance(seconds(300));
        assert!(known(&keys, &token).is_ok());
        settle().await;
        assert!(before.is_removed());
    }
}

#[tokio::test]
async fn a_new_key_with_an_old_key_id_is_accepted_after_one_fetch() {
    for clock in SteppedClock::each() {
        let (server, time, keys, old_token) = set_up(clock).await;
        let new_token = TestKey::rsa(1).access_token("k1");
        server.response(KeyResponse::keys([TestKey::rsa(1).jwk("k1")]));
        assert!(verify(&keys, &new_token).await.is_ok());
        assert_eq!(server.count(), 2);

        // Forged signatures use the same budget, and only that one.
        for _ in 0..100 {
            assert_eq!(verify(&keys, &old_token).await.unwrap_err(), TokenError::InvalidSignature);
        }
        assert_eq!(server.count(), 3);
        let unknown = TestKey::rsa(2).access_token("k3");
        assert_eq!(verify(&keys, &unknown).await.unwrap_err(), TokenError::NoMatchingKey);
        assert_eq!(server.count(), 4);
        time.advance(seconds(10));
        assert_eq!(verify(&keys, &old_token).await.unwrap_err(), TokenError::InvalidSignature);
        assert_eq!(server.count(), 5);
    }
}

#[tokio::test]
async fn a_token_of_an_algorithm_that_is_not_configured_causes_no_fetch() {
    for clock in SteppedClock::each() {
        let server = KeyServer::serving_k1();
        let keys = keys_of(&server, &clock);
        for header in [
            r#"{"alg":"HS256","kid":"k1"}"#,
            r#"{"alg":"HS256","kid":"unknown"}"#,
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"ES256"}"#,
            r#"{"alg":"none"}"#,
        ] {
            let token = compact(header, "{}", |_| vec![0; 64]);
            assert_eq!(known(&keys, &token).unwrap_err(), TokenError::InvalidAlgorithm, "{header}");
        }
        settle().await;
        assert_eq!(server.count(), 0);
    }
}

#[tokio::test]
async fn requests_contain_nothing_of_a_token() {
    for clock in SteppedClock::each() {
        let (server, time, keys, _) = set_up(clock).await;
        for header in [
            json!({"alg": "RS256", "kid": "../../secret-kid?x=secret-kid"}),
            json!({"alg": "RS256", "kid": "https://evil.test/keys"}),
            json!({"alg": "RS256", "kid": "k2", "jku": "https://evil.test/keys"}),
            json!({"alg": "RS256", "kid": "k2", "x5u": "https://evil.test/chain.pem"}),
            json!({"alg": "RS256", "kid": "k2", "jwk": TestKey::rsa(1).bare_jwk()}),
            json!({"alg": "RS256", "kid": "k2", "x5c": ["AAAA"]}),
        ] {
            let token = TestKey::rsa(1).token_of(header.to_string(), "{}");
            assert_eq!(
                verify(&keys, &token).await.unwrap_err(),
                TokenError::NoMatchingKey,
                "{header}"
            );
            time.advance(seconds(10));
        }
        assert_eq!(server.count(), 7);
        assert!(server.requests().iter().all(|address| address == JWKS_URI));
    }
}

#[tokio::test]
async fn a_token_without_a_key_id_requires_a_single_matching_key() {
    for clock in SteppedClock::each() {
        let (server, time, keys, _) = set_up(clock).await;
        let token = TestKey::rsa(0).token_of(r#"{"alg":"RS256"}"#, "{}");
        assert!(known(&keys, &token).is_ok());
        server.response(KeyResponse::keys([TestKey::rsa(0).jwk("k1"), TestKey::p256().jwk("k2")]));
        time.advance(seconds(300));
        assert!(known(&keys, &token).is_ok());
        settle().await;
        assert!(known(&keys, &token).is_ok());
        server.response(KeyResponse::keys([TestKey::rsa(0).jwk("k1"), TestKey::rsa(1).jwk("k2")]));
        time.advance(seconds(300));
        assert!(known(&keys, &token).is_ok());
        settle().await;
        assert_eq!(verify(&keys, &token).await.unwrap_err(), TokenError::NoMatchingKey);
    }
}

#[test]
fn malformed_tokens_are_rejected_without_a_runtime() {
    let keys = keys_of(&KeyServer::new(KeyResponse::Down), &SteppedClock::steady());
    assert_eq!(at_once(verify(&keys, "not a token")).unwrap_err(), TokenError::Malformed);
}
