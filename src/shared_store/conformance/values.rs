//! Checks of values.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{try_join_all, try_join3, try_join4};

use super::super::{KeyNamespace, StoreScope};
use super::{Checked, HOUR, PASSED, SHORT, Subject, expect};

/// The library stores counters for 800 days.
const LONGEST: Duration = Duration::from_secs(800 * 24 * 60 * 60);
/// The largest values are sessions, which fit into three cookies.
const LARGE: usize = 64 * 1024;

pub(super) async fn bytes(subject: &Subject<'_>) -> Checked {
    let key = subject.key("bytes");
    subject.expect(&key, None, "a value that was never set").await?;
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let large: Vec<u8> = (0..LARGE).map(|index| (index % 251) as u8).collect();
    for value in [&b"text"[..], b"", b"\0", b"\xff\xfe", &all, &large] {
        subject.put(&key, value, HOUR).await?;
        subject
            .expect(&key, Some(value), &format!("get of a value of {} bytes", value.len()))
            .await?;
    }
    Ok(())
}

pub(super) async fn keys(subject: &Subject<'_>) -> Checked {
    let long = "k".repeat(300);
    let longer = format!("{long}k");
    let [longest, too_long] = [900, 901].map(|length| "k".repeat(length));
    let mut keys: Vec<_> = [
        "id",
        "ID",
        "id ",
        " id",
        "i",
        "",
        "id:id",
        "id.id",
        "id/id",
        "i%",
        "i_",
        "i*",
        "{id}",
        "'id'",
        "\"id\"",
        "id\\",
        "ïd",
        "id\u{301}",
        "id\n",
        "id\u{1}",
        "id\0",
        &long,
        &longer,
        &longest,
        &too_long,
    ]
    .map(|id| subject.key(id))
    .into();
    keys.push(subject.scope.key(KeyNamespace::Session, "id"));
    keys.push(StoreScope::new([subject.scope.qualify("other")]).key(KeyNamespace::Refresh, "id"));
    for (index, key) in keys.iter().enumerate() {
        subject.put(key, index.to_string().as_bytes(), HOUR).await?;
    }
    for (index, key) in keys.iter().enumerate() {
        let what = format!("{:?} with id {:?}", key.namespace(), key.id());
        subject.expect(key, Some(index.to_string().as_bytes()), &what).await?;
    }
    Ok(())
}

pub(super) async fn put_if_absent(subject: &Subject<'_>) -> Checked {
    let key = subject.key("put_if_absent");
    expect(subject.put_if_absent(&key, b"", HOUR).await?, true, "on an absent value")?;
    expect(subject.put_if_absent(&key, b"two", HOUR).await?, false, "on an empty value")?;
    subject.expect(&key, Some(b""), "the value after a rejected one").await?;
    subject.remove_if(&key, b"").await?;
    expect(subject.put_if_absent(&key, b"three", HOUR).await?, true, "on a removed value")?;
    subject.expect(&key, Some(b"three"), "the accepted value").await
}

pub(super) async fn replace_if(subject: &Subject<'_>) -> Checked {
    let key = subject.key("replace_if");
    expect(subject.replace_if(&key, b"", b"new", HOUR).await?, false, "on an absent value")?;
    subject.expect(&key, None, "the absent value").await?;
    let value = b"Value\xff";
    subject.put(&key, value, HOUR).await?;
    for other in OTHERS {
        expect(
            subject.replace_if(&key, other, b"new", HOUR).await?,
            false,
            &format!("with {other:?} expected instead of {value:?}"),
        )?;
    }
    subject.expect(&key, Some(value), "the value after rejected ones").await?;
    expect(subject.replace_if(&key, value, b"new", HOUR).await?, true, "with equal bytes")?;
    subject.expect(&key, Some(b"new"), "the accepted value").await?;
    expect(subject.replace_if(&key, b"new", b"new", HOUR).await?, true, "by an equal value")
}

pub(super) async fn remove_if(subject: &Subject<'_>) -> Checked {
    let key = subject.key("remove_if");
    expect(subject.remove_if(&key, b"").await?, false, "on an absent value")?;
    let value = b"Value\xff";
    subject.put(&key, value, HOUR).await?;
    for other in OTHERS {
        expect(
            subject.remove_if(&key, other).await?,
            false,
            &format!("with {other:?} expected instead of {value:?}"),
        )?;
    }
    subject.expect(&key, Some(value), "the retained value").await?;
    expect(subject.remove_if(&key, value).await?, true, "with equal bytes")?;
    subject.expect(&key, None, "the removed value").await
}

/// Values that text comparisons confuse with `Value\xff`.
const OTHERS: [&[u8]; 7] =
    [b"", b"value\xff", b"Value\xfe", b"Value\xff\0", b"Value\xff ", b"Value", b"Value\xc3\xbf"];

pub(super) async fn atomic(subject: &Subject<'_>) -> Checked {
    const CALLERS: usize = 24;
    const TURNS: usize = 5;
    let lock = subject.key("lock");
    let locks = (0..CALLERS).map(|caller| {
        let (lock, caller) = (&lock, caller.to_string());
        async move { subject.put_if_absent(lock, caller.as_bytes(), HOUR).await }
    });
    expect(
        try_join_all(locks).await?.into_iter().filter(|locked| *locked).count(),
        1,
        "concurrent calls of put_if_absent that return true",
    )?;
    let holder = subject.get(&lock).await?.unwrap_or_default();
    let removals = (0..CALLERS).map(|_| subject.remove_if(&lock, &holder));
    expect(
        try_join_all(removals).await?.into_iter().filter(|removed| *removed).count(),
        1,
        "concurrent calls of remove_if that return true",
    )?;

    let counter = subject.key("counter");
    subject.put(&counter, b"0", HOUR).await?;
    let additions = (0..CALLERS).map(|_| async {
        let mut added = 0;
        for _ in 0..CALLERS * TURNS {
            let seen = subject.get(&counter).await?.unwrap_or_default();
            let number: usize = str::from_utf8(&seen)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or("a damaged counter")?;
            let next = (number + 1).to_string();
            added += usize::from(subject.replace_if(&counter, &seen, next.as_bytes(), HOUR).await?);
            if added == TURNS {
                break;
            }
        }
        Checked::Ok(added)
    });
    let added: usize = try_join_all(additions).await?.into_iter().sum();
    subject
        .expect(
            &counter,
            Some(added.to_string().as_bytes()),
            "a counter after successful calls of replace_if",
        )
        .await
}

/// A caller that leaves drops the future, at any time.
pub(super) async fn canceled(subject: &Subject<'_>) -> Checked {
    let store = subject.store;
    let (one, two) = (subject.key("canceled one"), subject.key("canceled two"));
    subject.put(&one, b"one", HOUR).await?;
    let mut written = Vec::new();
    for number in 0..40 {
        let value = Bytes::from(format!("{number} ").repeat(100));
        written.push(value.clone());
        drop(store.get(&two));
        let _ = store.put(&two, value, HOUR).now_or_never();
        let _ = store.get(&two).now_or_never();
        subject.expect(&one, Some(b"one"), "a value after operations that were canceled").await?;
        if let Some(found) = subject.get(&two).await? {
            expect(
                written.contains(&found),
                true,
                "the value of a canceled put is one that was written",
            )?;
        }
    }
    Ok(())
}

pub(super) async fn lifetimes(subject: &Subject<'_>, wait: &impl AsyncFn(Duration)) -> Checked {
    let [short, long, extended, shortened, untouched] =
        subject.keys(["short", "long", "extended", "shortened", "untouched"]);
    let [replaced, cut, unequal, absent, zero, longest] =
        subject.keys(["replaced", "cut", "unequal", "absent", "zero", "longest"]);
    let (one, two) = (b"one", b"two");
    try_join4(
        subject.put(&short, one, SHORT),
        subject.put(&long, one, HOUR),
        subject.put(&longest, one, LONGEST),
        async {
            subject.put(&extended, one, SHORT).await?;
            subject.put(&extended, two, HOUR).await?;
            subject.put(&shortened, one, HOUR).await?;
            subject.put(&shortened, two, SHORT).await
        },
    )
    .await?;
    try_join4(
        async {
            subject.put(&untouched, one, SHORT).await?;
            subject.put_if_absent(&untouched, two, HOUR).await
        },
        async {
            subject.put(&replaced, one, SHORT).await?;
            subject.replace_if(&replaced, one, two, HOUR).await
        },
        async {
            subject.put(&cut, one, HOUR).await?;
            subject.replace_if(&cut, one, two, SHORT).await
        },
        async {
            subject.put(&unequal, one, SHORT).await?;
            subject.replace_if(&unequal, two, two, HOUR).await
        },
    )
    .await?;
    let (_, _, present) = try_join3(
        subject.put_if_absent(&absent, one, SHORT),
        subject.put(&zero, one, Duration::ZERO),
        try_join_all([&short, &long, &extended, &replaced].map(|key| subject.get(key))),
    )
    .await?;
    expect(
        present.iter().filter(|value| value.is_some()).count(),
        4,
        "values that have not expired",
    )?;
    wait(PASSED).await;
    for (key, value, what) in [
        (&short, None, "a value after its lifetime"),
        (&zero, None, "a value without a lifetime"),
        (&absent, None, "a value of put_if_absent after its lifetime"),
        (&long, Some(&one[..]), "a value before the end of its lifetime"),
        (&longest, Some(&one[..]), "a value that is set for 800 days"),
        (&extended, Some(&two[..]), "put with a longer lifetime"),
        (&shortened, None, "put with a shorter lifetime"),
        (&untouched, None, "a value that put_if_absent did not replace, after its lifetime"),
        (&replaced, Some(&two[..]), "replace_if with a longer lifetime"),
        (&cut, None, "replace_if with a shorter lifetime"),
        (&unequal, None, "a value that replace_if did not replace, after its lifetime"),
    ] {
        subject.expect(key, value, what).await?;
    }
    expect(
        subject.replace_if(&short, one, two, HOUR).await?,
        false,
        "replace_if on an expired value",
    )?;
    expect(subject.remove_if(&shortened, two).await?, false, "remove_if on an expired value")?;
    expect(
        subject.put_if_absent(&short, two, HOUR).await?,
        true,
        "put_if_absent on an expired value",
    )
}
