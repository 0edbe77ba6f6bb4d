//! Web origins: whose pages a request may come from, and which addresses are this machine.

use url::{Host, Url};

/// Whether the address is this machine by its literal name.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_literal_loopback_names_are_this_machine() {
        let check = |text: &str| is_loopback(&Url::parse(text).unwrap());
        for local in ["http://localhost:1", "http://127.0.0.1", "http://127.9.9.9", "http://[::1]/"]
        {
            assert!(check(local), "{local}");
        }
        for other in ["http://example.com", "http://localhost.example.com", "http://10.0.0.1"] {
            assert!(!check(other), "{other}");
        }
    }
}
