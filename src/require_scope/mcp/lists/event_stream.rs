//! Messages in an event stream (HTML, [event stream interpretation]).
//!
//! [event stream interpretation]: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

use super::{Access, ListError, MAX_BYTES};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An event stream. Events without a list pass unchanged, as soon as they are complete.
#[derive(Default)]
pub(super) struct Events {
    /// The event that is not complete yet.
    event: Vec<u8>,
    /// Start of its last line.
    line: usize,
    /// The bytes before it contain no end of that line.
    searched: usize,
    has_started: bool,
    /// The event is too large to filter, and its beginning has passed.
    is_passing: bool,
}

impl Events {
    pub(super) fn push(
        &mut self,
        data: &[u8],
        access: &Access,
        filtered: &mut Vec<u8>,
    ) -> Result<(), ListError> {
        self.event.extend_from_slice(data);
        while let Some(end) = self.end_of_line() {
            let is_blank = matches!(self.event.get(self.line), Some(b'\n' | b'\r'));
            (self.line, self.searched) = (end, end);
            if is_blank {
                let rest = self.event.split_off(end);
                self.complete(access, filtered)?;
                self.event = rest;
            }
        }
        if self.event.len() > MAX_BYTES && !self.is_passing {
            self.is_passing = access.is_content(&data_of(&self.event));
            if !self.is_passing {
                return Err(ListError::TooLarge);
            }
        }
        if self.is_passing {
            // They show whether the current line ends, and whether it is blank.
            let kept = (self.event.len() - self.line).min(2);
            let rest = self.event.split_off(self.event.len() - kept);
            filtered.append(&mut self.event);
            self.event = rest;
            (self.line, self.searched) = (0, 0);
        }
        Ok(())
    }

    /// Clients may read an event that no blank line completes.
    pub(super) fn finish(
        &mut self,
        access: &Access,
        filtered: &mut Vec<u8>,
    ) -> Result<(), ListError> {
        self.complete(access, filtered)
    }

    /// The end of the current line, once it is known.
    fn end_of_line(&mut self) -> Option<usize> {
        let rest = self.event.get(self.searched..).unwrap_or_default();
        let Some(length) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            self.searched = self.event.len();
            return None;
        };
        let at = self.searched + length;
        match (self.event.get(at), self.event.get(at + 1)) {
            // A line feed may follow.
            (Some(b'\r'), None) => None,
            (Some(b'\r'), Some(b'\n')) => Some(at + 2),
            _ => Some(at + 1),
        }
    }

    fn complete(&mut self, access: &Access, filtered: &mut Vec<u8>) -> Result<(), ListError> {
        let mut event = std::mem::take(&mut self.event);
        (self.line, self.searched) = (0, 0);
        let is_first = !std::mem::replace(&mut self.has_started, true);
        if std::mem::take(&mut self.is_passing) {
            filtered.extend(event);
            return Ok(());
        }
        if is_first && event.starts_with(BYTE_ORDER_MARK) {
            event.drain(..BYTE_ORDER_MARK.len());
        }
        let data = data_of(&event);
        if event.len() > MAX_BYTES {
            if !access.is_content(&data) {
                return Err(ListError::TooLarge);
            }
            filtered.extend(event);
            return Ok(());
        }
        // Older servers begin a stream with an address.
        let is_json = data.trim_ascii_start().first().is_some_and(|byte| b"{[".contains(byte));
        let is_message = is_json || (!data.is_empty() && access.expected.is_some());
        let changed = if is_message { access.filter(&data)? } else { None };
        let Some(changed) = changed else {
            filtered.extend(event);
            return Ok(());
        };
        for line in lines(&event).filter(|line| !line.is_empty() && value_of(line).is_none()) {
            filtered.extend([line, b"\n"].concat());
        }
        filtered.extend_from_slice(b"data: ");
        // Only white space contains them.
        filtered.extend(changed.into_iter().map(|byte| match byte {
            b'\n' | b'\r' => b' ',
            other => other,
        }));
        filtered.extend_from_slice(b"\n\n");
        Ok(())
    }
}

/// The lines of an event. The two characters of a CRLF also count as an empty line between them.
fn lines(event: &[u8]) -> impl Iterator<Item = &[u8]> {
    event.split(|byte| matches!(byte, b'\n' | b'\r'))
}

/// The message of an event.
fn data_of(event: &[u8]) -> Vec<u8> {
    lines(event).filter_map(value_of).collect::<Vec<_>>().join(&b'\n')
}

/// The value of a line with the field `data`.
fn value_of(line: &[u8]) -> Option<&[u8]> {
    match line.strip_prefix(b"data")? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}
