#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{assets::Asset, params::Range, *};
use crate::{
    config::Listen,
    export::{
        http::{self, Feed, Hosts, Socket},
        json::report::ReportDocument,
        metrics::Facts,
    },
    record::{Event, EventKind, HOST, Keep, Sample, Store, Tick},
    testing::schema::assert_valid,
};

const DEADLINE: Duration = Duration::from_secs(30);
const SECRET: &str = "0123456789abcdef";

mod access;
mod fixtures;
mod history;
mod stream;

use fixtures::*;
