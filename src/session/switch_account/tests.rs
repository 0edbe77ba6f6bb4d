use super::*;

#[test]
fn account_names_are_escaped_and_equal_names_are_distinguished() {
    let confirmation = |current: &str, new: &str| SwitchConfirmation {
        host: "app.test".to_owned(),
        current_account: Some(current.to_owned()),
        new_account: new.to_owned(),
        action: "/switch?attempt=a&action=".to_owned(),
    };
    let page = confirmation("jane@acme.test", "<b>\"x\"").page();
    assert!(page.contains("Switch to &lt;b&gt;&quot;x&quot;") && !page.contains("<b>"));
    assert!(page.contains("action=\"/switch?attempt=a&amp;action=keep\""), "{page}");
    let page = confirmation("jane@acme.test", "jane@acme.test").page();
    assert!(page.contains("another account of the same name"), "{page}");
    let shown = format!("{:?}", confirmation("jane@acme.test", "x"));
    assert!(!shown.contains("jane"), "{shown}");
}
