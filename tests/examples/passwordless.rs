//! `passwordless`: its limit per client, and an address with characters that are special in HTML.

use http::{StatusCode, header};

use crate::visitor::Visitor;
use crate::watched::Watched;

#[tokio::test(flavor = "multi_thread")]
async fn emails_for_one_client_are_limited() {
    let app = Watched::start("passwordless", &[]).await;
    let send = app.address("/passwordless/send");
    for number in 0..30 {
        let email = format!("{number}@acme.test");
        let sent = Visitor::new(app.secrets.clone()).post(&send, &[("email", &email)]).await;
        assert_eq!(sent.status(), StatusCode::SEE_OTHER);
    }
    let limited = app.visitor.post(&send, &[("email", "30@acme.test")]).await;
    assert_eq!(limited.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(limited.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(app.sandbox.mail().outbox().len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_shown_as_text() {
    let app = Watched::start("passwordless", &[]).await;
    let email = "\"onfocus='alert(1)'autofocus=\"&lt@acme.test";
    let sent = app.visitor.post(&app.address("/passwordless/send"), &[("email", email)]).await;
    let code_page = app.address(sent.headers()[header::LOCATION].to_str().unwrap());
    let page = app.visitor.get(&code_page).await;
    let page = std::str::from_utf8(page.body()).unwrap();
    assert!(page.contains("&quot;onfocus='alert(1)'autofocus=&quot;&amp;lt@acme.test"), "{page}");
    assert!(!page.contains("\"onfocus"), "{page}");
}
