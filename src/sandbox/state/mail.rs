//! Passwordless e-mail: requests, sent e-mails and limits.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;
use url::Url;

use crate::sandbox::state::ids::{random_digits, random_token, random_uuid};

/// What e-mails contain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PasswordlessType {
    /// A magic link.
    Link,
    /// A magic link and a code.
    #[default]
    LinkOtp,
    /// A code.
    Otp,
}

impl PasswordlessType {
    pub(crate) const ALL: [Self; 3] = [Self::LinkOtp, Self::Otp, Self::Link];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Link => "LINK",
            Self::LinkOtp => "LINK_OTP",
            Self::Otp => "OTP",
        }
    }

    pub(crate) fn has_code(self) -> bool {
        self != Self::Link
    }

    pub(crate) fn has_link(self) -> bool {
        self != Self::Otp
    }
}

/// An e-mail that was sent.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxMail {
    /// The recipient.
    pub email: String,
    /// The code.
    pub code: Option<String>,
    /// The magic link, or the link of an invitation.
    pub link: Option<String>,
    /// `SIGNIN`, `SIGNUP` or `INVITATION`
    pub template: String,
    /// The template variables.
    pub template_variables: BTreeMap<String, String>,
    /// When it was sent (UTC).
    pub sent_at: OffsetDateTime,
    /// Expiry of code and link (UTC).
    pub expires_at: OffsetDateTime,
}

// Manual impl: code and link are credentials.
impl fmt::Debug for OutboxMail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxMail")
            .field("email", &self.email)
            .field("template", &self.template)
            .field("sent_at", &self.sent_at)
            .finish_non_exhaustive()
    }
}

/// Number of e-mails that are retained.
const KEPT_EMAILS: usize = 200;

/// Maximum number of requests; the ones that expire first are dropped.
const KEPT_REQUESTS: usize = 10_000;

/// "2 magic link and OTP emails per minute per email address", resent ones included.
const EMAILS: usize = 2;

const EMAILS_WITHIN: Duration = Duration::from_secs(60);

/// "Five attempts to enter the correct OTP within a ten-minute window."
const ATTEMPTS: usize = 5;

const ATTEMPTS_WITHIN: Duration = Duration::from_secs(600);

/// How long after its expiry a request is still reported as expired.
const REMEMBERED: Duration = Duration::from_secs(3600);

#[derive(Debug, Default)]
pub(crate) struct Passwordless {
    pub(crate) passwordless_type: PasswordlessType,
    pub(crate) enforce_same_browser: bool,
    pub(crate) new_credentials_on_resend: bool,
    requests: HashMap<String, Request>,
    /// Newest first.
    outbox: VecDeque<OutboxMail>,
    /// Times of the last e-mails to an address.
    sent: HashMap<String, Recent>,
}

/// A request to send an e-mail.
#[derive(Clone, Debug)]
pub(crate) struct MailRequest {
    pub(crate) email: String,
    pub(crate) template: &'static str,
    pub(crate) template_variables: BTreeMap<String, String>,
    pub(crate) state: Option<String>,
    pub(crate) expires_in: Duration,
    pub(crate) magiclink_auth_uri: Option<Url>,
}

#[derive(Debug)]
struct Request {
    mail: MailRequest,
    passwordless_type: PasswordlessType,
    code: Option<String>,
    link_token: Option<String>,
    expires_at: OffsetDateTime,
    attempts: Recent,
    spent: bool,
}

#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) auth_request_id: String,
    pub(crate) expires_at: OffsetDateTime,
    pub(crate) expires_in: Duration,
    pub(crate) passwordless_type: PasswordlessType,
}

#[derive(Debug)]
pub(crate) enum Credential<'a> {
    Code { code: &'a str, auth_request_id: &'a str },
    Link { token: &'a str, auth_request_id: Option<&'a str> },
}

#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) email: String,
    pub(crate) template: &'static str,
    pub(crate) state: Option<String>,
    /// What was used.
    pub(crate) passwordless_type: PasswordlessType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PasswordlessError {
    CodeWrong,
    Expired,
    LinkUnknown,
    NoLinkAddress,
    BrowserMismatch,
    TooManyAttempts,
    TooManyEmails,
    UnknownRequest,
    Used,
}

impl Passwordless {
    pub(crate) fn outbox(&self) -> impl Iterator<Item = &OutboxMail> {
        self.outbox.iter()
    }

    pub(crate) fn send(
        &mut self,
        mail: MailRequest,
        now: OffsetDateTime,
    ) -> Result<Sent, PasswordlessError> {
        self.check_link_address(&mail)?;
        self.count_email(&mail.email, now)?;
        Ok(self.deliver(random_token(), Request::new(mail, self.passwordless_type, now), now))
    }

    pub(crate) fn resend(
        &mut self,
        id: &str,
        now: OffsetDateTime,
    ) -> Result<Sent, PasswordlessError> {
        let request = self.requests.get(id).ok_or(PasswordlessError::UnknownRequest)?;
        if request.spent {
            return Err(PasswordlessError::Used);
        }
        let mail = request.mail.clone();
        if self.new_credentials_on_resend {
            self.check_link_address(&mail)?;
        }
        self.count_email(&mail.email, now)?;
        let mut request = self.requests.remove(id).ok_or(PasswordlessError::UnknownRequest)?;
        if self.new_credentials_on_resend {
            let request = Request::new(mail, self.passwordless_type, now);
            return Ok(self.deliver(random_token(), request, now));
        }
        request.expires_at = now + mail.expires_in;
        Ok(self.deliver(id.to_owned(), request, now))
    }

    /// A valid code or link is used up, and so is the other one of its e-mail.
    pub(crate) fn verify(
        &mut self,
        credential: &Credential<'_>,
        now: OffsetDateTime,
    ) -> Result<Verified, PasswordlessError> {
        let (request, used) = match *credential {
            Credential::Code { code, auth_request_id } => {
                let request = self
                    .requests
                    .get_mut(auth_request_id)
                    .ok_or(PasswordlessError::UnknownRequest)?;
                if !request.attempts.try_count(ATTEMPTS, ATTEMPTS_WITHIN, now) {
                    return Err(PasswordlessError::TooManyAttempts);
                }
                if request.code.as_deref() != Some(code) {
                    return Err(PasswordlessError::CodeWrong);
                }
                (request, PasswordlessType::Otp)
            }
            Credential::Link { token, auth_request_id } => {
                let (id, request) = self
                    .requests
                    .iter_mut()
                    .find(|(_, request)| request.link_token.as_deref() == Some(token))
                    .ok_or(PasswordlessError::LinkUnknown)?;
                match auth_request_id {
                    None if self.enforce_same_browser => {
                        return Err(PasswordlessError::BrowserMismatch);
                    }
                    Some(other) if other != id => return Err(PasswordlessError::BrowserMismatch),
                    _ => (request, PasswordlessType::Link),
                }
            }
        };
        if request.spent {
            return Err(PasswordlessError::Used);
        }
        if request.expires_at <= now {
            return Err(PasswordlessError::Expired);
        }
        request.spent = true;
        Ok(Verified {
            email: request.mail.email.clone(),
            template: request.mail.template,
            state: request.mail.state.clone(),
            passwordless_type: used,
        })
    }

    fn check_link_address(&self, mail: &MailRequest) -> Result<(), PasswordlessError> {
        if self.passwordless_type.has_link() && mail.magiclink_auth_uri.is_none() {
            return Err(PasswordlessError::NoLinkAddress);
        }
        Ok(())
    }

    fn count_email(&mut self, email: &str, now: OffsetDateTime) -> Result<(), PasswordlessError> {
        self.sent.retain(|_, recent| recent.any(EMAILS_WITHIN, now));
        let recent = self.sent.entry(email.to_lowercase()).or_default();
        if !recent.try_count(EMAILS, EMAILS_WITHIN, now) {
            return Err(PasswordlessError::TooManyEmails);
        }
        Ok(())
    }

    /// Adds an e-mail to the outbox.
    pub(crate) fn keep(&mut self, mail: OutboxMail) {
        self.outbox.push_front(mail);
        self.outbox.truncate(KEPT_EMAILS);
    }

    fn deliver(&mut self, id: String, request: Request, now: OffsetDateTime) -> Sent {
        self.keep(request.mail(now));
        let sent = Sent {
            auth_request_id: id.clone(),
            expires_at: request.expires_at,
            expires_in: request.mail.expires_in,
            passwordless_type: request.passwordless_type,
        };
        if self.requests.len() >= KEPT_REQUESTS {
            self.make_room(now);
        }
        self.requests.insert(id, request);
        sent
    }

    fn make_room(&mut self, now: OffsetDateTime) {
        self.requests.retain(|_, request| now < request.expires_at + REMEMBERED);
        if self.requests.len() >= KEPT_REQUESTS {
            self.requests
                .iter()
                .min_by_key(|(_, request)| request.expires_at)
                .map(|(id, _)| id.clone())
                .and_then(|id| self.requests.remove(&id));
        }
    }
}

impl Request {
    fn new(mail: MailRequest, passwordless_type: PasswordlessType, now: OffsetDateTime) -> Self {
        Self {
            code: passwordless_type
                .has_code()
                .then(|| format!("{:06}", random_digits() % 1_000_000)),
            link_token: passwordless_type.has_link().then(link_token),
            expires_at: now + mail.expires_in,
            attempts: Recent::default(),
            spent: false,
            passwordless_type,
            mail,
        }
    }

    fn mail(&self, now: OffsetDateTime) -> OutboxMail {
        let address = self.mail.magiclink_auth_uri.clone();
        OutboxMail {
            email: self.mail.email.clone(),
            code: self.code.clone(),
            link: address.zip(self.link_token.as_ref()).map(|(mut address, token)| {
                address.query_pairs_mut().append_pair("link_token", token);
                address.into()
            }),
            template: self.mail.template.to_owned(),
            template_variables: self.mail.template_variables.clone(),
            sent_at: now,
            expires_at: self.expires_at,
        }
    }
}

/// In the documentation's form: a UUID, then `_l`.
fn link_token() -> String {
    format!("{}_l", random_uuid())
}

/// Times of recent events.
#[derive(Debug, Default)]
struct Recent {
    times: VecDeque<OffsetDateTime>,
}

impl Recent {
    /// Counts an event, unless the limit within this time is reached.
    fn try_count(&mut self, limit: usize, within: Duration, now: OffsetDateTime) -> bool {
        // Later times were counted before the clock was set back.
        self.times.retain(|at| *at <= now && now < *at + within);
        let is_admitted = self.times.len() < limit;
        if is_admitted {
            self.times.push_back(now);
        }
        is_admitted
    }

    fn any(&self, within: Duration, now: OffsetDateTime) -> bool {
        self.times.iter().any(|at| now < *at + within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_that_expire_first_are_dropped() {
        let mut passwordless =
            Passwordless { passwordless_type: PasswordlessType::Otp, ..Passwordless::default() };
        let mut now = OffsetDateTime::UNIX_EPOCH;
        let mut send = |passwordless: &mut Passwordless, number: usize| {
            now += EMAILS_WITHIN;
            let mail = MailRequest {
                email: format!("{number}@acme.test"),
                template: "SIGNIN",
                template_variables: BTreeMap::new(),
                state: None,
                expires_in: Duration::from_secs(7 * 24 * 60 * 60),
                magiclink_auth_uri: None,
            };
            passwordless.send(mail, now).unwrap().auth_request_id
        };
        let ids: Vec<_> = (0..=KEPT_REQUESTS).map(|n| send(&mut passwordless, n)).collect();
        assert_eq!(passwordless.requests.len(), KEPT_REQUESTS);
        let is_known = |id: &String| passwordless.requests.contains_key(id);
        assert_eq!((is_known(&ids[0]), is_known(&ids[1])), (false, true));
    }
}
