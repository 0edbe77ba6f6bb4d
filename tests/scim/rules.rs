//! The rules of the example, without the program.

use std::path::Path;

use time::{Duration, OffsetDateTime};
use tower_scalekit::webhook::WebhookEvent;

use crate::evaluate::{
    Known, Sync, event_counts, is_gone, listing_counts, seen_after_event, seen_after_listing,
};
use crate::processes::fresh_folder;
use crate::table::{Listed, Table};
use crate::user::{Change, User, nanoseconds};

const SYNC: Sync = Sync { number: 2, since: 100 };

fn known(changed_at: i64) -> Known {
    Known { changed_at, seen_in: 1, ..Known::default() }
}

fn deleted(changed_at: i64) -> Known {
    Known { deleted: true, ..known(changed_at) }
}

fn gone(changed_at: i64, since: i64) -> Known {
    Known { gone_since: Some(since), ..known(changed_at) }
}

#[test]
fn the_newer_event_counts_and_one_of_the_same_time() {
    for (row, happened_at, deletes, counts) in [
        (None, 1, false, true),
        (None, 1, true, true),
        (Some(known(10)), 9, false, false),
        (Some(known(10)), 9, true, false),
        (Some(known(10)), 10, false, true),
        (Some(known(10)), 11, true, true),
        (Some(deleted(10)), 9, false, false),
        (Some(deleted(10)), 11, false, true),
        (Some(gone(10, 100)), 99, false, false),
        (Some(gone(10, 100)), 100, false, true),
        // The deletion whose event has not arrived yet.
        (Some(gone(10, 100)), 50, true, true),
        (Some(gone(10, 100)), 9, true, false),
    ] {
        assert_eq!(event_counts(row.as_ref(), happened_at, deletes), counts, "{row:?}");
    }
}

#[test]
fn a_listing_outweighs_what_was_known_before_but_no_event_since() {
    let meanwhile = |row: Known| Known { seen_in: SYNC.number, ..row };
    for (row, updated_at, counts) in [
        (None, None, true),
        (Some(known(10)), None, true),
        (Some(known(10)), Some(5), true),
        (Some(gone(10, 50)), Some(5), true),
        (Some(meanwhile(known(10))), Some(9), false),
        (Some(meanwhile(known(10))), None, false),
        (Some(meanwhile(known(10))), Some(10), true),
        (Some(deleted(10)), None, false),
        (Some(deleted(10)), Some(10), false),
        (Some(deleted(10)), Some(11), true),
        (Some(meanwhile(deleted(10))), Some(9), false),
    ] {
        assert_eq!(listing_counts(row.as_ref(), updated_at, SYNC), counts, "{row:?}");
    }
}

#[test]
fn users_in_neither_listing_nor_event_are_gone() {
    assert!(is_gone(&known(10), SYNC));
    assert!(!is_gone(&deleted(10), SYNC), "deleted already");
    for (happened_at, stays) in [(99, false), (100, true)] {
        let seen_in = seen_after_event(Some(&known(10)), happened_at, SYNC);
        assert_eq!(!is_gone(&Known { seen_in, ..known(happened_at) }, SYNC), stays);
    }
    let by_another = Known { seen_in: 3, ..known(10) };
    assert_eq!(seen_after_listing(Some(&by_another), SYNC), 3);
}

#[test]
fn a_user_who_was_not_found_comes_back_with_the_next_listing_or_a_new_event_only() {
    let table = Table::open(Path::new(":memory:")).unwrap();
    let now = OffsetDateTime::now_utc();
    let jane = || User { id: "diruser_1".into(), email: "jane@acme.test".into(), ..<_>::default() };
    let listed = || Listed { user: jane(), updated_at: Some(5) };
    let active = || table.users("org_1").unwrap()[0].active;
    let event = |id: &str, happened_at| {
        let change =
            Change { user: jane(), organization_id: "org_1".into(), happened_at, deletes: false };
        table.handle(id, "organization.directory.user_updated", Some(change)).unwrap()
    };

    let first = table.begin_sync(now).unwrap();
    table.take_page(first, "org_1", vec![listed()]).unwrap();
    assert_eq!(table.finish_sync(first, "org_1").unwrap(), 0);
    let second = table.begin_sync(now).unwrap();
    assert_eq!(table.finish_sync(second, "org_2").unwrap(), 0, "another's");
    assert_eq!((table.finish_sync(second, "org_1").unwrap(), active()), (1, Some(false)));

    assert!(event("evt_1", 6));
    assert_eq!(active(), Some(false), "older than the sync");
    assert!(event("evt_2", nanoseconds(now + Duration::SECOND)));
    assert_eq!(active(), Some(true));
    let again = Change {
        user: jane(),
        organization_id: "org_1".into(),
        happened_at: i64::MAX,
        deletes: true,
    };
    assert!(!table.handle("evt_2", "organization.directory.user_deleted", Some(again)).unwrap());
    assert_eq!(active(), Some(true), "handled before");

    let third = table.begin_sync(now + Duration::HOUR).unwrap();
    table.finish_sync(third, "org_1").unwrap();
    assert_eq!(active(), Some(false));
    let fourth = table.begin_sync(now + Duration::HOUR).unwrap();
    table.take_page(fourth, "org_1", vec![listed()]).unwrap();
    assert_eq!((table.finish_sync(fourth, "org_1").unwrap(), active()), (0, Some(true)));
}

fn event(id: &str, data: &str, occurred_at: OffsetDateTime) -> WebhookEvent {
    let occurred_at = occurred_at.format(&time::format_description::well_known::Rfc3339).unwrap();
    let body = format!(
        r#"{{"spec_version":"1","id":"{id}","type":"organization.directory.user_updated",
            "occurred_at":"{occurred_at}","organization_id":"org_1","object":"DirectoryUser",
            "data":{data}}}"#
    );
    WebhookEvent::parse(body.as_bytes()).unwrap()
}

#[test]
fn a_partial_event_keeps_the_other_values() {
    let table = Table::open(Path::new(":memory:")).unwrap();
    let now = OffsetDateTime::now_utc();
    let handle = |id: &str, data: &str| {
        let event = event(id, data, now);
        table.handle(event.id(), event.event_type(), Change::of(&event, now)).unwrap();
        table.users("org_1").unwrap().remove(0)
    };
    let whole = r#"{"id":"diruser_1","email":"jane@acme.test","name":"Jane Doe",
        "given_name":"Jane","family_name":"Doe","active":true}"#;
    let jane = handle("evt_1", whole);
    let inactive = handle("evt_2", r#"{"id":"diruser_1","active":"False"}"#);
    assert_eq!(inactive, User { active: Some(false), ..jane.clone() });
    let moved = handle("evt_3", r#"{"id":"diruser_1","email":"jane@new.test","name":null}"#);
    assert_eq!(moved, User { email: "jane@new.test".into(), ..inactive });
    let married = handle("evt_4", r#"{"id":"diruser_1","family_name":"Roe"}"#);
    let expected = User { family_name: "Roe".into(), name: "Jane Roe".into(), ..moved };
    assert_eq!(married, expected);
}

#[test]
fn an_event_stamped_in_the_future_hides_no_later_one() {
    let table = Table::open(Path::new(":memory:")).unwrap();
    let now = OffsetDateTime::now_utc();
    for (id, active, stamped, arrives) in [
        ("evt_1", true, now + Duration::seconds(50), now),
        ("evt_2", false, now + Duration::seconds(1), now + Duration::seconds(2)),
        ("evt_3", true, now + Duration::hours(9), now + Duration::seconds(3)),
        ("evt_4", false, now + Duration::seconds(4), now + Duration::seconds(4)),
    ] {
        let event = event(id, &format!(r#"{{"id":"diruser_1","active":{active}}}"#), stamped);
        table.handle(event.id(), event.event_type(), Change::of(&event, arrives)).unwrap();
        assert_eq!(table.users("org_1").unwrap()[0].active, Some(active), "{id}");
    }
}

#[test]
fn the_envelope_of_older_guides_identifies_users_by_address() {
    let table = Table::open(Path::new(":memory:")).unwrap();
    for (id, time, name) in [("evt_1", "10:30:00", "John Doe"), ("evt_2", "10:31:00", "John Roe")] {
        let body = format!(
            r#"{{"id":"{id}","type":"organization.directory.user_created","data":{{
                "email":"john.doe@company.com","name":"{name}","organization_id":"org_12345"}},
                "timestamp":"2024-01-15T{time}Z"}}"#
        );
        let event = WebhookEvent::parse(body.as_bytes()).unwrap();
        assert!(
            table
                .handle(
                    event.id(),
                    event.event_type(),
                    Change::of(&event, OffsetDateTime::now_utc())
                )
                .unwrap()
        );
    }
    let users = table.users("org_12345").unwrap();
    assert_eq!((users.len(), users[0].name.as_str(), users[0].active), (1, "John Roe", Some(true)));
}

#[test]
fn an_event_whose_row_cannot_be_written_is_not_recorded() {
    let folder = fresh_folder();
    let file = folder.path().join("users.sqlite");
    let table = Table::open(&file).unwrap();
    let broken = "CREATE TRIGGER broken BEFORE INSERT ON users BEGIN SELECT RAISE(ABORT, ''); END";
    let other = rusqlite::Connection::open(&file).unwrap();
    other.execute_batch(broken).unwrap();
    let handle = || {
        let user = User { id: "diruser_1".into(), ..User::default() };
        let change =
            Change { user, organization_id: "org_1".into(), happened_at: 1, deletes: false };
        table.handle("evt_1", "organization.directory.user_created", Some(change))
    };
    assert!(handle().is_err());
    other.execute_batch("DROP TRIGGER broken").unwrap();
    assert_eq!(handle(), Ok(true));
    assert_eq!(handle(), Ok(false));
    assert_eq!(table.users("org_1").unwrap().len(), 1);
}
