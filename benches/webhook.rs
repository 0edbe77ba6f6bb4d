//! What the verification of a webhook costs, against the HMAC that it cannot do without:
//! `cargo bench --bench webhook`. Both take turns in one run.

use std::hint::black_box;
use std::time::Instant;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use time::OffsetDateTime;
use tower_scalekit::webhook_verify::{WebhookSecret, verify};

const ROUNDS: usize = 200;
const AT: i64 = 1_900_000_000;

fn median(nanos: &mut [f64]) -> f64 {
    nanos.sort_by(f64::total_cmp);
    nanos[nanos.len() / 2]
}

fn main() {
    let key = [7; 32];
    let secrets = [WebhookSecret::new(&format!("whsec_{}", STANDARD.encode(key))).unwrap()];
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let now = OffsetDateTime::from_unix_timestamp(AT).unwrap();
    println!("{:<12}{:>14}{:>14}{:>10}", "body", "HMAC, ns", "verify, ns", "ratio");
    for size in [1024, 64 * 1024] {
        let body = vec![b'x'; size];
        let content = [format!("msg_1.{AT}.").as_bytes(), &body].concat();
        let signature = STANDARD.encode(hmac::sign(&key, &content));
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", "msg_1".parse().unwrap());
        headers.insert("webhook-timestamp", AT.into());
        headers.insert("webhook-signature", format!("v1,{signature}").parse().unwrap());
        let calls = 4 * 1024 * 1024 / size;
        let time = |work: &dyn Fn()| {
            let started = Instant::now();
            for _ in 0..calls {
                work();
            }
            started.elapsed().as_nanos() as f64 / calls as f64
        };
        let (mut bare, mut whole) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bare.push(time(&|| {
                black_box(hmac::sign(&key, black_box(&content)));
            }));
            whole.push(time(&|| {
                black_box(verify(black_box(&headers), &body, &secrets, now)).unwrap();
            }));
        }
        let (bare, whole) = (median(&mut bare), median(&mut whole));
        println!("{size:<12}{bare:>14.0}{whole:>14.0}{:>10.3}", whole / bare);
    }
}
