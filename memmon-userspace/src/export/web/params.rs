//! What a request asks for, and what is wrong with that.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::record::HOST;

/// A range of time that is asked for without saying which.
const RANGE: i64 = 3600;
/// The shortest and the longest range.
const RANGES: std::ops::RangeInclusive<i64> = 60..=31 * 24 * 3600;
/// systemd's own limit for names of units.
const NAME: usize = 255;
/// No later second is meant: year 9999.
const LATEST: i64 = 253_402_300_799;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    parameter: Option<String>,
    value: Option<String>,
    problem: String,
    remedy: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            status,
            parameter: None,
            value: None,
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    fn of(parameter: &str, value: &str, problem: &str, remedy: &str) -> Self {
        let short = |text: &str| text.chars().take(NAME).collect();
        Self {
            parameter: Some(short(parameter)),
            value: Some(short(value)),
            ..Self::new(StatusCode::BAD_REQUEST, problem, remedy)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = json!({
            "schema": "memmon.error/1",
            "parameter": self.parameter,
            "value": self.value,
            "problem": self.problem,
            "remedy": self.remedy,
        });
        let kind = [(header::CONTENT_TYPE, "application/json")];
        let mut response = (self.status, kind, document.to_string()).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("2"));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(
                    header::WWW_AUTHENTICATE,
                    header::HeaderValue::from_static("Bearer realm=\"memmon\""),
                );
            }
            _ => {}
        }
        response
    }
}

/// Of what, and from when to when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// A unit, or the host.
    pub(super) unit: String,
    /// Seconds since 1970.
    pub(super) from: i64,
    /// Likewise.
    pub(super) to: i64,
}

impl Range {
    /// Reads `unit`, `from` and `to`; `now` is the time in seconds since 1970.
    pub(super) fn read(query: &str, now: i64) -> Result<Self, Problem> {
        let (mut unit, mut from, mut to) = (None, None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(value) = decoded(value) else {
                return Err(Problem::of(
                    name,
                    value,
                    "is not UTF-8 in percent-encoding",
                    "encode what is no letter or digit",
                ));
            };
            let slot = match name {
                "unit" => &mut unit,
                "from" => &mut from,
                "to" => &mut to,
                _ => {
                    return Err(Problem::of(
                        name,
                        &value,
                        "is not known here",
                        "there are unit, from and to",
                    ));
                }
            };
            if slot.is_some() {
                return Err(Problem::of(name, &value, "is given twice", "give it once"));
            }
            *slot = Some(value);
        }
        let unit = unit.unwrap_or_else(|| HOST.to_owned());
        check_unit(&unit)?;
        let to = to.map_or(Ok(now + 1), |text| second("to", &text))?;
        let from = from.map_or(Ok(to - RANGE), |text| second("from", &text))?;
        if !RANGES.contains(&(to - from)) {
            return Err(Problem::of(
                "from",
                &from.to_string(),
                &format!("is {} seconds before `to` ({to})", to - from),
                "ask for one minute to 31 days",
            ));
        }
        Ok(Self { unit, from, to })
    }
}

fn check_unit(unit: &str) -> Result<(), Problem> {
    let known = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if unit == HOST || (!unit.is_empty() && unit.len() <= NAME && unit.chars().all(known)) {
        return Ok(());
    }
    Err(Problem::of(
        "unit",
        unit,
        "is no name of a unit",
        &format!("write one such as db.service, or {HOST}"),
    ))
}

fn second(name: &str, text: &str) -> Result<i64, Problem> {
    match text.parse::<i64>() {
        Ok(second) if (0..=LATEST).contains(&second) => Ok(second),
        _ => Err(Problem::of(
            name,
            text,
            "is no moment",
            "write whole seconds since 1970-01-01T00:00:00Z",
        )),
    }
}

/// `None` if it is not UTF-8, or `%` is not followed by two hexadecimal digits.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let value = digit(rest.next())? * 16 + digit(rest.next())?;
                u8::try_from(value).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}
