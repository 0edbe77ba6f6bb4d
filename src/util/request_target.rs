//! The target of a request as its client has sent it, and its route: a proxy, or a router that nests
//! others, may have removed a prefix from the path.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{Extensions, Request, Uri};

/// Path and query as the browser requested them, from a proxy that names them: an extension of a
/// request that has another URI.
#[derive(Clone)]
pub(crate) struct BrowserTarget(pub(crate) PathAndQuery);

/// Path and query as the browser requested them. A proxy may have removed `base_path`, and routers
/// other than axum's the rest of `layer_path`. `None` if neither axum's `OriginalUri` nor one of
/// these is known.
///
/// A path that begins with what may have been removed is complete. `X-Forwarded-Prefix` does not
/// count: some proxies set it and remove nothing.
pub(crate) fn requested_target<'r, B>(
    request: &'r Request<B>,
    base_path: Option<&str>,
    layer_path: Option<&str>,
) -> Option<Cow<'r, str>> {
    requested_target_of(request.uri(), request.extensions(), base_path, layer_path)
}

/// [`requested_target`] of the parts of a request.
pub(crate) fn requested_target_of<'r>(
    uri: &'r Uri,
    extensions: &'r Extensions,
    base_path: Option<&str>,
    layer_path: Option<&str>,
) -> Option<Cow<'r, str>> {
    if let Some(BrowserTarget(target)) = extensions.get() {
        return Some(target.as_str().into());
    }
    let (uri, removed) = match original_uri(extensions) {
        Some(original) => (original, base_path.unwrap_or_default()),
        None => (uri, layer_path.or(base_path)?),
    };
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    Some(match uri.path().strip_prefix(removed) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => target.into(),
        _ => format!("{removed}{target}").into(),
    })
}

/// The URI at the outermost axum router.
#[cfg(feature = "axum")]
pub(crate) fn original_uri(extensions: &Extensions) -> Option<&Uri> {
    extensions.get::<axum::extract::OriginalUri>().map(|original| &original.0)
}

#[cfg(not(feature = "axum"))]
pub(crate) fn original_uri(_: &Extensions) -> Option<&Uri> {
    None
}

/// The path where an axum router is nested that the request has passed, without a slash at its end.
/// `None` if a proxy names the browser's target, which has passed no router.
#[cfg(feature = "axum")]
pub(crate) fn nested_path(extensions: &Extensions) -> Option<&str> {
    if extensions.get::<BrowserTarget>().is_some() {
        return None;
    }
    Some(extensions.get::<axum::extract::NestedPath>()?.as_str().trim_end_matches('/'))
}

#[cfg(not(feature = "axum"))]
pub(crate) fn nested_path(_: &Extensions) -> Option<&str> {
    None
}

/// The path of a route in an axum router: that of the code, without values of the request.
#[cfg(feature = "axum")]
pub(crate) fn matched_path(extensions: &Extensions) -> Option<&str> {
    Some(extensions.get::<axum::extract::MatchedPath>()?.as_str())
}

#[cfg(not(feature = "axum"))]
pub(crate) fn matched_path(_: &Extensions) -> Option<&str> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requested_uri_has_the_base_path_once() {
        for (base_path, target, requested) in [
            (None, "/a?b", None),
            (Some(""), "/a?b", Some("/a?b")),
            (Some(""), "/", Some("/")),
            (Some("/app"), "/a?b", Some("/app/a?b")),
            (Some("/app"), "/", Some("/app/")),
            (Some("/app"), "/app", Some("/app")),
            (Some("/app"), "/app/a?b", Some("/app/a?b")),
            (Some("/app"), "/application", Some("/app/application")),
            (Some("/app"), "/?a=/app/", Some("/app/?a=/app/")),
        ] {
            let request = Request::get(target).body(()).unwrap();
            let found = requested_target(&request, base_path, None);
            assert_eq!(found.as_deref(), requested, "{base_path:?} {target}");
        }
    }

    #[test]
    fn a_path_that_repeats_the_base_path_is_complete_whatever_the_proxy_says() {
        for prefix in ["/app", "/app/", "/other", "/app, /app", ""] {
            for (target, requested) in [("/app/x", "/app/x"), ("/app", "/app"), ("/x", "/app/x")] {
                let request =
                    Request::get(target).header("x-forwarded-prefix", prefix).body(()).unwrap();
                let found = requested_target(&request, Some("/app"), None);
                assert_eq!(found.as_deref(), Some(requested), "{prefix} {target}");
            }
        }
        let request = Request::get("/x").body(()).unwrap();
        let found = |base_path, layer_path| requested_target(&request, base_path, layer_path);
        assert_eq!(found(Some("/app"), Some("/app/area")).as_deref(), Some("/app/area/x"));
        assert_eq!(found(None, Some("/area")).as_deref(), Some("/area/x"));
    }

    #[cfg(feature = "axum")]
    #[test]
    fn prefixes_removed_by_axum_or_a_proxy_are_restored() {
        let original = axum::extract::OriginalUri(Uri::from_static("/outer/a?b"));
        let request = Request::get("/a?b").extension(original).body(()).unwrap();
        for (base_path, requested) in
            [(None, "/outer/a?b"), (Some("/outer"), "/outer/a?b"), (Some("/app"), "/app/outer/a?b")]
        {
            assert_eq!(requested_target(&request, base_path, None).as_deref(), Some(requested));
        }
    }
}
