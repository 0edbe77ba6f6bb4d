//! Settings that are wrong, and the end.

use crate::app::World;
use crate::processes::{Program, fresh_folder};

#[test]
fn what_is_wrong_is_named_in_one_line() {
    for (setting, name, code) in [
        (("SCALEKIT_WEBHOOK_SECRET", "short"), "SCALEKIT_WEBHOOK_SECRET", 2),
        (("DATABASE_URL", "postgres://localhost/users"), "DATABASE_URL", 2),
        (("DATABASE_URL", "sqlite:///no/such/folder/users.sqlite"), "/no/such/folder", 1),
    ] {
        let settings = [setting, ("BIND", "127.0.0.1:0")];
        let mut program = Program::start(&crate::app::example(), &[], &settings, fresh_folder());
        assert_eq!(program.ended().code(), Some(code), "{name}");
        let errors = program.errors();
        assert!(errors.contains(name) && errors.lines().count() == 1, "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_it_in_the_middle_of_a_sync() {
    let world = World::with_users(10).await;
    let held = world.sandbox.hold(tower_scalekit::sandbox::Endpoint::Api);
    let mut app = world.start();
    app.program.terminate();
    assert_eq!(app.program.ended().code(), Some(0));
    drop(held);
}
