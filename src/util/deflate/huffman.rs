//! Canonical Huffman codes (RFC 1951, section 3.2.2).

use super::MAX_CODE_BITS;

const MAX_SYMBOLS: usize = 288;

/// Decodes symbols. `SIZE` is a power of two: codes of as many bits are decoded by one lookup.
pub(super) struct DecodingTable<const SIZE: usize> {
    /// By the next bits: `symbol << 4 | length`; 0 if the code is longer, or not in use.
    entries: [u16; SIZE],
    /// Number of symbols with codes of each length.
    counts: [u16; MAX_CODE_BITS + 1],
    /// In the order of their codes.
    symbols: [u16; MAX_SYMBOLS],
}

impl<const SIZE: usize> DecodingTable<SIZE> {
    /// A table without codes.
    pub(super) fn new() -> Self {
        Self { entries: [0; SIZE], counts: [0; MAX_CODE_BITS + 1], symbols: [0; MAX_SYMBOLS] }
    }

    /// Sets codes of these lengths; 0 is a symbol without one. `None` if there are not as many codes.
    pub(super) fn fill(&mut self, lengths: &[u8]) -> Option<()> {
        let mut counts = [0; MAX_CODE_BITS + 1];
        for length in lengths {
            *counts.get_mut(usize::from(*length))? += 1;
        }
        let [unused, ..] = &mut counts;
        *unused = 0;
        // The position of the first symbol of each length.
        let mut positions = [0_u16; MAX_CODE_BITS + 1];
        let (mut used, mut free) = (0, 1_i32);
        for (count, position) in counts.iter().zip(&mut positions) {
            *position = used;
            used += count;
            free = 2 * (free - i32::from(*count));
            if free < 0 {
                return None;
            }
        }
        // One symbol has a code of one bit, of which the other is not in use.
        if free > 0 && used > 1 {
            return None;
        }
        for (symbol, length) in (0_u16..).zip(lengths).filter(|(_, length)| **length > 0) {
            let position = positions.get_mut(usize::from(*length))?;
            *self.symbols.get_mut(usize::from(*position))? = symbol;
            *position += 1;
        }
        self.counts = counts;
        self.fill_entries();
        Some(())
    }

    fn fill_entries(&mut self) {
        // Codes begin with their highest bit, other numbers with their lowest. So the codes of a length
        // are at each such number, and doubling what is filled adds the next bit.
        let mut symbols = self.symbols.iter();
        let (mut code, mut filled) = (0_usize, 1);
        self.entries.iter_mut().take(1).for_each(|first| *first = 0);
        for (length, count) in (0_u16..).zip(&self.counts).skip(1) {
            code <<= 1;
            if filled == SIZE {
                break;
            }
            self.entries.copy_within(..filled, filled);
            filled *= 2;
            for symbol in symbols.by_ref().take(usize::from(*count)) {
                let at = code.reverse_bits() >> (usize::BITS - u32::from(length));
                if let Some(entry) = self.entries.get_mut(at) {
                    *entry = (symbol << 4) | length;
                }
                code += 1;
            }
        }
    }

    /// The symbol whose code the bits begin with, and the length of the code.
    #[inline(always)]
    pub(super) fn decode(&self, bits: u64) -> (usize, u8) {
        let entry = self.entries.get(bits as usize % SIZE).copied().unwrap_or_default();
        if entry == 0 {
            return self.decode_long(bits);
        }
        (usize::from(entry >> 4), (entry & 15) as u8)
    }

    #[cold]
    fn decode_long(&self, mut bits: u64) -> (usize, u8) {
        let (mut code, mut first, mut position) = (0, 0, 0);
        for (length, count) in (0_u8..).zip(&self.counts).skip(1) {
            let count = usize::from(*count);
            code |= bits as usize & 1;
            bits >>= 1;
            if code < first + count {
                let symbol = self.symbols.get(position + code - first);
                return (symbol.map_or(usize::MAX, |symbol| usize::from(*symbol)), length);
            }
            position += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        (usize::MAX, 0)
    }
}

/// The code of a symbol, from its lowest bit, and its length, which is 0 if it has none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Code {
    pub(super) bits: u16,
    pub(super) length: u8,
}

/// Codes of at most `max_length` bits for symbols that occur this often.
pub(super) fn codes<const N: usize>(frequencies: &[u32; N], max_length: usize) -> [Code; N] {
    let lengths = lengths(frequencies, max_length);
    let mut counts = [0_u16; MAX_CODE_BITS + 1];
    for length in lengths.iter().filter(|length| **length > 0) {
        if let Some(count) = counts.get_mut(usize::from(*length)) {
            *count += 1;
        }
    }
    let mut next = [0_u16; MAX_CODE_BITS + 1];
    let mut code = 0_u16;
    for (count, next) in counts.iter().zip(next.iter_mut().skip(1)) {
        code = (code + count) << 1;
        *next = code;
    }
    lengths.map(|length| match next.get_mut(usize::from(length)) {
        Some(next) if length > 0 => {
            let bits = next.reverse_bits() >> (16 - u32::from(length));
            *next = next.wrapping_add(1);
            Code { bits, length }
        }
        _ => Code::default(),
    })
}

/// The lengths of a minimum-redundancy code, made shorter where they exceed the maximum.
fn lengths<const N: usize>(frequencies: &[u32; N], max_length: usize) -> [u8; N] {
    let mut sorted: Vec<(u32, usize)> = Vec::with_capacity(N);
    let used = frequencies.iter().enumerate().filter(|(_, frequency)| **frequency > 0);
    sorted.extend(used.map(|(symbol, frequency)| (*frequency, symbol)));
    sorted.sort_unstable();
    let mut counts = counts_of_lengths(&sorted, max_length);
    let mut lengths = [0; N];
    // The rarest symbols have the longest codes.
    let mut length = max_length;
    for (_, symbol) in sorted {
        while length > 1 && counts.get(length) == Some(&0) {
            length -= 1;
        }
        if let (Some(count), Some(of_symbol)) = (counts.get_mut(length), lengths.get_mut(symbol)) {
            *count = count.saturating_sub(1);
            *of_symbol = u8::try_from(length).unwrap_or_default();
        }
    }
    lengths
}

/// How many symbols have codes of each length.
fn counts_of_lengths(sorted: &[(u32, usize)], max_length: usize) -> [u32; MAX_CODE_BITS + 1] {
    let mut counts = [0_u32; MAX_CODE_BITS + 1];
    let mut add = |length: usize| {
        if let Some(count) = counts.get_mut(length.clamp(1, max_length)) {
            *count += 1;
        }
    };
    if sorted.len() < 2 {
        sorted.iter().for_each(|_| add(1));
        return counts;
    }
    // The two rarest nodes are joined, until one is left. Leaves come first, then joined nodes, both in
    // the order of their frequencies.
    let leaves = sorted.len();
    let mut frequencies: Vec<u32> = sorted.iter().map(|(frequency, _)| *frequency).collect();
    let mut parents = vec![0; 2 * leaves - 1];
    let (mut leaf, mut joined) = (0, leaves);
    while frequencies.len() < 2 * leaves - 1 {
        let node = frequencies.len();
        let mut sum = 0_u32;
        for _ in 0..2 {
            let next_leaf = frequencies.get(leaf).filter(|_| leaf < leaves);
            let next_joined = frequencies.get(joined);
            let rarest = match (next_leaf, next_joined) {
                (Some(one), Some(other)) if one > other => &mut joined,
                (None, _) => &mut joined,
                _ => &mut leaf,
            };
            sum = sum.saturating_add(frequencies.get(*rarest).copied().unwrap_or_default());
            if let Some(parent) = parents.get_mut(*rarest) {
                *parent = node;
            }
            *rarest += 1;
        }
        frequencies.push(sum);
    }
    // Parents come after their children.
    let mut depths = vec![0_usize; parents.len()];
    for node in (0..parents.len().saturating_sub(1)).rev() {
        let above = parents.get(node).and_then(|parent| depths.get(*parent)).copied();
        if let (Some(above), Some(depth)) = (above, depths.get_mut(node)) {
            *depth = above + 1;
        }
    }
    depths.iter().take(leaves).for_each(|depth| add(*depth));
    shorten(&mut counts, max_length);
    counts
}

/// Makes codes that were cut to the maximum distinct again: for each excess, a shorter code becomes
/// longer by one bit.
fn shorten(counts: &mut [u32; MAX_CODE_BITS + 1], max_length: usize) {
    let total = |counts: &[u32; MAX_CODE_BITS + 1]| -> u64 {
        let lengths = counts.iter().enumerate().take(max_length + 1).skip(1);
        lengths.map(|(length, count)| u64::from(*count) << (max_length - length)).sum()
    };
    while total(counts) > 1 << max_length {
        let Some(shorter) = (1..max_length).rev().find(|length| counts.get(*length) > Some(&0))
        else {
            return;
        };
        // One code at the maximum takes the place beside it.
        for (length, change) in [(max_length, -1), (shorter, -1), (shorter + 1, 2)] {
            if let Some(count) = counts.get_mut(length) {
                *count = count.saturating_add_signed(change);
            }
        }
    }
}
