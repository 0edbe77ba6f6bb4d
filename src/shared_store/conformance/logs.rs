//! Checks of logs.

use std::time::Duration;

use futures::future::{join, try_join_all};

use super::super::{LogCursor, StoreKey};
use super::{Checked, HOUR, PASSED, SHORT, Subject, expect};

/// More than an implementation returns at once.
const ENTRIES: usize = 1200;
/// So many calls without an end are an error.
const MAX_PAGES: usize = 2 * ENTRIES;

pub(super) async fn order(subject: &Subject<'_>) -> Checked {
    let log = subject.key("log of many");
    let mut from_empty = Reader::new(subject, &log);
    expect(from_empty.read().await?.len(), 0, "entries of an empty log")?;
    let mut expected = Vec::new();
    for number in 0..ENTRIES {
        // Equal entries are different ones, and an entry is any bytes.
        let entry = [(number / 2).to_string().as_bytes(), b"\0\xff"].concat();
        subject.append(&log, &entry, HOUR).await?;
        expected.push(entry);
    }
    expect(&from_empty.read().await?, &expected, "entries from the end when it was empty")?;
    let mut reader = Reader::new(subject, &log);
    expect(&reader.read().await?, &expected, "entries from the start")?;
    let end = reader.cursor.clone();
    expect(reader.read().await?.len(), 0, "entries after the last one")?;
    expect(reader.cursor == end, true, "the cursor stays the same at the end of the log")?;
    subject.append(&log, b"later", HOUR).await?;
    expect(reader.read().await?, vec![b"later".to_vec()], "entries after the former end")
}

pub(super) async fn separate(subject: &Subject<'_>) -> Checked {
    let logs = subject.keys(["log", "LOG", "log "]);
    for log in &logs {
        subject.append(log, log.id().as_bytes(), HOUR).await?;
    }
    for log in &logs {
        expect(
            Reader::new(subject, log).read().await?,
            vec![log.id().as_bytes().to_vec()],
            &format!("entries of the log {:?}", log.id()),
        )?;
    }
    Ok(())
}

/// A position that is assigned before an entry becomes visible lets a reader skip the entry.
pub(super) async fn concurrent(subject: &Subject<'_>) -> Checked {
    const WRITERS: usize = 16;
    const EACH: usize = 15;
    let log = subject.key("log of several");
    let writers = try_join_all((0..WRITERS).map(|writer| {
        let log = &log;
        async move {
            for number in 0..EACH {
                subject.append(log, format!("{writer} {number}").as_bytes(), HOUR).await?;
            }
            Checked::Ok(())
        }
    }));
    let mut reader = Reader::new(subject, &log);
    let mut found = Vec::new();
    let reads = async {
        for _ in 0..EACH {
            found.extend(reader.read().await?);
            tokio::task::yield_now().await;
        }
        Checked::Ok(())
    };
    let (written, read) = join(writers, reads).await;
    written.and(read)?;
    found.extend(reader.read().await?);
    for writer in 0..WRITERS {
        let prefix = format!("{writer} ").into_bytes();
        expect(
            found.iter().filter(|entry| entry.starts_with(&prefix)).cloned().collect::<Vec<_>>(),
            (0..EACH).map(|number| format!("{writer} {number}").into_bytes()).collect(),
            "entries of one of several writers",
        )?;
    }
    Ok(())
}

pub(super) async fn lifetimes(subject: &Subject<'_>, wait: &impl AsyncFn(Duration)) -> Checked {
    let log = subject.key("log with lifetimes");
    subject.append(&log, b"long", HOUR).await?;
    subject.append(&log, b"short", SHORT).await?;
    let mut reader = Reader::new(subject, &log);
    reader.read().await?;
    wait(PASSED).await;
    let entries = Reader::new(subject, &log).read().await?;
    expect(
        entries.iter().any(|entry| entry == b"long"),
        true,
        "an entry is there after a later one has expired",
    )?;
    subject.append(&log, b"last", HOUR).await?;
    expect(reader.read().await?, vec![b"last".to_vec()], "entries after one that has expired")?;

    // All entries expire, and the log is written again.
    let log = subject.key("log that expires");
    subject.append(&log, b"short", SHORT).await?;
    let mut reader = Reader::new(subject, &log);
    reader.read().await?;
    wait(PASSED).await;
    subject.append(&log, b"last", HOUR).await?;
    expect(
        reader.clone().read_to_end().await?.entries,
        vec![b"last".to_vec()],
        "entries after all others have expired",
    )?;
    // The expired entry may be removed now, and its cursor be lost.
    subject.append(&log, b"later", HOUR).await?;
    expect(
        reader.read_to_end().await?.entries,
        vec![b"last".to_vec(), b"later".to_vec()],
        "entries after an expired one that is no longer the newest",
    )
}

pub(super) async fn loss(subject: &Subject<'_>, lose: impl AsyncFnOnce()) -> Checked {
    let log = subject.key("log that is lost");
    append_several(subject, &log, "old", 10).await?;
    let mut before = Reader::new(subject, &log);
    before.read().await?;
    lose().await;
    let mut after = before.clone();
    let found = after.read_to_end().await?;
    expect(found.entries.len(), 0, "entries of the lost log")?;
    expect(found.cursor_lost, true, "cursor_lost of a lost log")?;
    subject.append(&log, b"new", HOUR).await?;
    for mut reader in [before, after] {
        let found = reader.read_to_end().await?;
        expect(found.entries, vec![b"new".to_vec()], "entries since the loss")?;
    }
    Ok(())
}

/// Other entries get the numbers of those that were lost.
pub(super) async fn restore(
    subject: &Subject<'_>,
    save: impl AsyncFnOnce(),
    restore: impl AsyncFnOnce(),
) -> Checked {
    let log = subject.key("log that is restored");
    let kept = append_several(subject, &log, "kept", 3).await?;
    let mut from_saved = Reader::new(subject, &log);
    from_saved.read().await?;
    save().await;
    append_several(subject, &log, "lost", 3).await?;
    let mut from_lost = from_saved.clone();
    from_lost.read().await?;
    restore().await;
    let found = from_lost.clone().read_to_end().await?;
    expect(found.cursor_lost, true, "cursor_lost after the loss of the last entries")?;
    expect(&found.entries, &kept, "entries that were not lost")?;
    let new = append_several(subject, &log, "new", 5).await?;
    let all = [kept, new.clone()].concat();
    let found = from_lost.read_to_end().await?;
    expect(found.cursor_lost, true, "cursor_lost when there are other entries")?;
    expect(&found.entries, &all, "all entries, after the loss of the last ones")?;
    let found = from_saved.read_to_end().await?;
    let expected = if found.cursor_lost { all } else { new };
    expect(&found.entries, &expected, "entries since the former state")
}

async fn append_several(
    subject: &Subject<'_>,
    log: &StoreKey,
    name: &str,
    count: usize,
) -> Checked<Vec<Vec<u8>>> {
    let mut entries = Vec::new();
    for number in 0..count {
        let entry = format!("{name} {number}").into_bytes();
        subject.append(log, &entry, HOUR).await?;
        entries.push(entry);
    }
    Ok(entries)
}

/// Reads a log, from its start and then from where the last read has ended.
#[derive(Clone)]
struct Reader<'a> {
    subject: &'a Subject<'a>,
    log: &'a StoreKey,
    cursor: LogCursor,
}

/// What a log has after a cursor.
struct Found {
    entries: Vec<Vec<u8>>,
    cursor_lost: bool,
}

impl<'a> Reader<'a> {
    fn new(subject: &'a Subject<'a>, log: &'a StoreKey) -> Self {
        Self { subject, log, cursor: LogCursor::start() }
    }

    /// Reads the next entries of a log that has lost nothing.
    async fn read(&mut self) -> Checked<Vec<Vec<u8>>> {
        let found = self.read_to_end().await?;
        expect(found.cursor_lost, false, "cursor_lost of a log that has lost nothing")?;
        Ok(found.entries)
    }

    /// Reads the next entries. Cursors are passed as text, as between two calls of a process that is
    /// written in another way.
    async fn read_to_end(&mut self) -> Checked<Found> {
        let mut found = Found { entries: Vec::new(), cursor_lost: false };
        for _ in 0..MAX_PAGES {
            let page = self.subject.read_since(self.log, self.cursor.clone()).await?;
            self.cursor = LogCursor::from_text(page.next.as_text());
            found.cursor_lost |= page.cursor_lost;
            if page.entries.is_empty() {
                return Ok(found);
            }
            found.entries.extend(page.entries.iter().map(|entry| entry.to_vec()));
        }
        Err(format!("read_since returns no empty page in {MAX_PAGES} calls"))
    }
}
