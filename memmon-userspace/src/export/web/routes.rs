//! Where what is.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    middleware,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};

use super::{
    Archive, Assets, Guard, Live, guard, headers,
    params::{Problem, Range},
};

/// Everything that the page needs.
#[derive(Clone)]
pub struct Web {
    /// The page itself.
    pub assets: Assets,
    /// What happens.
    pub live: Live,
    /// What has happened.
    pub archive: Archive,
    /// Who may see it.
    pub guard: Guard,
}

/// The page and what it asks for, to be merged with whatever else is served.
pub fn routes(web: Web) -> Router {
    let facts = Router::new()
        .route("/api/live", get(live))
        .route("/api/history", get(history))
        .route("/api/forecast", get(forecast))
        .route("/api/session", get(session))
        .route("/api/session", post(open_session))
        .layer(middleware::from_fn_with_state(web.guard.clone(), guard::pass));
    // The files hold no facts: a browser gets them before it has shown a token.
    let files = web
        .assets
        .paths()
        .fold(Router::new(), |router, path| router.route(path, get(file)));
    facts
        .merge(files)
        .layer(middleware::from_fn(headers::add))
        .with_state(web)
}

async fn file(State(web): State<Web>, uri: Uri, headers: HeaderMap) -> Response {
    web.assets.answer(uri.path(), &headers)
}

async fn live(State(web): State<Web>) -> Response {
    web.live.stream().unwrap_or_else(|| {
        let text = format!("{} viewers are watching already", super::VIEWERS);
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            text,
            "close a page, or try again later",
        )
        .into_response()
    })
}

async fn history(State(web): State<Web>, request: Request) -> Response {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX / 2));
    match Range::read(request.uri().query().unwrap_or(""), now) {
        Ok(range) => json(web.archive.history(range).await),
        Err(problem) => problem.into_response(),
    }
}

async fn forecast(State(web): State<Web>) -> Response {
    json(web.archive.forecast().await)
}

/// Whether the facts are open to whoever asks: an event stream does not tell a browser why it is refused.
async fn session() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// As [`session`]; a browser that has shown the token gets it as a cookie, which it sends with the event stream.
async fn open_session(State(web): State<Web>, headers: HeaderMap) -> Response {
    match web.guard.cookie(&headers) {
        Some(cookie) => (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

fn json(answer: Result<hyper::body::Bytes, Problem>) -> Response {
    match answer {
        Ok(document) => ([(header::CONTENT_TYPE, "application/json")], document).into_response(),
        Err(problem) => problem.into_response(),
    }
}
