//! Invalid settings, access to the file, and shutdown.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};

use crate::app::World;
use crate::processes::{Program, fresh_folder};

#[test]
fn errors_are_one_line() {
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

fn permissions(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_default_database_is_private() {
    let home = fresh_folder();
    let settings = [("HOME", home.path().to_str().unwrap()), ("BIND", "127.0.0.1:0")];
    let program = Program::start(&crate::app::example(), &[], &settings, fresh_folder());
    program.said("listening on ");
    let folder = home.path().join(".local/state/tower-scalekit");
    assert_eq!(permissions(&folder), 0o700);
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.contains(&folder.join("scim.sqlite")), "{files:?}");
    for file in files {
        assert_eq!(permissions(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_requires_a_login() {
    let world = World::with_users(10).await;
    let app = world.start();
    for (name, value) in
        [("accept", "*/*"), ("cookie", "scalekit_session=forged"), ("authorization", "Bearer x")]
    {
        let request = Request::get(format!("{}/users", app.url)).header(name, value);
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let response = world.http.request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{name}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(!String::from_utf8_lossy(&body).contains('@'), "{body:?}");
    }
    assert!(!app.users(&world.http).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_it_in_the_middle_of_a_sync() {
    let world = World::with_users(10).await;
    let held = world.sandbox.faults().hold(tower_scalekit::sandbox::Endpoint::Api);
    let mut app = world.start();
    app.program.terminate();
    assert_eq!(app.program.ended().code(), Some(0));
    drop(held);
}
