//! What the targets share: reading the fuzzer's bytes, and a runtime for what may wait.

pub mod json;
pub mod keys;

use std::cell::OnceCell;
use std::future::Future;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use time::{Duration, OffsetDateTime};
use tokio::runtime::Runtime;
use tower_scalekit::clock::ManualClock;

/// The fuzzer's bytes, read from the front; zeros when they are used up.
#[derive(Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `end`, which must not be 0.
    pub fn below(&mut self, end: usize) -> usize {
        let wide = if end > 256 { usize::from(self.byte()) << 8 } else { 0 };
        (wide | usize::from(self.byte())) % end
    }

    pub fn pick<'t, T>(&mut self, table: &'t [T]) -> &'t T {
        &table[self.below(table.len())]
    }

    /// As many bytes as the next byte says.
    pub fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// Whether a token's JOSE header has the algorithm of a good one, and is another one: its key may be
/// new, which is unknown once the budget of fetches is used up.
pub fn may_have_new_key(token: &[u8], good: &str) -> bool {
    let header = token.split(|byte| *byte == b'.').next().unwrap_or_default();
    let known = good.split('.').next().unwrap_or_default();
    let decoded = URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    header != known.as_bytes()
        && serde_json::from_slice::<Value>(&decoded).is_ok_and(|header| header["alg"] == "RS256")
}

/// Changes a text a little, or much.
pub fn mutate(input: &mut Input<'_>, text: &mut Vec<u8>) {
    let at = |input: &mut Input<'_>, text: &[u8]| input.below(text.len() + 1);
    match input.byte() % 7 {
        0 => {
            let at = at(input, text);
            if let Some(byte) = text.get_mut(at) {
                *byte = input.byte();
            }
        }
        1 => {
            let at = at(input, text);
            text.splice(at..at, input.bytes().iter().copied());
        }
        2 => {
            let (one, two) = (at(input, text), at(input, text));
            text.drain(one.min(two)..one.max(two));
        }
        3 => text.truncate(at(input, text)),
        4 => text.extend(input.bytes()),
        5 => {
            let (one, two) = (at(input, text), at(input, text));
            let copy: Vec<u8> =
                text[one.min(two)..one.max(two)].iter().take(1024).copied().collect();
            let at = at(input, text);
            text.splice(at..at, copy);
        }
        // The last character before a dot or the end: base64 with bits to spare.
        _ => {
            let dots: Vec<usize> =
                (1..=text.len()).filter(|&at| text.get(at).is_none_or(|b| *b == b'.')).collect();
            if !dots.is_empty() {
                let last = *input.pick(&dots) - 1;
                text[last] = input.byte();
            }
        }
    }
}

/// A runtime whose timers elapse at once. Its tasks end with it.
pub fn runtime() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().expect("a runtime")
}

/// Runs what may wait, on a runtime that lasts.
pub fn block_on<F: Future>(future: F) -> F::Output {
    thread_local! {
        static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
    }
    RUNTIME.with(|kept| kept.get_or_init(runtime).block_on(future))
}

/// Unix seconds at which all clocks start, so that an input always does the same.
pub const START: i64 = 1_800_000_000;

pub fn clock() -> ManualClock {
    ManualClock::at(OffsetDateTime::UNIX_EPOCH + Duration::seconds(START))
}
