//! What every agent serves.

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::feed::{Feed, NoPage};
use crate::export::metrics::Format;

/// `/metrics` and `/healthz`, to be merged with whatever else is served.
pub fn routes(feed: Feed) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .with_state(feed)
}

async fn metrics(State(feed): State<Feed>, headers: HeaderMap) -> Response {
    // Several headers of one name are one list.
    let accept: Vec<&str> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let format = Format::accepted(Some(&accept.join(",")));
    match feed.page(format).await {
        Ok(page) => ([(header::CONTENT_TYPE, format.content_type())], page).into_response(),
        Err(NoPage::Busy) => (StatusCode::SERVICE_UNAVAILABLE, "too many slow readers\n").into_response(),
        Err(NoPage::NoAnswer) => no_answer(),
    }
}

/// Whether the agent's loop answers: not only that somebody listens.
async fn healthz(State(feed): State<Feed>) -> Response {
    match feed.facts().await {
        Some(_) => "ok\n".into_response(),
        None => no_answer(),
    }
}

fn no_answer() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the agent does not answer\n").into_response()
}
