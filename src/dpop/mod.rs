//! Proof of possession for access tokens that are bound to a key (DPoP, RFC 9449): a copy of such a
//! token is useless without the key.
//!
//! [`RequireToken::dpop`](crate::RequireToken::dpop), or
//! [`ProtectedResourceBuilder::dpop`](crate::protected_resource::ProtectedResourceBuilder::dpop) for
//! an MCP server, accepts a request with the scheme `DPoP` if all of this holds:
//!
//! 1. Exactly one header `DPoP` has the proof: a JWS of at most 8 KiB with `typ` `dpop+jwt`, an
//!    [accepted algorithm](DpopBuilder::algorithms), and a public key in `jwk` that has signed it.
//! 2. `htm` is the request's method, and `htu` its URL without query and fragment, below a
//!    [configured URL](Dpop::builder). URLs are compared after normalization (RFC 3986, sections 6.2.2
//!    and 6.2.3), except that dot segments of the request's path are not removed. `Host` and forwarding
//!    headers are not read, so apps that share a server or a [`ForwardAuth`](crate::ForwardAuth) service
//!    need a [`Dpop`] each.
//! 3. `iat` is at most a minute from this server's clock, `ath` is the hash of the token, and the proof
//!    has a `nonce` of this server if one is [required](DpopBuilder::require_nonce).
//! 4. The token is valid, and its claim `cnf` has the thumbprint of that key as `jkt` (RFC 7638), and
//!    nothing else.
//! 5. The proof was not used before. A hash of its key and `jti` is remembered in this process and, if
//!    configured, in a [store](DpopBuilder::shared_store) of all replicas.
//!
//! The proof is verified before the token, so that the response to an invalid one does not disclose
//! whether a token is valid. Each request costs the verification of the proof's signature; that of the
//! token is cached.
//!
//! With or without these settings, a token with the claim `cnf` is never accepted as a bearer token. A
//! token that is bound to a client certificate (RFC 8705) is never accepted. Other tokens remain bearer
//! tokens, unless bound ones are [required](DpopBuilder::required).
//!
//! # Example
//!
//! ```
//! # #[cfg(all(feature = "sandbox", feature = "axum"))] {
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, body::Body, routing::get};
//! use http::{Request, StatusCode, header};
//! use tower::ServiceExt;
//! use tower_scalekit::dpop::Dpop;
//! use tower_scalekit::{RequireToken, Sandbox};
//!
//! let sandbox = Sandbox::new();
//! let scalekit = sandbox.scalekit();
//! let guard = RequireToken::for_audience(&scalekit, scalekit.client_id())?
//!     .dpop(&Dpop::builder("https://api.example.com").build()?);
//! let app = Router::new().route("/todos", get(|| async { "todos" })).route_layer(guard);
//!
//! let key = sandbox.tokens().dpop_key();
//! let mut draft = sandbox.tokens().access_token_draft("jane@acme.test");
//! draft.claims.insert("cnf".into(), key.confirmation());
//! let token = sandbox.tokens().sign_draft(&draft);
//! let proof = key.proof("GET", "https://api.example.com/todos", Some(&token));
//! let request = || Request::get("/todos").header("dpop", &proof);
//!
//! let authorized = request().header(header::AUTHORIZATION, format!("DPoP {token}"));
//! let response = app.clone().oneshot(authorized.body(Body::empty())?).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//!
//! let bearer = request().header(header::AUTHORIZATION, format!("Bearer {token}"));
//! let response = app.oneshot(bearer.body(Body::empty())?).await?;
//! assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```

mod builder;
mod nonces;
mod proof;
mod replays;
#[cfg(test)]
mod tests;
mod urls;

use std::sync::Arc;

pub use self::builder::DpopBuilder;
use self::nonces::Nonces;
use self::proof::Expected;
pub(crate) use self::proof::Proof;
use self::replays::Replays;
pub(crate) use self::replays::{PendingUse, ProofUse};
use self::urls::PublicUrl;
use crate::clock::Clock;
use crate::token::Algorithm;
use crate::util::diagnosis::CheckError;
use crate::util::request_head::RequestHead;

/// Which proofs of possession are accepted. Cheap to clone; clones share the used proofs. See the
/// [module docs](crate::dpop).
#[derive(Clone, Debug)]
pub struct Dpop {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    urls: Vec<PublicUrl>,
    algorithms: Vec<Algorithm>,
    algorithm_names: Arc<str>,
    is_required: bool,
    /// How far `iat` may be from the clock, in either direction.
    window: time::Duration,
    nonces: Option<Nonces>,
    replays: Replays,
}

/// Why a proof is not accepted.
#[derive(Debug)]
pub(crate) enum ProofRejected {
    Invalid(DpopError),
    /// The proof has no nonce of this server, or an old one. Contains the current nonce.
    UseNonce(Arc<str>),
}

impl From<DpopError> for ProofRejected {
    fn from(error: DpopError) -> Self {
        Self::Invalid(error)
    }
}

impl Dpop {
    /// Configures the verification of proofs for an app with this public URL, below which all its
    /// routes are: its origin, and a path only if a proxy removes that from requests.
    pub fn builder(public_url: impl Into<String>) -> DpopBuilder {
        DpopBuilder::new(public_url.into())
    }

    /// Whether bearer tokens are rejected.
    pub(crate) fn is_required(&self) -> bool {
        self.inner.is_required
    }

    /// The accepted algorithms, separated by spaces.
    pub(crate) fn algorithms(&self) -> &Arc<str> {
        &self.inner.algorithm_names
    }

    /// Whether requests at or below a URL can be requests at or below a configured one.
    pub(crate) fn covers(&self, url: &url::Url) -> bool {
        self.inner.urls.iter().any(|known| known.covers(url))
    }

    /// Verifies the proof of a request with this token. Whether the token is bound to the proof's key,
    /// and whether the proof was used before, is checked by [`Proof::has_thumbprint`] and
    /// [`use_once`](Self::use_once) once the token is verified.
    pub(crate) fn verify(
        &self,
        request: RequestHead<'_>,
        token: &[u8],
        clock: &Clock,
    ) -> Result<Proof, ProofRejected> {
        let mut values = request.headers.get_all(DPOP).iter();
        let (Some(proof), None) = (values.next(), values.next()) else {
            let found = if request.headers.contains_key(DPOP) { "several" } else { "none" };
            return Err(DpopError::InvalidHeader.logged("DPoP", "one header", found).into());
        };
        let inner = &*self.inner;
        let now = clock.now();
        let expected = Expected {
            algorithms: &inner.algorithms,
            method: request.method.as_str(),
            token,
            now,
            window: inner.window,
        };
        let (mut proof, nonce) = Proof::verify(proof.as_bytes(), &expected, |htu| {
            inner.urls.iter().any(|url| url.matches_htu(htu, request.uri, request.extensions))
        })?;
        if let Some(nonces) = &inner.nonces {
            proof.next_nonce =
                nonces.check(nonce.as_deref(), now).map_err(ProofRejected::UseNonce)?;
        }
        Ok(proof)
    }
}

const DPOP: &str = "dpop";

/// Returned when a proof of possession is invalid. For logs only: it is not disclosed to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DpopError {
    /// `alg` is not one of the accepted algorithms.
    #[error("the algorithm of the proof is not accepted")]
    InvalidAlgorithm,
    /// A claim is missing or has the wrong type.
    #[error("claim {0} of the proof is missing or invalid")]
    InvalidClaim(&'static str),
    /// The request has no `DPoP` header, or several.
    #[error("the request has not exactly one DPoP header")]
    InvalidHeader,
    /// `jwk` is missing, private, or unsuitable for the algorithm.
    #[error("the key of the proof is missing or invalid")]
    InvalidKey,
    /// The signature is not by the key of the proof.
    #[error("the signature of the proof is invalid")]
    InvalidSignature,
    /// The proof is not a well-formed signed token of type `dpop+jwt`.
    #[error("the proof is malformed")]
    Malformed,
    /// `htm` is not the method of the request.
    #[error("the proof is for another method")]
    MethodMismatch,
    /// `iat` is too far from this server's clock.
    #[error("the proof is too old, or the client's clock is wrong")]
    OutsideWindow,
    /// The proof was used before.
    #[error("the proof was used before")]
    Replayed,
    /// `ath` is not the hash of the access token.
    #[error("the proof is for another token")]
    TokenMismatch,
    /// `htu` is not the URL of the request.
    #[error("the proof is for another URL")]
    UrlMismatch,
}

impl CheckError for DpopError {
    fn code(&self) -> &'static str {
        match self {
            Self::InvalidAlgorithm => "invalid_algorithm",
            Self::InvalidClaim(_) => "invalid_claim",
            Self::InvalidHeader => "invalid_header",
            Self::InvalidKey => "invalid_key",
            Self::InvalidSignature => "invalid_signature",
            Self::Malformed => "malformed",
            Self::MethodMismatch => "method_mismatch",
            Self::OutsideWindow => "outside_window",
            Self::Replayed => "replayed",
            Self::TokenMismatch => "token_mismatch",
            Self::UrlMismatch => "url_mismatch",
        }
    }
}
