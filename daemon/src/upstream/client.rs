//! One attempt: a signed POST, and what the answer means. It follows no
//! redirects and keeps no state but its connections.
//!
//! | answer | means |
//! |---|---|
//! | 2xx | delivered |
//! | 400, 413, 415, 422 | refused: these bytes will never be taken; a dead letter |
//! | 410 | the receiver wants nothing any more (Standard Webhooks): sending stops |
//! | 429, 502, 503, 504, no connection | the receiver is down for everybody; `Retry-After` is honoured |
//! | all else (3xx, 401, 403, 404, 408, 409, 425, 500, …), no answer in time | may be mended: try again |

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;

use super::event::{self, Event};
use super::signature;
use crate::clock;
use crate::settings::Secret;

/// Bytes of an answer that are read; a longer one costs its connection.
const ANSWER_READ: usize = 64 * 1024;
/// Bytes of an error answer that are kept for the operator.
const ANSWER_KEPT: usize = 512;
/// A receiver cannot send us away for longer than this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
/// Idle connections kept.
const IDLE: usize = 16;

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has it.
    Delivered,
    /// The receiver will never take it.
    Refused(String),
    /// The receiver wants nothing any more.
    Gone(String),
    /// Try again.
    Failed {
        /// Why.
        error: String,
        /// When the receiver says.
        retry_after: Option<Duration>,
        /// It is the receiver that is down, whatever was sent.
        down: bool,
    },
}

impl Verdict {
    const fn failed(error: String) -> Self {
        Self::Failed {
            error,
            retry_after: None,
            down: false,
        }
    }
}

/// A receiver and how to speak to it.
#[derive(Clone, Debug)]
pub struct Client {
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Uri,
    secrets: Vec<Secret>,
    timeout: Duration,
}

impl Client {
    /// For one receiver; connects at the first attempt. `tls` knows whom to trust.
    pub fn new(url: Uri, secrets: Vec<Secret>, timeout: Duration, tls: &ClientConfig) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_or_http()
            .enable_http1()
            .build();
        let pool = Pool::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE)
            .build(connector);
        Self {
            pool,
            url,
            secrets,
            timeout,
        }
    }

    /// Sends the event once.
    pub async fn attempt(&self, event: &Event) -> Verdict {
        tokio::time::timeout(self.timeout, self.post(event))
            .await
            .unwrap_or_else(|_| {
                Verdict::failed(format!("no answer within {} ms", self.timeout.as_millis()))
            })
    }

    async fn post(&self, event: &Event) -> Verdict {
        let request = match self.request(event) {
            Ok(request) => request,
            Err(error) => return Verdict::failed(error.to_string()),
        };
        let response = match self.pool.request(request).await {
            Ok(response) => response,
            Err(error) => {
                return Verdict::Failed {
                    down: error.is_connect(),
                    error: with_causes(&error),
                    retry_after: None,
                };
            }
        };
        let (head, body) = response.into_parts();
        // Read to its end, so that the connection can be used again.
        let text = beginning(body).await;
        if head.status.is_success() {
            return Verdict::Delivered;
        }
        verdict(head.status, &head.headers, &text, clock::wall().as_secs())
    }

    fn request(&self, event: &Event) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let timestamp = clock::wall().as_secs();
        let signature = signature::sign(&self.secrets, &event.id, timestamp, &event.body);
        Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header(CONTENT_TYPE, event::CONTENT_TYPE)
            .header(USER_AGENT, concat!("offhook/", env!("CARGO_PKG_VERSION")))
            .header("idempotency-key", &event.id)
            .header(signature::ID, &event.id)
            .header(signature::TIMESTAMP, timestamp)
            .header(signature::SIGNATURE, signature)
            .body(Full::new(Bytes::from(event.body.clone())))
    }
}

/// The error and what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The beginning of a body, as text.
async fn beginning<B: Body>(body: B) -> String
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let read = Limited::new(body, ANSWER_READ).collect().await;
    let bytes = read.map(|all| all.to_bytes()).unwrap_or_default();
    String::from_utf8_lossy(&bytes[..bytes.len().min(ANSWER_KEPT)])
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// What an answer that is not 2xx means; `now_s` in seconds since 1970.
pub fn verdict(status: StatusCode, headers: &HeaderMap, text: &str, now_s: u64) -> Verdict {
    let error = format!("{}: {}", status.as_u16(), text.trim());
    let said = || {
        let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
        Some(parse_retry_after(value.trim(), now_s)?.min(RETRY_AFTER_MAX))
    };
    match status.as_u16() {
        400 | 413 | 415 | 422 => Verdict::Refused(error),
        410 => Verdict::Gone(error),
        429 | 502 | 503 | 504 => Verdict::Failed {
            error,
            retry_after: said(),
            down: true,
        },
        _ => Verdict::failed(error),
    }
}

/// Seconds, or a date (RFC 9110 §10.2.3).
fn parse_retry_after(value: &str, now_s: u64) -> Option<Duration> {
    let seconds = match value.parse() {
        Ok(seconds) => seconds,
        Err(_) => parse_http_date(value)?.saturating_sub(now_s),
    };
    Some(Duration::from_secs(seconds))
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT` (IMF-fixdate, RFC 9110 §5.6.7).
fn parse_http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let rest = text.split_once(", ")?.1.strip_suffix(" GMT")?;
    let mut parts = rest.split(' ');
    let day: u64 = parts.next()?.parse().ok()?;
    let name = parts.next()?;
    let month = (1..).zip(MONTHS).find(|month| month.1 == name)?.0;
    let year: u64 = parts.next()?.parse().ok()?;
    let mut time = parts.next()?.split(':').map(str::parse::<u64>);
    let (hour, minute) = (time.next()?.ok()?, time.next()?.ok()?);
    let second = time.next()?.ok()?;
    let fits = (1970..=9999).contains(&year) && (1..=31).contains(&day);
    if !fits || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(days_to(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, years from 1970 on.
fn days_to(year: u64, month: u64, day: u64) -> u64 {
    /// Days from 0000-03-01 to 1970-01-01.
    const TO_1970: u64 = 719_468;
    // Counted from March, the leap day comes last in its year.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - TO_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_seconds_say_when_to_come_back() {
        let now = 784_111_777; // Sun, 06 Nov 1994 08:49:37 GMT, RFC 9110's example
        for (text, expected) in [
            ("120", Some(120)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Mon, 07 Nov 1994 08:49:37 GMT", Some(86_400)),
            ("Sun, 06 Nov 1990 08:49:37 GMT", Some(0)),
            ("Sun, 06 Foo 1994 08:49:37 GMT", None),
            ("Sun, 99 Nov 1994 08:49:37 GMT", None),
            ("soon", None),
            ("-1", None),
        ] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(parse_retry_after(text, now), expected, "{text}");
        }
    }

    #[test]
    fn each_answer_means_what_the_table_says() {
        let kind = |code: u16| {
            let status = StatusCode::from_u16(code).unwrap();
            match verdict(status, &HeaderMap::new(), "why", 0) {
                Verdict::Delivered => "delivered",
                Verdict::Refused(error) => {
                    assert_eq!(error, format!("{code}: why"));
                    "refused"
                }
                Verdict::Gone(_) => "gone",
                Verdict::Failed { .. } => "failed",
            }
        };
        for (expected, codes) in [
            ("refused", &[400, 413, 415, 422][..]),
            ("gone", &[410]),
            (
                "failed",
                &[301, 401, 403, 404, 408, 409, 425, 429, 500, 503],
            ),
        ] {
            for code in codes {
                assert_eq!(kind(*code), expected, "{code}");
            }
        }
    }

    #[test]
    fn nobody_sends_us_away_for_longer_than_a_day() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "99999999".parse().unwrap());
        let busy = verdict(StatusCode::TOO_MANY_REQUESTS, &headers, "", 0);
        let expected = Verdict::Failed {
            error: "429: ".into(),
            retry_after: Some(RETRY_AFTER_MAX),
            down: true,
        };
        assert_eq!(busy, expected);
    }
}
