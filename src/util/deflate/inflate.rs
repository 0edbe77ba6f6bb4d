//! Inflating.

use super::huffman::DecodingTable;
use super::{
    CODE_LENGTH_ORDER, CODE_LENGTHS, DISTANCE_BASES, DISTANCE_BITS, DISTANCES, END_OF_BLOCK,
    LENGTH_BASES, LENGTH_BITS, LITERALS,
};

/// Symbols of the alphabets, of which the last two each are not used.
const ALL_LITERALS: usize = 288;
const ALL_DISTANCES: usize = 32;

/// Returns the text; `None` if it is longer than `limit`, or the bytes are not well-formed. Bytes after
/// the end are ignored.
pub(crate) fn inflate(bytes: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut input = Bits { bytes, bits: 0, count: 0 };
    let mut text = Vec::with_capacity(limit.min(4 * bytes.len()));
    let mut codes = Codes { literals: DecodingTable::new(), distances: DecodingTable::new() };
    loop {
        let is_last = input.take(1)? == 1;
        match input.take(2)? {
            0 => input.stored(&mut text, limit)?,
            1 => {
                codes.fix()?;
                input.block(&codes, &mut text, limit)?;
            }
            2 => {
                codes.read(&mut input)?;
                input.block(&codes, &mut text, limit)?;
            }
            _ => return None,
        }
        if is_last {
            return Some(text);
        }
    }
}

/// The codes of a block.
struct Codes {
    literals: DecodingTable<1024>,
    distances: DecodingTable<128>,
}

impl Codes {
    /// Those of blocks without codes of their own (section 3.2.6).
    fn fix(&mut self) -> Option<()> {
        let mut lengths = [8; ALL_LITERALS];
        lengths.iter_mut().skip(144).take(112).for_each(|length| *length = 9);
        lengths.iter_mut().skip(256).take(24).for_each(|length| *length = 7);
        self.literals.fill(&lengths)?;
        self.distances.fill(&[5; ALL_DISTANCES])
    }

    /// Reads those of a block (section 3.2.7).
    fn read(&mut self, input: &mut Bits<'_>) -> Option<()> {
        let (literals, distances) = (input.take(5)? + 257, input.take(5)? + 1);
        if literals > LITERALS || distances > DISTANCES {
            return None;
        }
        let written = input.take(4)? + 4;
        let mut lengths = [0; CODE_LENGTHS];
        for &symbol in CODE_LENGTH_ORDER.get(..written)? {
            *lengths.get_mut(symbol)? = u8::try_from(input.take(3)?).ok()?;
        }
        // Not needed yet.
        let table = &mut self.distances;
        table.fill(&lengths)?;
        let mut lengths = [0; ALL_LITERALS + ALL_DISTANCES];
        let (mut filled, end) = (0, literals + distances);
        while filled < end {
            input.refill()?;
            let symbol = input.symbol(table);
            let (length, count) = match symbol {
                0..16 => (u8::try_from(symbol).ok()?, 1),
                16 => (*lengths.get(filled.checked_sub(1)?)?, 3 + input.taken(2)),
                17 => (0, 3 + input.taken(3)),
                18 => (0, 11 + input.taken(7)),
                _ => return None,
            };
            if filled + count > end {
                return None;
            }
            lengths.get_mut(filled..filled + count)?.fill(length);
            filled += count;
        }
        let (literals, distances) = lengths.get(..end)?.split_at_checked(literals)?;
        self.literals.fill(literals)?;
        self.distances.fill(distances)
    }
}

#[derive(Clone, Copy)]
struct Bits<'a> {
    bytes: &'a [u8],
    /// The next ones, from the lowest.
    bits: u64,
    /// How many there are. Negative if more were taken: the next `refill` fails then.
    count: i32,
}

impl Bits<'_> {
    /// Provides at least 56 bits, as far as there are that many; zeros follow. `None` if more were taken
    /// than there were.
    #[inline(always)]
    fn refill(&mut self) -> Option<()> {
        let count = u32::try_from(self.count).ok()?;
        if let Some(word) = self.bytes.first_chunk() {
            self.bits |= u64::from_le_bytes(*word) << (count % 64);
            let taken = (63 - count) / 8;
            self.bytes = self.bytes.get(taken as usize..)?;
            self.count |= 56;
            return Some(());
        }
        while self.count <= 56
            && let Some((&byte, rest)) = self.bytes.split_first()
        {
            self.bits |= u64::from(byte) << self.count;
            self.bytes = rest;
            self.count += 8;
        }
        Some(())
    }

    /// Removes up to 16 bits, and returns them. Less than the 56 of `refill` may be taken in sum.
    #[inline(always)]
    fn taken(&mut self, count: u8) -> usize {
        let value = self.bits & ((1 << count) - 1);
        self.bits >>= count;
        self.count -= i32::from(count);
        value as usize
    }

    /// Up to 16 bits.
    fn take(&mut self, count: u8) -> Option<usize> {
        self.refill()?;
        let value = self.taken(count);
        (self.count >= 0).then_some(value)
    }

    /// The next symbol; none of the alphabet if no code is like this.
    #[inline(always)]
    fn symbol<const SIZE: usize>(&mut self, table: &DecodingTable<SIZE>) -> usize {
        let (symbol, length) = table.decode(self.bits);
        self.taken(length);
        symbol
    }

    /// A block without compression (section 3.2.4).
    fn stored(&mut self, text: &mut Vec<u8>, limit: usize) -> Option<()> {
        self.taken((self.count % 8).try_into().ok()?);
        let (length, complement) = (self.take(16)?, self.take(16)?);
        if length != complement ^ 0xffff || text.len() + length > limit {
            return None;
        }
        for _ in 0..length {
            text.push(u8::try_from(self.take(8)?).ok()?);
        }
        Some(())
    }

    fn block(&mut self, codes: &Codes, text: &mut Vec<u8>, limit: usize) -> Option<()> {
        // A copy is kept in registers.
        let mut input = *self;
        while text.len() <= limit {
            // Enough for three literals, or for a length and a distance.
            input.refill()?;
            let mut symbol = input.symbol(&codes.literals);
            for _ in 0..2 {
                let Ok(literal) = u8::try_from(symbol) else { break };
                text.push(literal);
                symbol = input.symbol(&codes.literals);
            }
            if let Ok(literal) = u8::try_from(symbol) {
                text.push(literal);
                continue;
            }
            input.refill()?;
            if symbol == END_OF_BLOCK {
                *self = input;
                return (text.len() <= limit).then_some(());
            }
            let length = symbol - END_OF_BLOCK - 1;
            let extra = input.taken(*LENGTH_BITS.get(length)?);
            let length = usize::from(*LENGTH_BASES.get(length)?) + extra;
            let distance = input.symbol(&codes.distances);
            let extra = input.taken(*DISTANCE_BITS.get(distance)?);
            let distance = usize::from(*DISTANCE_BASES.get(distance)?) + extra;
            repeat(text, length, distance)?;
        }
        None
    }
}

/// Appends what is this far back, which may include what is appended.
fn repeat(text: &mut Vec<u8>, mut length: usize, distance: usize) -> Option<()> {
    let start = text.len().checked_sub(distance)?;
    while length > 0 {
        let part = length.min(text.len() - start);
        text.extend_from_within(start..start + part);
        length -= part;
    }
    Some(())
}
