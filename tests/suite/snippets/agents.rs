use tower_scalekit::Scalekit;
use tower_scalekit::api::connected_accounts::{AccountKey, NewConnectedAccount};
use tower_scalekit::api::tools::ToolCall;

pub(crate) async fn unread(scalekit: &Scalekit) -> Result<(), Box<dyn std::error::Error>> {
    let (accounts, tools) = (scalekit.api().connected_accounts(), scalekit.api().tools());
    let jane = AccountKey::new("gmail", "user_123"); // the connection's name and your id for the user
    if !accounts.get_or_create(&NewConnectedAccount::new(&jane)).await?.is_active() {
        println!("open {}", accounts.authorization_link(&jane).await?.url());
        accounts.wait_until_active(&jane).await?;
    }
    let fetch = ToolCall::new("gmail_fetch_mails", &jane).parameter("query", "is:unread");
    println!("{:#?}", tools.execute(&fetch).await?.data); // never retried
    Ok(())
}
