//! JSON objects that are bent out of shape, and a reader that is sure of what it read.

use serde_json::{Map, Value};

use crate::{Input, mutate};

/// Values that some parser somewhere mistook for others.
const VALUES: [&str; 53] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-1",
    "1e999",
    "1.5",
    "1799999995",
    "1799999994.999",
    "1799999995.001",
    "1800000000",
    "1800000005",
    "1800000006",
    "1800000300",
    "253402300799",
    "253402300800",
    "18446744073709551616",
    "1e15",
    "\"\"",
    "\"RS256\"",
    "\"ES256\"",
    "\"EdDSA\"",
    "\"PS256\"",
    "\"HS256\"",
    "\"none\"",
    "\"JWT\"",
    "\"at+jwt\"",
    "\"application/at+jwt\"",
    "\"logout+jwt\"",
    "\"https://issuer.test\"",
    "\"https://issuer.test/\"",
    "\"api\"",
    "[\"api\"]",
    "[]",
    "{}",
    "\"ed\"",
    "\"ec\"",
    "\"rsa\"",
    "\"OKP\"",
    "\"EC\"",
    "\"RSA\"",
    "\"oct\"",
    "\"Ed25519\"",
    "\"P-256\"",
    "\"P-384\"",
    "\"sig\"",
    "\"enc\"",
    "[\"verify\"]",
    "[\"sign\"]",
    "\"AQAB\"",
    "\"AAEAAQ\"",
    "\"Aw\"",
];

/// An object's members as text, in the order in which they are written.
#[derive(Clone, Debug)]
pub struct Members(Vec<(Vec<u8>, Vec<u8>)>);

impl Members {
    pub fn of(object: &Value) -> Self {
        let members = object.as_object().expect("an object").iter();
        Self(members.map(|(name, value)| (quoted(name), value.to_string().into_bytes())).collect())
    }

    /// Removes, changes, doubles and adds members; `names` are those worth adding.
    pub fn edit(&mut self, input: &mut Input<'_>, names: &[&str]) {
        for _ in 0..16 {
            let operation = input.byte() % 8;
            if operation == 0 {
                return;
            }
            let count = self.0.len();
            if count == 0 && !matches!(operation, 4 | 5) {
                continue;
            }
            let at = input.below(count.max(1));
            match operation {
                1 => drop(self.0.remove(at)),
                2 => self.0[at].1 = input.pick(&VALUES).as_bytes().to_vec(),
                3 => mutate(input, &mut self.0[at].1),
                4 => {
                    let name = quoted(input.pick::<&str>(names));
                    self.0.push((name, input.pick(&VALUES).as_bytes().to_vec()));
                }
                5 => self.0.push((input.bytes().to_vec(), input.bytes().to_vec())),
                6 => {
                    let copy = self.0[at].clone();
                    self.0.insert(input.below(count + 1), copy);
                }
                _ => mutate(input, &mut self.0[at].0),
            }
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let members = self.0.iter().map(|(name, value)| [name, &b":"[..], value].concat());
        let members = members.collect::<Vec<_>>().join(&b","[..]);
        [&b"{"[..], &members, b"}"].concat()
    }
}

fn quoted(name: &str) -> Vec<u8> {
    Value::from(name).to_string().into_bytes()
}

/// Reads an object that names each of its members once, at any depth.
pub fn unambiguous_object(json: &[u8]) -> Option<Map<String, Value>> {
    let value: Value = serde_json::from_slice(json).ok()?;
    let unambiguous = count_members(json) == count_members(value.to_string().as_bytes());
    if let Value::Object(members) = value { unambiguous.then_some(members) } else { None }
}

/// In JSON there is a colon outside of strings for each member.
fn count_members(json: &[u8]) -> usize {
    let (mut count, mut in_string, mut escaped) = (0, false, false);
    for byte in json {
        match (byte, in_string) {
            (b'"', _) if !escaped => in_string = !in_string,
            (b':', false) => count += 1,
            _ => {}
        }
        escaped = in_string && *byte == b'\\' && !escaped;
    }
    count
}
