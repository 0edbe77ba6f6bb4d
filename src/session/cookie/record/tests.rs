use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;

const LIFETIMES: Lifetimes =
    Lifetimes { absolute: Duration::hours(1), idle: Some(Duration::minutes(10)) };
const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn principal(exp: i64) -> Principal {
    let claims = json!({"sub": "usr_1", "exp": exp, "roles": ["admin"], "plan": "gold"});
    Principal::from_claims(Claims::new(claims.as_object().unwrap().clone()), &[]).unwrap()
}

fn id_token(name: &str) -> SecretString {
    let claims = format!(r#"{{"sub":"usr_1","email":"jane@acme.test","name":"{name}"}}"#);
    let parts = [r#"{"alg":"RS256"}"#.as_bytes(), claims.as_bytes(), &[7; 256]];
    parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".").into()
}

fn record() -> SessionRecord {
    begin(principal(300), id_token("Jane"), "rt_1")
}

fn begin(principal: Principal, id_token: SecretString, refresh_token: &str) -> SessionRecord {
    let new = NewSession::Tokens(NewTokens {
        principal,
        id_token,
        refresh_token: Some(refresh_token.into()),
        access_token: None,
    });
    SessionRecord::new(new, false, LIFETIMES, RecordedPosition::default(), START).unwrap()
}

fn at(seconds: i64) -> OffsetDateTime {
    START + Duration::seconds(seconds)
}

#[test]
fn a_record_round_trips_through_the_cookie() {
    let decoded = SessionRecord::decode(&record().encode().unwrap()).unwrap();
    assert_eq!(decoded.id_token(), Some(id_token("Jane")));
    assert_eq!(decoded.refresh_token, Some("rt_1".into()));
    assert_eq!(decoded.access_token(), None);
    let (principal, user) = (decoded.principal().unwrap(), decoded.user());
    assert_eq!((user.display_name(), user.email.as_str()), ("Jane", "jane@acme.test"));
    assert_eq!(principal.raw_claims()["plan"], "gold");
    assert_eq!(principal.expires_at(), at(300));
}

#[test]
fn the_size_of_a_record_is_padded() {
    for length in 0..200 {
        let id_token = id_token(&"n".repeat(length));
        let bytes = begin(principal(300), id_token.clone(), "rt_1").encode().unwrap();
        assert_eq!(SessionRecord::decode(&bytes).unwrap().id_token(), Some(id_token));
        assert_eq!(bytes.len() % PADDING_BLOCK, 0);
    }
}

#[test]
fn damaged_records_do_not_decode() {
    let encoded = record().encode().unwrap();
    for length in 0..encoded.len() {
        assert!(SessionRecord::decode(&encoded[..length]).is_none(), "{length}");
    }
    for version in [0, 2, 3] {
        assert!(SessionRecord::decode(&[&[version], &encoded[1..]].concat()).is_none());
    }
}

#[test]
fn a_session_with_fifty_roles_and_permissions_fits_into_one_cookie() {
    let names = |kind: &str| (0..50).map(|n| format!("{kind}_{n}:write")).collect::<Vec<_>>();
    let claims =
        json!({"sub": "usr_1", "exp": 300, "roles": names("role"), "permissions": names("perm")});
    let claims = Claims::new(claims.as_object().unwrap().clone());
    let principal = Principal::from_claims(claims, &[]).unwrap();
    let bytes = begin(principal, id_token("Jane"), &"r".repeat(64)).encode().unwrap();
    assert!(bytes.len() < 1500, "{}", bytes.len());
}

#[test]
fn a_refresh_is_due_shortly_before_the_expiry() {
    let record = record();
    assert!(!record.is_due_for_refresh(at(289)));
    assert!(record.is_due_for_refresh(at(295)));
    let short = record.refresh(&principal(10), None, None, None, LIFETIMES, START).unwrap();
    assert!(!short.is_due_for_refresh(at(7)) && short.is_due_for_refresh(at(9)));
    assert_eq!(short.refresh_token, Some("rt_1".into()));
    let spent = SessionRecord { refresh_token: None, ..record };
    assert!(!spent.is_due_for_refresh(at(1000)));
}

#[test]
fn idle_and_absolute_limits_are_in_the_record() {
    let record = record();
    assert!(
        !record.is_past_limits(LIFETIMES, at(599)) && record.is_past_limits(LIFETIMES, at(600))
    );
    assert!(!record.is_due_for_touch(LIFETIMES, at(60)));
    assert!(record.is_due_for_touch(LIFETIMES, at(61)));
    let touched = record.touch(LIFETIMES, at(3500));
    assert!(
        !touched.is_past_limits(LIFETIMES, at(3599)) && touched.is_past_limits(LIFETIMES, at(3600))
    );
    let shorter = Lifetimes { absolute: Duration::minutes(5), ..LIFETIMES };
    assert!(!record.is_past_limits(shorter, at(299)) && record.is_past_limits(shorter, at(300)));
    assert_eq!(touched.remaining(at(3500)), Duration::seconds(100));
}

#[test]
fn a_refreshed_record_has_the_new_tokens_and_keeps_its_id() {
    let before = record();
    let after = before
        .refresh(
            &principal(600),
            Some("rt_2".into()),
            Some(&id_token("Joan")),
            None,
            LIFETIMES,
            at(290),
        )
        .unwrap();
    assert_eq!(after.refresh_token, Some("rt_2".into()));
    assert_eq!(after.id_token(), Some(id_token("Joan")));
    assert_eq!((before.generation(), after.generation()), (0, 1));
    assert_eq!((after.id(), after.body.ends_at), (before.id(), before.body.ends_at));
}
