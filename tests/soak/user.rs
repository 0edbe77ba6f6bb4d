//! A user with a browser, and an oracle of whether the user must be logged in.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join, join_all};
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::time::Instant;
use tower_scalekit::Sessions;
use tower_scalekit::clock::ManualClock;
use tower_scalekit::shared_store::StoreError;
use url::Url;

use crate::app::{INNER, SESSION_LIFETIME, SLOW, finished_at};
use crate::environment::ACCESS_TOKEN_LIFETIME;
use crate::messages::{is_removal, is_session, request, set_cookies};
use crate::random::Random;
use crate::world::{Stopped, Stops, World};

const FETCH: [(&str, &str); 3] =
    [("accept", "*/*"), ("sec-fetch-mode", "cors"), ("sec-fetch-site", "same-origin")];
const NAVIGATION: [(&str, &str); 3] =
    [("accept", "text/html"), ("sec-fetch-mode", "navigate"), ("sec-fetch-site", "none")];
/// When every replica must apply a revocation.
const PROPAGATION: Duration = Duration::from_millis(2200);
/// What the store has not accepted is published this much later: the longest interval of retries.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// A session may end this long before or after the end of its lifetime, because clocks differ.
const END_MARGIN: Duration = Duration::from_secs(5);
/// When cookies of an ended session are presented once more.
const LATER: Duration = Duration::from_secs(20);
/// A session is available again, once within any time that is this long: the lease of a replica that
/// was killed and two of the waits for it.
const LONGEST_OUTAGE: Duration = Duration::from_secs(45);
/// How old earlier cookies become: longer than an access token's lifetime.
const EARLIER: Duration = Duration::from_secs(6);

struct User {
    world: Arc<World>,
    random: Random,
    email: String,
    id: String,
    jar: Jar,
    /// The cookies of some time ago.
    earlier: Option<(Instant, Jar)>,
    signed_in: Option<SignedIn>,
    /// Sessions that have ended, with cookies that all replicas must reject.
    ended: Vec<Ended>,
    revoked_at: Option<Instant>,
    was_absent: bool,
    /// Since when pages have been unavailable.
    waiting_since: Option<Instant>,
    /// The last actions, for error messages.
    history: VecDeque<(Instant, &'static str)>,
}

type Jar = BTreeMap<String, String>;

#[derive(Clone)]
struct SignedIn {
    session_id: String,
    at: Instant,
    wall: OffsetDateTime,
    /// The revocation before the login may apply to it: the replica could not know of it.
    may_be_revoked: bool,
}

struct Ended {
    jar: Jar,
    when: &'static str,
    at: Instant,
    /// When it is presented next.
    due: Instant,
    was_presented: bool,
}

impl SignedIn {
    /// Whether the session must be active, by the wall clock and by the time that has passed.
    fn is_alive(&self, clock: &ManualClock) -> bool {
        let lifetime = SESSION_LIFETIME - END_MARGIN;
        self.at.elapsed() < lifetime && clock.clock().now() < self.wall + lifetime
    }

    /// Whether the session must be over, by a wall clock.
    fn is_over(&self, now: OffsetDateTime) -> bool {
        now > self.wall + SESSION_LIFETIME + END_MARGIN
    }
}

/// The result of a request for `/me`.
enum Me {
    LoggedIn(Value),
    LoggedOut,
    /// With an excuse.
    Unavailable,
    /// Without a response, with an excuse.
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
        earlier: None,
        signed_in: None,
        ended: Vec::new(),
        revoked_at: None,
        was_absent: false,
        waiting_since: None,
        history: VecDeque::new(),
    };
    while !user.world.is_over() {
        let world = Arc::clone(&user.world);
        let at_work = world.clocks.read().await;
        user.present_ended().await;
        match &user.signed_in {
            None => user.log_in().await,
            // A person who waits for a page loads it again.
            Some(_) if user.waiting_since.is_some() => user.load_page().await,
            Some(_) if user.was_absent => user.ask_in_parallel().await,
            Some(session) => {
                let session = session.clone();
                user.act(&session).await;
            }
        }
        drop(at_work);
        let absence = user.absence();
        user.was_absent = absence > ACCESS_TOKEN_LIFETIME;
        world.pause(absence).await;
    }
}

impl User {
    /// How long the user is idle: sometimes longer than an access token's lifetime, rarely longer
    /// than a minute. The environment accepts a spent token for less.
    fn absence(&mut self) -> Duration {
        match self.random.below(200) {
            _ if self.waiting_since.is_some() => self.random.millis(400),
            0 if self.world.deployment.stops == Stops::Clean => {
                Duration::from_secs(62) + self.random.millis(30_000)
            }
            1..12 => Duration::from_secs(5) + self.random.millis(4000),
            _ => self.random.millis(400),
        }
    }

    async fn act(&mut self, session: &SignedIn) {
        match self.random.below(100) {
            0..60 => self.load_page().await,
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
            81..83 => self.refresh().await,
            83..86 => self.restore_a_tab().await,
            86..89 => self.log_out().await,
            89..92 => self.log_out_before_a_slow_response().await,
            92..96 => self.revoke_session(session).await,
            _ => self.revoke_user_and_log_in_again().await,
        }
    }

    async fn load_page(&mut self) {
        self.note("request");
        let me = self.me("session").await;
        let waiting_since = self.waiting_since.take();
        if let Me::Unavailable = me {
            let since = waiting_since.unwrap_or_else(Instant::now);
            self.waiting_since = Some(since);
            if since.elapsed() > LONGEST_OUTAGE {
                self.wrong(format!("unavailable for {:.1?}", since.elapsed()));
                self.signed_in = None;
                self.waiting_since = None;
            }
        }
        self.expect_logged_in(me);
    }

    async fn log_in(&mut self) {
        self.note("login");
        let started = Instant::now();
        let replica = self.random.replica();
        let Ok(login) = self.navigate("login", replica, "/login?return_to=/me").await else {
            return;
        };
        if login.status() != StatusCode::FOUND {
            if self.is_excused(&login, started) {
                return;
            }
            return self.wrong(format!("/login: {}", login.status()));
        }
        let callback = self.world.environment.log_in(location(&login), &self.email).await;
        let callback = Url::parse(&callback).unwrap();
        let target = format!("{}?{}", callback.path(), callback.query().unwrap_or_default());
        let replica = self.random.replica();
        let wall = self.world.replicas[replica].clock.clock().now();
        let at = Instant::now();
        let Ok(done) = self.navigate("callback", replica, &target).await else { return };
        // A session that begins without the store counts as older than revocations that its replica
        // has not read.
        let read = RETRY_INTERVAL + PROPAGATION;
        let may_be_revoked = self.revoked_at.is_some_and(|revoked| {
            let fault = self.world.store_fault.affects_since(at);
            fault.is_some_and(|began| revoked + read > began)
        });
        match done.status() {
            StatusCode::SEE_OTHER => {}
            StatusCode::BAD_REQUEST if may_be_revoked => return,
            _ if self.is_excused(&done, started) => return,
            status => return self.wrong(format!("callback: {status} {}", paragraph(&done))),
        }
        self.earlier = None;
        self.signed_in = Some(SignedIn { session_id: String::new(), at, wall, may_be_revoked });
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
        let started = self.now(replica);
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
        let replicas: Vec<_> = (0..6).map(|_| self.random.replica()).collect();
        let replicas: Vec<_> =
            replicas.into_iter().map(|replica| (replica, self.now(replica))).collect();
        // Some pages were opened earlier.
        let earlier = self.earlier.as_ref().map_or(&self.jar, |(_, earlier)| earlier);
        let jars = [&self.jar, earlier];
        let asked = replicas.iter().zip(jars.into_iter().cycle()).map(|((replica, _), jar)| {
            let request = self.request(jar, "GET", "/me", &FETCH);
            self.world.send("session, in parallel", *replica, request)
        });
        let mut responses: Vec<_> = join_all(asked).await.into_iter().zip(replicas).collect();
        while !responses.is_empty() {
            let place = self.random.below(responses.len() as u64) as usize;
            let (response, (replica, started)) = responses.swap_remove(place);
            let me = self.read_me(response, replica, started);
            self.expect_logged_in(me);
        }
    }

    /// A request with cookies whose refresh token is spent.
    async fn restore_a_tab(&mut self) {
        self.note("earlier cookies");
        let Some((_, earlier)) = self.earlier.clone() else { return };
        let replica = self.random.replica();
        let started = self.now(replica);
        let request = self.request(&earlier, "GET", "/me", &FETCH);
        let response = self.world.send("session, earlier cookies", replica, request).await;
        let me = self.read_me(response, replica, started);
        self.expect_logged_in(me);
    }

    async fn refresh(&mut self) {
        self.note("refresh");
        let (replica, started) = (self.random.replica(), Instant::now());
        let request = self.request(&self.jar, "POST", "/auth/refresh", &FETCH);
        let Ok(response) = self.world.send("refresh", replica, request).await else { return };
        self.take_cookies(&response);
        match response.status() {
            StatusCode::OK => {}
            _ if self.is_excused(&response, started) => {}
            StatusCode::UNAUTHORIZED => {
                let me = self.rejected(replica);
                self.expect_logged_in(me);
            }
            status => self.wrong(format!("refresh: {status}")),
        }
    }

    async fn log_out(&mut self) {
        let (replica, jar) = (self.random.replica(), self.jar.clone());
        self.log_out_at(replica, jar).await;
    }

    /// Returns when the response was complete.
    async fn log_out_at(&mut self, replica: usize, jar: Jar) -> Option<Instant> {
        let started = Instant::now();
        let request = self.request(&jar, "POST", "/logout", &FETCH);
        let response = self.world.send("logout", replica, request).await;
        self.signed_in = None;
        let Ok(response) = response else {
            self.jar.clear();
            return None;
        };
        self.take_cookies(&response);
        if response.status() != StatusCode::SEE_OTHER {
            self.wrong(format!("logout: {}", response.status()));
        }
        // It could not be published, and is lost with its replica.
        let may_be_lost = self.world.deployment.stops == Stops::Killed
            && self.world.store_fault.affects(started, RETRY_INTERVAL);
        if !may_be_lost {
            self.end(jar, "after a logout", started);
        }
        Some(Instant::now())
    }

    /// A response that is complete after the logout must not set the cookie of the session: it would
    /// replace that of the next login.
    async fn log_out_before_a_slow_response(&mut self) {
        self.note("logout before a slow response");
        let replica = self.random.replica();
        let other = if self.random.below(4) == 0 { replica } else { 1 - replica };
        let (jar, started) = (self.jar.clone(), Instant::now());
        let earlier = self.earlier.as_ref().map_or(&self.jar, |(_, earlier)| earlier);
        let request = self.request(earlier, "GET", "/slow", &FETCH);
        let world = Arc::clone(&self.world);
        let slow = world.send("session, slow", replica, request);
        let pause = SLOW / 4 + self.random.millis(100);
        let logout = async {
            tokio::time::sleep(pause).await;
            self.log_out_at(other, jar).await
        };
        let (Ok(slow), Some(logged_out_at)) = join(slow, logout).await else { return };
        let Some(finished) = slow.headers().get(INNER).map(finished_at) else { return };
        let sets = set_cookies(&slow).any(|cookie| is_session(&cookie) && !is_removal(&cookie));
        if sets && finished > logged_out_at && !self.world.store_fault.was_active_since(started) {
            self.wrong("a response after the logout sets the session's cookie".to_owned());
        }
    }

    async fn revoke_session(&mut self, session: &SignedIn) {
        if session.session_id.is_empty() {
            return;
        }
        let id = session.session_id.clone();
        let revoked = self.revoke(move |sessions| {
            let id = id.clone();
            async move { sessions.revoke_session(&id).await }
        });
        if revoked.await {
            self.signed_in = None;
            let jar = self.jar.clone();
            self.end(jar, "after its revocation", Instant::now());
        } else if let Some(signed_in) = &mut self.signed_in {
            signed_in.may_be_revoked = true;
        }
    }

    async fn revoke_user_and_log_in_again(&mut self) {
        let id = self.id.clone();
        let revoked = self.revoke(move |sessions| {
            let id = id.clone();
            async move { sessions.revoke_user(&id).await }
        });
        let is_revoked = revoked.await;
        self.signed_in = None;
        self.revoked_at = Some(Instant::now());
        let old = std::mem::take(&mut self.jar);
        if is_revoked {
            self.end(old, "after the revocation of its user", Instant::now());
        }
        tokio::time::sleep(self.random.millis(1000)).await;
        self.log_in().await;
    }

    /// Revokes, as often as is necessary, until the store has accepted it. Returns `false` if that
    /// is unknown.
    async fn revoke<F>(&mut self, revoke: impl Fn(Sessions) -> F) -> bool
    where
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        self.note("revocation");
        let replica = self.random.replica();
        loop {
            let started = Instant::now();
            match self.world.replicas[replica].run(&revoke).await {
                Ok(Ok(())) => return true,
                Ok(Err(_)) if self.world.store_fault.was_active_since(started) => {
                    // It takes effect in this process at once.
                    let jar = self.jar.clone();
                    if !self.world.replicas[replica].stop.was_active_since(started) {
                        self.expect_rejection(replica, &jar, "after a failed revocation").await;
                    }
                }
                Ok(Err(error)) => {
                    self.wrong(format!("revocation: {error}"));
                    return false;
                }
                Err(Stopped) => return false,
            }
            if self.world.is_over() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// From now on, all replicas must reject these cookies.
    fn end(&mut self, jar: Jar, when: &'static str, at: Instant) {
        let due = Instant::now() + PROPAGATION;
        self.ended.push(Ended { jar, when, at, due, was_presented: false });
    }

    /// Presents the cookies of sessions that have ended, when all replicas must know of it.
    async fn present_ended(&mut self) {
        let now = Instant::now();
        let world = Arc::clone(&self.world);
        let is_known = |ended: &Ended| {
            // A replica has read the revocations while the store was available.
            let store = &world.store_fault;
            !store.affects(ended.at, Duration::ZERO)
                || (!store.affects(now, RETRY_INTERVAL + PROPAGATION))
        };
        let due = |ended: &mut Ended| ended.due <= now && (ended.was_presented || is_known(ended));
        // A wall clock that is set back by an hour restores sessions whose end is no longer retained.
        self.ended.retain(|ended| ended.at.elapsed() < 2 * SESSION_LIFETIME - END_MARGIN);
        for mut ended in self.ended.extract_if(.., due).collect::<Vec<_>>() {
            for replica in 0..2 {
                let when = format!("{}, {:.1?} ago", ended.when, ended.at.elapsed());
                self.expect_rejection(replica, &ended.jar, &when).await;
            }
            if !ended.was_presented {
                ended.was_presented = true;
                ended.due = now + LATER;
                self.ended.push(ended);
            }
        }
    }

    async fn me(&mut self, kind: &'static str) -> Me {
        let replica = self.random.replica();
        let started = self.now(replica);
        let request = self.request(&self.jar, "GET", "/me", &FETCH);
        let response = self.world.send(kind, replica, request).await;
        self.read_me(response, replica, started)
    }

    /// The time of this process, and of a replica.
    fn now(&self, replica: usize) -> (Instant, OffsetDateTime) {
        (Instant::now(), self.world.replicas[replica].clock.clock().now())
    }

    fn read_me(
        &mut self,
        response: Result<Response<Bytes>, Stopped>,
        replica: usize,
        (started, wall): (Instant, OffsetDateTime),
    ) -> Me {
        let Ok(response) = response else { return Me::Unknown };
        self.take_cookies(&response);
        match response.status() {
            StatusCode::OK => {
                let me: Value = serde_json::from_slice(response.body()).unwrap();
                // The replica's clock may have been set back by two seconds since.
                if me["expires_at"].as_i64() < Some(wall.unix_timestamp() - 2) {
                    self.wrong(format!("accepted at {wall} with an expired token: {me}"));
                }
                if self.signed_in.as_ref().is_some_and(|session| session.is_over(wall)) {
                    self.wrong(format!("accepted at {wall} after the end of its lifetime: {me}"));
                    self.signed_in = None;
                }
                Me::LoggedIn(me)
            }
            StatusCode::UNAUTHORIZED => self.rejected(replica),
            _ if self.is_excused(&response, started) => Me::Unavailable,
            status => {
                self.wrong(format!("/me: {status}"));
                Me::Unknown
            }
        }
    }

    /// Whether the environment or the store was unavailable.
    fn is_excused(&self, response: &Response<Bytes>, started: Instant) -> bool {
        response.status() == StatusCode::SERVICE_UNAVAILABLE
            && self.world.excuses_unavailable(started)
    }

    /// A rejection is correct only if the session may have ended.
    fn rejected(&mut self, replica: usize) -> Me {
        let clock = &self.world.replicas[replica].clock;
        let is_wrong = |session: &SignedIn| session.is_alive(clock) && !session.may_be_revoked;
        if self.signed_in.as_ref().is_some_and(is_wrong) {
            return Me::LoggedOut;
        }
        self.signed_in = None;
        Me::Unknown
    }

    fn expect_logged_in(&mut self, me: Me) {
        match me {
            Me::LoggedIn(me) if me["email"] == *self.email => {
                if self.earlier.as_ref().is_none_or(|(at, _)| at.elapsed() > EARLIER) {
                    self.earlier = Some((Instant::now(), self.jar.clone()));
                }
            }
            Me::LoggedIn(me) => self.wrong(format!("logged in as {me}")),
            Me::LoggedOut => {
                let age = self.signed_in.take().map(|session| session.at.elapsed());
                self.wrong(format!("logged out, {age:?} after the login"));
            }
            Me::Unavailable | Me::Unknown => {}
        }
    }

    /// A replica must reject these cookies.
    async fn expect_rejection(&mut self, replica: usize, jar: &Jar, when: &str) {
        let started = Instant::now();
        let request = self.request(jar, "GET", "/me", &FETCH);
        let Ok(response) = self.world.send("ended session", replica, request).await else { return };
        let is_rejected = response.status() == StatusCode::UNAUTHORIZED
            || self.is_excused(&response, started)
            || (response.status() == StatusCode::OK && self.world.knows_no_revocations(replica));
        if !is_rejected {
            self.wrong(format!("{when}: {} of replica {replica}", response.status()));
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
        for cookie in set_cookies(response) {
            if is_removal(&cookie) {
                self.jar.remove(cookie.name());
            } else {
                self.jar.insert(cookie.name().to_owned(), cookie.value().to_owned());
            }
        }
    }

    fn note(&mut self, action: &'static str) {
        self.history.push_back((Instant::now(), action));
        self.history.drain(..self.history.len().saturating_sub(8));
    }

    fn wrong(&self, what: String) {
        let history: Vec<_> = self.history.iter().map(|(at, it)| (at.elapsed(), *it)).collect();
        self.world.wrong(format!("{}: {what}; after {history:.1?}", self.email));
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
