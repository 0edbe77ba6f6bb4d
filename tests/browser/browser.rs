//! A user at a Chromium browser.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fantoccini::cookies::Cookie;
use fantoccini::elements::Element;
use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{sleep, timeout};

use crate::processes::{Driver, PATIENCE, installed};

/// Maximum number of concurrent browsers.
static SEATS: Semaphore = Semaphore::const_new(2);
/// Interval at which a page is polled.
const PERIOD: Duration = Duration::from_millis(25);

const ARGUMENTS: [&str; 9] = [
    "--headless",
    // Chromium's own sandbox does not work for root, which tests in containers run as.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1280,900",
];

/// Options of a browser.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Dark,
    Narrow,
    NarrowDark,
    Plain,
    WithoutScripts,
}

pub struct Browser {
    client: Client,
    kind: Kind,
    // In this order: the driver ends its browsers before the next test may start.
    _driver: Driver,
    _seat: SemaphorePermit<'static>,
}

/// Resources of a browser.
struct Programs {
    driver: PathBuf,
    chromium: PathBuf,
}

impl Programs {
    /// `None` if they are not installed, which is a failure in CI.
    fn find() -> Option<Self> {
        let chromium = installed(&["chromium", "chromium-browser", "google-chrome"]);
        let (Some(driver), Some(chromium)) = (installed(&["chromedriver"]), chromium) else {
            assert!(env::var("CI").as_deref() != Ok("true"), "chromium or chromedriver is missing");
            println!("skipped: chromium or chromedriver is not installed");
            return None;
        };
        Some(Self { driver, chromium })
    }

    async fn open(&self, kind: Kind, seat: SemaphorePermit<'static>) -> Browser {
        let driver = Driver::start(&self.driver);
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities(kind, &self.chromium, driver.folder()))
            .connect(&driver.url())
            .await
            .unwrap();
        Browser { client, kind, _driver: driver, _seat: seat }
    }
}

impl Browser {
    /// `None` if Chromium is not installed, which is a failure in CI.
    pub async fn open() -> Option<Self> {
        Self::open_as(Kind::Plain).await
    }

    pub async fn open_as(kind: Kind) -> Option<Self> {
        let programs = Programs::find()?;
        Some(programs.open(kind, SEATS.acquire().await.unwrap()).await)
    }

    /// Two browsers. Both permits are acquired at once: two tests that each waited for a second one
    /// would deadlock.
    pub async fn open_two() -> Option<[Self; 2]> {
        let programs = Programs::find()?;
        let mut seats = SEATS.acquire_many(2).await.unwrap();
        let seat = seats.split(1).unwrap();
        let first = programs.open(Kind::Plain, seat).await;
        Some([first, programs.open(Kind::Plain, seats).await])
    }

    pub async fn go(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// The URL in the address bar.
    pub async fn address(&self) -> String {
        self.client.current_url().await.unwrap().into()
    }

    pub async fn back(&self) {
        self.client.back().await.unwrap();
    }

    pub async fn reload(&self) {
        self.client.refresh().await.unwrap();
    }

    /// Waits until the address bar shows this URL.
    pub async fn arrives_at(&self, url: &str) {
        let wanted = url.parse().unwrap();
        let wait = self.client.wait().at_most(PATIENCE).every(PERIOD);
        if let Err(error) = wait.for_url(&wanted).await {
            panic!("{url}: {error}; instead {}", self.describe().await);
        }
    }

    pub async fn see(&self, css: &str) -> Element {
        let wait = self.client.wait().at_most(PATIENCE).every(PERIOD);
        match wait.for_element(Locator::Css(css)).await {
            Ok(element) => element,
            Err(error) => panic!("{css}: {error}; instead {}", self.describe().await),
        }
    }

    pub async fn click(&self, css: &str) {
        self.see(css).await.click().await.unwrap();
    }

    pub async fn click_link(&self, text: &str) {
        let link = self.client.find(Locator::LinkText(text)).await;
        match link {
            Ok(link) => link.click().await.unwrap(),
            Err(error) => panic!("link {text}: {error}; instead {}", self.describe().await),
        }
    }

    pub async fn type_into(&self, css: &str, text: &str) {
        self.see(css).await.send_keys(text).await.unwrap();
    }

    /// Waits until the displayed text of the page contains all of these.
    pub async fn shows(&self, wanted: &[&str]) {
        let shown = async {
            while !self.text().await.is_some_and(|text| wanted.iter().all(|w| text.contains(w))) {
                sleep(PERIOD).await;
            }
        };
        if timeout(PATIENCE, shown).await.is_err() {
            panic!("not all of {wanted:?} in {}", self.describe().await);
        }
    }

    /// `None` during navigation.
    async fn text(&self) -> Option<String> {
        self.client.find(Locator::Css("body")).await.ok()?.text().await.ok()
    }

    /// Selects a user at the hosted login page.
    pub async fn pick(&self, email: &str) {
        self.click(&format!("button[name=email][value='{email}']")).await;
    }

    pub async fn sees_login_page(&self) {
        self.see("form[action='/login'] #email").await;
    }

    /// The HTTP status of the current page.
    pub async fn status(&self) -> u64 {
        let script = "return performance.getEntriesByType('navigation')[0].responseStatus";
        self.client.execute(script, vec![]).await.unwrap().as_u64().unwrap()
    }

    /// The results of several concurrent `fetch` calls of the current page: status, whether it was
    /// redirected, and the JSON.
    pub async fn fetch(&self, path: &str, times: usize) -> Vec<Value> {
        let script = "
            const [path, times, done] = arguments;
            const one = async () => {
                const response = await fetch(path);
                const { status, redirected } = response;
                return { status, redirected, body: await response.json() };
            };
            Promise.all(Array.from({ length: times }, one)).then(done, error => done(String(error)));
        ";
        let responses = self.client.execute_async(script, vec![json!(path), json!(times)]).await;
        match responses.unwrap() {
            Value::Array(responses) => responses,
            other => panic!("fetch {path}: {other}"),
        }
    }

    pub async fn evaluate(&self, expression: &str) -> Value {
        self.client.execute(&format!("return {expression}"), vec![]).await.unwrap()
    }

    /// The cookies of the page's host with this prefix, including those that scripts cannot read.
    pub async fn cookies_named(&self, start: &str) -> Vec<Cookie<'static>> {
        let cookies = self.client.get_all_cookies().await.unwrap();
        cookies.into_iter().filter(|cookie| cookie.name().starts_with(start)).collect()
    }

    pub async fn forget(&self, cookie: &str) {
        self.client.delete_cookie(cookie).await.unwrap();
    }

    /// Deletes all cookies of the page's host, on any port.
    pub async fn forget_everything(&self) {
        self.client.delete_all_cookies().await.unwrap();
    }

    /// Follows a link that is added to the current page.
    pub async fn follow_made_up_link(&self, url: &str) {
        let script = "
            const link = document.createElement('a');
            link.id = 'made-up';
            link.href = arguments[0];
            link.textContent = 'Look at this';
            document.body.prepend(link);
        ";
        self.client.execute(script, vec![json!(url)]).await.unwrap();
        self.click("#made-up").await;
    }

    /// Asserts that axe finds no fault in the page, and that it does not scroll sideways.
    pub async fn is_accessible(&self, name: &str, axe: &str) {
        self.picture(name).await;
        self.client.execute(axe, vec![]).await.unwrap();
        let script = "
            const [done] = arguments;
            const fault = ({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html)}`;
            axe.run().then(({ violations }) => done(violations.map(fault)), (error) => done([String(error)]));
        ";
        let faults = self.client.execute_async(script, vec![]).await.unwrap();
        assert_eq!(faults, json!([]), "{name}: {}", self.describe().await);
        let width = self.evaluate("[innerWidth, document.documentElement.scrollWidth]").await;
        assert!(width[1].as_u64() <= width[0].as_u64(), "{name}: {width}");
    }

    /// Asserts that the page does not scroll sideways.
    pub async fn fits(&self, name: &str) {
        self.picture(name).await;
        let width = self.evaluate("[innerWidth, document.documentElement.scrollWidth]").await;
        assert_eq!(width, json!([390, 390]), "{}", self.describe().await);
    }

    /// Asserts that text is light on a dark background.
    pub async fn is_dark(&self, name: &str) {
        self.picture(name).await;
        let light = "matchMedia('(prefers-color-scheme: light)').matches";
        assert_eq!(self.evaluate(light).await, false);
        let ink = self.see("h1").await.css_value("color").await.unwrap();
        let channel = ink.split(['(', ',']).nth(1).and_then(|red| red.parse::<u8>().ok());
        assert!(channel.is_some_and(|red| red > 200), "{name}: headings are {ink}");
    }

    /// Switches to a frame of the page until dropped.
    pub async fn enter_frame(&self, css: &str) {
        self.see(css).await.enter_frame().await.unwrap();
    }

    pub async fn leave_frame(&self) {
        self.client.enter_parent_frame().await.unwrap();
    }

    /// Opens a tab in the foreground.
    pub async fn new_tab(&self) -> Tab {
        let tab = self.client.new_window(true).await.unwrap().handle;
        self.client.switch_to_window(tab.clone()).await.unwrap();
        Tab(tab)
    }

    pub async fn tab(&self) -> Tab {
        Tab(self.client.window().await.unwrap())
    }

    pub async fn switch_to(&self, tab: &Tab) {
        self.client.switch_to_window(tab.0.clone()).await.unwrap();
    }

    /// Saves a screenshot to the folder in `SCREENSHOTS`, if set.
    pub async fn picture(&self, name: &str) {
        if let Some(folder) = env::var_os("SCREENSHOTS") {
            let name = format!("{name}-{:?}.png", self.kind).to_lowercase();
            let picture = self.client.screenshot().await.unwrap();
            fs::write(Path::new(&folder).join(name), picture).unwrap();
        }
    }

    async fn describe(&self) -> String {
        let url = self.client.current_url().await.map(String::from).unwrap_or_default();
        format!("{url}:\n{}", self.text().await.unwrap_or_default())
    }
}

pub struct Tab(fantoccini::wd::WindowHandle);

fn capabilities(kind: Kind, chromium: &Path, folder: &Path) -> Capabilities {
    let mut arguments: Vec<String> = ARGUMENTS.map(str::to_owned).into();
    arguments.push(format!("--user-data-dir={}", folder.join("profile").display()));
    let mut options = json!({ "binary": chromium });
    if matches!(kind, Kind::Dark | Kind::NarrowDark) {
        arguments.push("--blink-settings=preferredColorScheme=0".to_owned());
    }
    // A window cannot be this narrow; an emulated phone can.
    if matches!(kind, Kind::Narrow | Kind::NarrowDark) {
        let screen = json!({ "width": 390, "height": 844, "pixelRatio": 2.0 });
        options["mobileEmulation"] = json!({ "deviceMetrics": screen });
    }
    if kind == Kind::WithoutScripts {
        options["prefs"] = json!({ "profile.managed_default_content_settings.javascript": 2 });
    }
    options["args"] = json!(arguments);
    let Value::Object(capabilities) = json!({ "goog:chromeOptions": options }) else {
        unreachable!()
    };
    capabilities
}
