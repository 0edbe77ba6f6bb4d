//! A user with a browser, and an oracle of whether the user must be logged in.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cookie::Cookie;
use futures::future::join_all;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::time::Instant;
use tower_scalekit::clock::ManualClock;
use url::Url;

use crate::app::SESSION_LIFETIME;
use crate::world::{Random, Stopped, World, request};

const FETCH: [(&str, &str); 3] =
    [("accept", "*/*"), ("sec-fetch-mode", "cors"), ("sec-fetch-site", "same-origin")];
const NAVIGATION: [(&str, &str); 3] =
    [("accept", "text/html"), ("sec-fetch-mode", "navigate"), ("sec-fetch-site", "none")];
/// When every replica must apply a revocation.
const PROPAGATION: Duration = Duration::from_millis(2200);
/// A session may end this long before the end of its lifetime, because clocks differ.
const END_MARGIN: Duration = Duration::from_secs(5);

struct User {
    world: Arc<World>,
    random: Random,
    email: String,
    id: String,
    jar: Jar,
    signed_in: Option<SignedIn>,
    /// The last actions, for error messages.
    history: VecDeque<(Instant, &'static str)>,
}

type Jar = BTreeMap<String, String>;

#[derive(Clone)]
struct SignedIn {
    session_id: String,
    at: Instant,
    wall: OffsetDateTime,
}

impl SignedIn {
    /// Whether the session must be active, by the wall clock and by the time that has passed.
    fn is_alive(&self, clock: &ManualClock) -> bool {
        let lifetime = SESSION_LIFETIME - END_MARGIN;
        self.at.elapsed() < lifetime && clock.clock().now() < self.wall + lifetime
    }
}

/// The result of a request for `/me`.
enum Me {
    LoggedIn(Value),
    LoggedOut,
    /// Unavailable or without a response, with an excuse.
    Unknown,
}

pub(crate) async fn run(world: Arc<World>, number: u64, random: Random) {
    let email = format!("user{number}@acme.test");
    let id = world.environment.add_user(&email).await;
    let mut user = User {
        world,
        random,
        email,
        id,
        jar: Jar::new(),
        signed_in: None,
        history: VecDeque::new(),
    };
    while !user.world.is_over() {
        let world = Arc::clone(&user.world);
        let at_work = world.clocks.read().await;
        match &user.signed_in {
            None => user.log_in().await,
            Some(session) => {
                let session = session.clone();
                user.act(&session).await;
            }
        }
        drop(at_work);
        world.pause(user.absence()).await;
    }
}

impl User {
    /// How long the user is idle: sometimes longer than an access token's lifetime, rarely longer
    /// than a minute.
    fn absence(&mut self) -> Duration {
        match self.random.below(200) {
            0 => Duration::from_secs(62) + self.random.millis(30_000),
            1..12 => Duration::from_secs(4) + self.random.millis(4000),
            _ => self.random.millis(400),
        }
    }

    async fn act(&mut self, session: &SignedIn) {
        match self.random.below(100) {
            0..60 => {
                self.note("request");
                let me = self.me("session").await;
                self.expect_logged_in(me);
            }
            60..70 => self.leave_before_the_response().await,
            70..76 => {
                // The response with a newer cookie is lost.
                self.note("response lost");
                let jar = self.jar.clone();
                let me = self.me("session, response lost").await;
                self.expect_logged_in(me);
                if self.signed_in.is_some() {
                    self.jar = jar;
                }
            }
            76..81 => self.ask_in_parallel().await,
            81..86 => self.refresh().await,
            86..90 => self.log_out().await,
            90..95 => self.revoke_session(session).await,
            _ => self.revoke_user_and_log_in_again().await,
        }
    }

    async fn log_in(&mut self) {
        self.note("login");
        // Cookies of an ended session are rejected.
        if !self.jar.is_empty() {
            let jar = self.jar.clone();
            self.expect_logged_out(&jar, "after the session has ended").await;
        }
        let started = Instant::now();
        let replica = self.random.replica();
        let Ok(login) = self.navigate("login", replica, "/login?return_to=/me").await else {
            return;
        };
        if login.status() != StatusCode::FOUND {
            return self.wrong(format!("/login: {}", login.status()));
        }
        let callback = self.world.environment.log_in(location(&login), &self.email).await;
        let callback = Url::parse(&callback).unwrap();
        let target = format!("{}?{}", callback.path(), callback.query().unwrap_or_default());
        let replica = self.random.replica();
        let wall = self.world.replicas[replica].clock.clock().now();
        let at = Instant::now();
        let Ok(done) = self.navigate("callback", replica, &target).await else { return };
        match done.status() {
            StatusCode::SEE_OTHER => {}
            StatusCode::SERVICE_UNAVAILABLE if self.world.token_fault.was_active_since(started) => {
                return;
            }
            status => return self.wrong(format!("callback: {status} {}", paragraph(&done))),
        }
        self.signed_in = Some(SignedIn { session_id: String::new(), at, wall });
        let me = self.me("session").await;
        if let (Me::LoggedIn(me), Some(signed_in)) = (&me, &mut self.signed_in) {
            signed_in.session_id = me["sid"].as_str().unwrap_or_default().to_owned();
        }
        self.expect_logged_in(me);
    }

    /// The connection is closed at a random time before the response; the browser does not know
    /// whether the request was processed.
    async fn leave_before_the_response(&mut self) {
        self.note("connection dropped");
        let (replica, patience) = (self.random.replica(), self.random.millis(6));
        let started = Instant::now();
        let request = self.request(&self.jar, "GET", "/me", &FETCH);
        let sent = self.world.send("session, connection dropped", replica, request);
        // A response that arrives in time is evaluated like any other: while the wall clocks are
        // ahead it may remove the cookies, and the session is not back when they step back.
        if let Ok(response) = tokio::time::timeout(patience, sent).await {
            let me = self.read_me(response, replica, started);
            self.expect_logged_in(me);
        }
    }

    async fn ask_in_parallel(&mut self) {
        self.note("in parallel");
        let started = Instant::now();
        let replicas: Vec<_> = (0..4).map(|_| self.random.replica()).collect();
        let asked = replicas.iter().map(|replica| {
            let request = self.request(&self.jar, "GET", "/me", &FETCH);
            self.world.send("session, in parallel", *replica, request)
        });
        let mut responses: Vec<_> = join_all(asked).await.into_iter().zip(replicas).collect();
        while !responses.is_empty() {
            let place = self.random.below(responses.len() as u64) as usize;
            let (response, replica) = responses.swap_remove(place);
            let me = self.read_me(response, replica, started);
            self.expect_logged_in(me);
        }
    }

    async fn refresh(&mut self) {
        self.note("refresh");
        let (replica, started) = (self.random.replica(), Instant::now());
        let request = self.request(&self.jar, "POST", "/auth/refresh", &FETCH);
        let Ok(response) = self.world.send("refresh", replica, request).await else { return };
        self.take_cookies(&response);
        match response.status() {
            StatusCode::NO_CONTENT => {}
            StatusCode::SERVICE_UNAVAILABLE if self.world.token_fault.was_active_since(started) => {
            }
            StatusCode::UNAUTHORIZED => {
                let me = self.rejected(replica);
                self.expect_logged_in(me);
            }
            status => self.wrong(format!("refresh: {status}")),
        }
    }

    async fn log_out(&mut self) {
        let (replica, jar) = (self.random.replica(), self.jar.clone());
        let request = self.request(&self.jar, "POST", "/logout", &FETCH);
        let response = self.world.send("logout", replica, request).await;
        self.signed_in = None;
        let Ok(response) = response else {
            self.jar.clear();
            return;
        };
        self.take_cookies(&response);
        if response.status() != StatusCode::SEE_OTHER {
            self.wrong(format!("logout: {}", response.status()));
        }
        tokio::time::sleep(PROPAGATION).await;
        self.expect_logged_out(&jar, "after a logout").await;
    }

    async fn revoke_session(&mut self, session: &SignedIn) {
        if session.session_id.is_empty() {
            return;
        }
        let replica = self.random.replica();
        let sessions = self.world.replicas[replica].sessions();
        sessions.revoke_session(&session.session_id).await.unwrap();
        self.signed_in = None;
        tokio::time::sleep(PROPAGATION).await;
        let jar = self.jar.clone();
        self.expect_logged_out(&jar, "after its revocation").await;
    }

    async fn revoke_user_and_log_in_again(&mut self) {
        let replica = self.random.replica();
        let sessions = self.world.replicas[replica].sessions();
        sessions.revoke_user(&self.id).await.unwrap();
        self.signed_in = None;
        let old = std::mem::take(&mut self.jar);
        tokio::time::sleep(self.random.millis(1000)).await;
        self.log_in().await;
        tokio::time::sleep(PROPAGATION).await;
        self.expect_logged_out(&old, "after the revocation of its user").await;
        if self.signed_in.is_some() {
            let me = self.me("session").await;
            self.expect_logged_in(me);
        }
    }

    async fn me(&mut self, kind: &'static str) -> Me {
        let (replica, started) = (self.random.replica(), Instant::now());
        let request = self.request(&self.jar, "GET", "/me", &FETCH);
        let response = self.world.send(kind, replica, request).await;
        self.read_me(response, replica, started)
    }

    fn read_me(
        &mut self,
        response: Result<Response<Bytes>, Stopped>,
        replica: usize,
        started: Instant,
    ) -> Me {
        let Ok(response) = response else { return Me::Unknown };
        self.take_cookies(&response);
        match response.status() {
            StatusCode::OK => Me::LoggedIn(serde_json::from_slice(response.body()).unwrap()),
            StatusCode::UNAUTHORIZED => self.rejected(replica),
            StatusCode::SERVICE_UNAVAILABLE if self.world.token_fault.was_active_since(started) => {
                Me::Unknown
            }
            status => {
                self.wrong(format!("/me: {status}"));
                Me::Unknown
            }
        }
    }

    /// A rejection is correct only if the session may have ended.
    fn rejected(&mut self, replica: usize) -> Me {
        let clock = &self.world.replicas[replica].clock;
        if self.signed_in.as_ref().is_some_and(|session| session.is_alive(clock)) {
            return Me::LoggedOut;
        }
        self.signed_in = None;
        Me::Unknown
    }

    fn expect_logged_in(&mut self, me: Me) {
        match me {
            Me::LoggedIn(me) if me["email"] == *self.email => {}
            Me::LoggedIn(me) => self.wrong(format!("logged in as {me}")),
            Me::LoggedOut => {
                let age = self.signed_in.take().map(|session| session.at.elapsed());
                self.wrong(format!("logged out, {age:?} after the login"));
            }
            Me::Unknown => {}
        }
    }

    /// Both replicas must reject these cookies.
    async fn expect_logged_out(&mut self, jar: &Jar, when: &str) {
        for replica in 0..2 {
            let started = Instant::now();
            let request = self.request(jar, "GET", "/me", &FETCH);
            let Ok(response) = self.world.send("ended session", replica, request).await else {
                continue;
            };
            let is_unavailable = response.status() == StatusCode::SERVICE_UNAVAILABLE
                && self.world.token_fault.was_active_since(started);
            if response.status() != StatusCode::UNAUTHORIZED && !is_unavailable {
                self.wrong(format!("{when}: {}", response.status()));
            }
        }
    }

    async fn navigate(
        &mut self,
        kind: &'static str,
        replica: usize,
        target: &str,
    ) -> Result<Response<Bytes>, Stopped> {
        let request = self.request(&self.jar, "GET", target, &NAVIGATION);
        let response = self.world.send(kind, replica, request).await?;
        self.take_cookies(&response);
        Ok(response)
    }

    fn request(
        &self,
        jar: &Jar,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Request<Full<Bytes>> {
        let cookies: Vec<_> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        request(method, target, &[headers, &[("cookie", cookies.as_str())]].concat(), "")
    }

    fn take_cookies(&mut self, response: &Response<Bytes>) {
        for line in response.headers().get_all(header::SET_COOKIE) {
            let cookie = Cookie::parse(line.to_str().unwrap()).unwrap();
            if cookie.max_age().is_some_and(|age| age.is_zero()) {
                self.jar.remove(cookie.name());
            } else {
                self.jar.insert(cookie.name().to_owned(), cookie.value().to_owned());
            }
        }
    }

    fn note(&mut self, action: &'static str) {
        self.history.push_back((Instant::now(), action));
        if self.history.len() > 8 {
            self.history.pop_front();
        }
    }

    fn wrong(&self, what: String) {
        let history = self.history.iter().map(|(at, action)| (at.elapsed(), *action));
        let history: Vec<_> = history.collect();
        self.world.figures.wrong(format!("{}: {what}; after {history:.1?}", self.email));
    }
}

fn location(response: &Response<Bytes>) -> &str {
    response.headers()[header::LOCATION].to_str().unwrap()
}

/// The content of a page.
fn paragraph(response: &Response<Bytes>) -> String {
    let page = String::from_utf8_lossy(response.body());
    let (_, text) = page.split_once("<p>").unwrap_or_default();
    text.split("</p>").next().unwrap_or_default().to_owned()
}
