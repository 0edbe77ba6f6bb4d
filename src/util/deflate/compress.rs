//! Compressing.

use super::huffman::{Code, codes};
use super::{
    CODE_LENGTH_ORDER, CODE_LENGTHS, DISTANCE_BASES, DISTANCE_BITS, DISTANCES, END_OF_BLOCK,
    LENGTH_BASES, LENGTH_BITS, LITERALS, MAX_CODE_BITS, MAX_MATCH, MIN_MATCH,
};

const WINDOW: usize = 32 * 1024;
const HASH_BITS: u32 = 12;
/// How many earlier occurrences are compared. So few, that hashes need no random key.
const MAX_TRIES: usize = 8;
/// From further away, a match of the shortest length takes more bits than its literals.
const FAR: usize = 256;
/// A match of this length is taken, even if there may be a longer one.
const LONG_MATCH: usize = 64;
/// Symbols of a block, which has codes of its own.
const BLOCK: usize = 16 * 1024;

/// Compresses a text.
pub(crate) fn compress(text: &[u8]) -> Vec<u8> {
    let mut output = Output { bytes: Vec::with_capacity(text.len() / 2 + 64), bits: 0, count: 0 };
    let mut finder = MatchFinder::new(text);
    let mut block = Vec::with_capacity(text.len().min(BLOCK) / 2);
    loop {
        let is_last = finder.read(&mut block);
        output.block(&block, is_last);
        if is_last {
            return output.finish();
        }
        block.clear();
    }
}

/// A part of the text.
#[derive(Clone, Copy)]
enum Item {
    Literal(u8),
    /// Repeats what is this far back.
    Match {
        length: u16,
        distance: u16,
    },
}

/// Finds repetitions: the earlier positions of each three bytes form a chain.
struct MatchFinder<'a> {
    text: &'a [u8],
    position: usize,
    /// The latest position of each hash, plus one.
    heads: Vec<u32>,
    /// The position before each one, plus one.
    earlier: Vec<u32>,
}

impl<'a> MatchFinder<'a> {
    fn new(text: &'a [u8]) -> Self {
        let (heads, earlier) = (vec![0; 1 << HASH_BITS], Vec::with_capacity(text.len()));
        Self { text, position: 0, heads, earlier }
    }

    /// Reads the next items. Returns whether they are the last ones.
    fn read(&mut self, block: &mut Vec<Item>) -> bool {
        while block.len() < BLOCK {
            let Some(&byte) = self.text.get(self.position) else { return true };
            let Some(found) = self.find_and_insert(self.position, MIN_MATCH - 1) else {
                block.push(Item::Literal(byte));
                self.position += 1;
                continue;
            };
            // A longer match one byte later is better.
            let later = match found.0 < LONG_MATCH {
                true => self.find_and_insert(self.position + 1, found.0),
                false => None,
            };
            if later.is_some() {
                block.push(Item::Literal(byte));
                self.position += 1;
            }
            let (length, distance) = later.unwrap_or(found);
            self.position += length;
            // Both are at most 32,768.
            let [length, distance] = [length, distance].map(|it| u16::try_from(it).unwrap_or(0));
            block.push(Item::Match { length, distance });
        }
        self.position == self.text.len()
    }

    /// The longest match at a position, as length and distance, if it is longer than this.
    fn find_and_insert(&mut self, at: usize, longer_than: usize) -> Option<(usize, usize)> {
        self.insert_up_to(at);
        let rest = self.text.get(at..)?;
        let rest = rest.get(..MAX_MATCH).unwrap_or(rest);
        let mut next = *self.heads.get(hash(rest)?)?;
        let (mut longest, mut distance) = (longer_than, 0);
        for _ in 0..MAX_TRIES {
            let Some(start) = (next as usize).checked_sub(1) else { break };
            if at - start > WINDOW || longest == rest.len() {
                break;
            }
            let earlier = self.text.get(start..).unwrap_or_default();
            // Most candidates differ where a longer match would end.
            if earlier.get(longest) == rest.get(longest) {
                let length = common_length(earlier, rest);
                if length > longest {
                    (longest, distance) = (length, at - start);
                }
            }
            next = self.earlier.get(start).copied().unwrap_or_default();
        }
        let is_shorter = longest > MIN_MATCH || distance <= FAR;
        (distance > 0 && is_shorter).then_some((longest, distance))
    }

    /// Adds all positions before this one.
    fn insert_up_to(&mut self, end: usize) {
        for position in self.earlier.len()..end {
            let head =
                self.text.get(position..).and_then(hash).and_then(|at| self.heads.get_mut(at));
            self.earlier.push(match (head, u32::try_from(position + 1)) {
                (Some(head), Ok(latest)) => std::mem::replace(head, latest),
                _ => 0,
            });
        }
    }
}

fn hash(text: &[u8]) -> Option<usize> {
    let &[one, two, three] = text.first_chunk()?;
    let value = u32::from_le_bytes([one, two, three, 0]).wrapping_mul(0x9e37_79b1);
    Some((value >> (u32::BITS - HASH_BITS)) as usize)
}

fn common_length(one: &[u8], other: &[u8]) -> usize {
    let mut length = 0;
    for (one, other) in one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0) {
        let different = u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other);
        if different != 0 {
            return length + (different.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    let rests = one.iter().zip(other).skip(length);
    length + rests.take_while(|(one, other)| one == other).count()
}

/// The symbol of a value, and the rest, in that many bits.
fn symbol_of(value: u16, bases: &[u16], bits: &[u8]) -> (usize, usize, u8) {
    let symbol = bases.partition_point(|base| *base <= value).saturating_sub(1);
    let base = bases.get(symbol).copied().unwrap_or_default();
    (symbol, (value - base).into(), bits.get(symbol).copied().unwrap_or_default())
}

fn length_symbol(length: u16) -> (usize, usize, u8) {
    let (symbol, rest, bits) = symbol_of(length, &LENGTH_BASES, &LENGTH_BITS);
    (END_OF_BLOCK + 1 + symbol, rest, bits)
}

fn distance_symbol(distance: u16) -> (usize, usize, u8) {
    symbol_of(distance, &DISTANCE_BASES, &DISTANCE_BITS)
}

fn count(frequencies: &mut [u32], symbol: usize) {
    if let Some(frequency) = frequencies.get_mut(symbol) {
        *frequency += 1;
    }
}

struct Output {
    bytes: Vec<u8>,
    /// Those that do not fill four bytes yet.
    bits: u64,
    count: u32,
}

impl Output {
    /// At most 16 bits.
    fn put(&mut self, value: usize, bits: impl Into<u32>) {
        self.bits |= (value as u64) << self.count;
        self.count += bits.into();
        if self.count >= 32 {
            let [one, two, three, four, ..] = self.bits.to_le_bytes();
            self.bytes.extend_from_slice(&[one, two, three, four]);
            self.bits >>= 32;
            self.count -= 32;
        }
    }

    fn put_code(&mut self, codes: &[Code], symbol: usize) {
        let Code { bits, length } = codes.get(symbol).copied().unwrap_or_default();
        self.put(bits.into(), length);
    }

    fn finish(mut self) -> Vec<u8> {
        let used = self.count.div_ceil(8) as usize;
        self.bytes.extend(self.bits.to_le_bytes().iter().take(used));
        self.bytes
    }

    /// Writes a block with codes of its own.
    fn block(&mut self, items: &[Item], is_last: bool) {
        let (mut literals, mut distances) = ([0; LITERALS], [0; DISTANCES]);
        for item in items {
            match *item {
                Item::Literal(byte) => count(&mut literals, byte.into()),
                Item::Match { length, distance } => {
                    count(&mut literals, length_symbol(length).0);
                    count(&mut distances, distance_symbol(distance).0);
                }
            }
        }
        count(&mut literals, END_OF_BLOCK);
        let literals = codes(&literals, MAX_CODE_BITS);
        let distances = codes(&distances, MAX_CODE_BITS);
        self.put(is_last.into(), 1_u8);
        self.put(2, 2_u8);
        self.codes(&literals, &distances);
        for item in items {
            match *item {
                Item::Literal(byte) => self.put_code(&literals, byte.into()),
                Item::Match { length, distance } => {
                    let (symbol, rest, bits) = length_symbol(length);
                    self.put_code(&literals, symbol);
                    self.put(rest, bits);
                    let (symbol, rest, bits) = distance_symbol(distance);
                    self.put_code(&distances, symbol);
                    self.put(rest, bits);
                }
            }
        }
        self.put_code(&literals, END_OF_BLOCK);
    }

    /// Writes the lengths of the codes (section 3.2.7).
    fn codes(&mut self, literals: &[Code], distances: &[Code]) {
        let used = |codes: &[Code], least: usize| {
            codes.iter().rposition(|code| code.length > 0).map_or(0, |last| last + 1).max(least)
        };
        let (literals_used, distances_used) =
            (used(literals, END_OF_BLOCK + 1), used(distances, 1));
        let lengths: Vec<u8> = (literals.iter().take(literals_used))
            .chain(distances.iter().take(distances_used))
            .map(|code| code.length)
            .collect();
        let runs = runs(&lengths);
        let mut frequencies = [0; CODE_LENGTHS];
        runs.iter().for_each(|run| count(&mut frequencies, run.symbol));
        let codes = codes(&frequencies, 7);
        let length_of = |symbol: &usize| codes.get(*symbol).map_or(0, |code| code.length);
        let last = CODE_LENGTH_ORDER.iter().rposition(|symbol| length_of(symbol) > 0);
        let written = last.map_or(4, |last| last + 1).max(4);
        self.put(literals_used - (END_OF_BLOCK + 1), 5_u8);
        self.put(distances_used - 1, 5_u8);
        self.put(written - 4, 4_u8);
        for symbol in CODE_LENGTH_ORDER.iter().take(written) {
            self.put(length_of(symbol).into(), 3_u8);
        }
        for Run { symbol, rest, bits } in runs {
            self.put_code(&codes, symbol);
            self.put(rest, bits);
        }
    }
}

/// One length of a code, or several equal ones.
struct Run {
    symbol: usize,
    rest: usize,
    bits: u8,
}

fn runs(lengths: &[u8]) -> Vec<Run> {
    let mut runs = Vec::with_capacity(lengths.len());
    for equal in lengths.chunk_by(|one, other| one == other) {
        let Some(&length) = equal.first() else { continue };
        let mut left = equal.len();
        if length > 0 {
            runs.push(Run { symbol: length.into(), rest: 0, bits: 0 });
            left -= 1;
        }
        while left > 0 {
            let (run, taken) = match (length, left) {
                (0, 11..) => (Run { symbol: 18, rest: left.min(138) - 11, bits: 7 }, left.min(138)),
                (0, 3..) => (Run { symbol: 17, rest: left - 3, bits: 3 }, left),
                (1.., 3..) => (Run { symbol: 16, rest: left.min(6) - 3, bits: 2 }, left.min(6)),
                _ => (Run { symbol: length.into(), rest: 0, bits: 0 }, 1),
            };
            runs.push(run);
            left -= taken;
        }
    }
    runs
}
