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
    let (entries, empty) = read(subject, &log, LogCursor::start()).await?;
    expect(entries.len(), 0, "entries of an empty log")?;
    let mut expected = Vec::new();
    for number in 0..ENTRIES {
        // Equal entries are different ones, and an entry is any bytes.
        let entry = [(number / 2).to_string().as_bytes(), b"\0\xff"].concat();
        subject.append(&log, &entry, HOUR).await?;
        expected.push(entry);
    }
    expect(
        &read(subject, &log, empty).await?.0,
        &expected,
        "entries from the end when it was empty",
    )?;
    let (entries, end) = read(subject, &log, LogCursor::start()).await?;
    expect(&entries, &expected, "entries from the start")?;
    let (entries, again) = read(subject, &log, end.clone()).await?;
    expect(entries.len(), 0, "entries after the last one")?;
    expect(again == end, true, "the cursor stays the same at the end of the log")?;
    subject.append(&log, b"later", HOUR).await?;
    expect(
        read(subject, &log, end).await?.0,
        vec![b"later".to_vec()],
        "entries after the former end",
    )
}

pub(super) async fn separate(subject: &Subject<'_>) -> Checked {
    let logs = ["log", "LOG", "log "].map(|id| subject.key(id));
    for log in &logs {
        subject.append(log, log.id().as_bytes(), HOUR).await?;
    }
    for log in &logs {
        let (entries, _) = read(subject, log, LogCursor::start()).await?;
        let what = format!("entries of the log {:?}", log.id());
        expect(&entries, &vec![log.id().as_bytes().to_vec()], &what)?;
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
    let mut found = Vec::new();
    let reader = async {
        let mut cursor = LogCursor::start();
        for _ in 0..EACH {
            let (entries, end) = read(subject, &log, cursor).await?;
            found.extend(entries);
            cursor = end;
            tokio::task::yield_now().await;
        }
        Checked::Ok(cursor)
    };
    let (written, cursor) = join(writers, reader).await;
    written?;
    found.extend(read(subject, &log, cursor?).await?.0);
    for writer in 0..WRITERS {
        let prefix = format!("{writer} ").into_bytes();
        let own: Vec<_> = found.iter().filter(|entry| entry.starts_with(&prefix)).collect();
        let expected: Vec<_> =
            (0..EACH).map(|number| format!("{writer} {number}").into_bytes()).collect();
        expect(own, expected.iter().collect(), "entries of one of several writers")?;
    }
    Ok(())
}

pub(super) async fn lifetimes(subject: &Subject<'_>, wait: &impl AsyncFn(Duration)) -> Checked {
    let log = subject.key("log with lifetimes");
    subject.append(&log, b"long", HOUR).await?;
    subject.append(&log, b"short", SHORT).await?;
    let (_, end) = read(subject, &log, LogCursor::start()).await?;
    wait(PASSED).await;
    let (entries, _) = read(subject, &log, LogCursor::start()).await?;
    let has_long = entries.iter().any(|entry| entry == b"long");
    expect(has_long, true, "an entry is there after a later one has expired")?;
    subject.append(&log, b"last", HOUR).await?;
    let (entries, _) = read(subject, &log, end).await?;
    expect(entries, vec![b"last".to_vec()], "entries after one that has expired")?;

    // All entries expire, and the log is written again.
    let log = subject.key("log that expires");
    subject.append(&log, b"short", SHORT).await?;
    let (_, end) = read(subject, &log, LogCursor::start()).await?;
    wait(PASSED).await;
    subject.append(&log, b"last", HOUR).await?;
    let found = read_from(subject, &log, end.clone()).await?;
    expect(found.entries, vec![b"last".to_vec()], "entries after all others have expired")?;
    // The expired entry may be removed now, and its cursor be lost.
    subject.append(&log, b"later", HOUR).await?;
    let found = read_from(subject, &log, end).await?;
    let expected = vec![b"last".to_vec(), b"later".to_vec()];
    expect(found.entries, expected, "entries after an expired one that is no longer the newest")
}

pub(super) async fn loss(subject: &Subject<'_>, lose: impl AsyncFnOnce()) -> Checked {
    let log = subject.key("log that is lost");
    for number in 0..10 {
        subject.append(&log, format!("old {number}").as_bytes(), HOUR).await?;
    }
    let (_, end) = read(subject, &log, LogCursor::start()).await?;
    lose().await;
    let found = read_from(subject, &log, end.clone()).await?;
    expect(found.entries.len(), 0, "entries of the lost log")?;
    expect(found.cursor_lost, true, "cursor_lost of a lost log")?;
    subject.append(&log, b"new", HOUR).await?;
    for cursor in [end, found.end] {
        let found = read_from(subject, &log, cursor).await?;
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
    let append = async |name: &str, count: usize| {
        let mut entries = Vec::new();
        for number in 0..count {
            let entry = format!("{name} {number}").into_bytes();
            subject.append(&log, &entry, HOUR).await?;
            entries.push(entry);
        }
        Checked::Ok(entries)
    };
    let kept = append("kept", 3).await?;
    let (_, saved) = read(subject, &log, LogCursor::start()).await?;
    save().await;
    append("lost", 3).await?;
    let (_, end) = read(subject, &log, saved.clone()).await?;
    restore().await;
    let found = read_from(subject, &log, end.clone()).await?;
    expect(found.cursor_lost, true, "cursor_lost after the loss of the last entries")?;
    expect(&found.entries, &kept, "entries that were not lost")?;
    let new = append("new", 5).await?;
    let all = [kept, new.clone()].concat();
    let found = read_from(subject, &log, end).await?;
    expect(found.cursor_lost, true, "cursor_lost when there are other entries")?;
    expect(&found.entries, &all, "all entries, after the loss of the last ones")?;
    let found = read_from(subject, &log, saved).await?;
    let expected = if found.cursor_lost { all } else { new };
    expect(&found.entries, &expected, "entries since the former state")
}

/// What a log has after a cursor.
struct WholeLog {
    entries: Vec<Vec<u8>>,
    end: LogCursor,
    cursor_lost: bool,
}

/// Reads all pages after a cursor that the log has. Returns the entries and the cursor at the end.
async fn read(
    subject: &Subject<'_>,
    log: &StoreKey,
    cursor: LogCursor,
) -> Checked<(Vec<Vec<u8>>, LogCursor)> {
    let found = read_from(subject, log, cursor).await?;
    expect(found.cursor_lost, false, "cursor_lost of a log that has lost nothing")?;
    Ok((found.entries, found.end))
}

/// Reads all pages after the cursor.
///
/// Cursors are passed as text, as between two calls of a process that is written in another way.
async fn read_from(subject: &Subject<'_>, log: &StoreKey, cursor: LogCursor) -> Checked<WholeLog> {
    let mut found = WholeLog { entries: Vec::new(), end: cursor, cursor_lost: false };
    for _ in 0..MAX_PAGES {
        let page = subject.read_since(log, found.end).await?;
        found.end = LogCursor::from_text(page.next.as_text());
        found.cursor_lost |= page.cursor_lost;
        if page.entries.is_empty() {
            return Ok(found);
        }
        found.entries.extend(page.entries.iter().map(|entry| entry.to_vec()));
    }
    Err(format!("read_since returns no empty page in {MAX_PAGES} calls"))
}
