//! The page's files: embedded by `build.rs`, made by `cargo xtask build`.

use std::{fs, io, path::Path};

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use hyper::body::Bytes;

include!("files.rs");
include!(concat!(env!("OUT_DIR"), "/web_assets.rs"));

/// One file.
#[derive(Clone, Debug)]
pub(super) struct Asset {
    /// Where it is served.
    pub(super) path: &'static str,
    /// `Content-Type`.
    pub(super) media_type: &'static str,
    /// As it is.
    pub(super) plain: Bytes,
    /// Compressed with gzip; empty if there is no such copy.
    pub(super) gzip: Bytes,
}

/// All files of the page.
#[derive(Clone, Debug)]
pub struct Assets(Vec<(Asset, String)>);

impl Assets {
    /// Those of this build: the page, or a sentence that says why there is none.
    pub fn embedded() -> Self {
        let asset = |&(path, media_type, plain, gzip): &Embedded| Asset {
            path,
            media_type,
            plain: Bytes::from_static(plain),
            gzip: Bytes::from_static(gzip),
        };
        Self::new(EMBEDDED.iter().map(asset))
    }

    /// Those that lie in `dir`, as `cargo xtask build` makes them: for whoever changes the page.
    ///
    /// # Errors
    /// If one of them cannot be read.
    pub fn read(dir: &Path) -> io::Result<Self> {
        let asset = |&(path, name, media_type): &(&'static str, &str, &'static str)| {
            let read = |name: &str| fs::read(dir.join(name)).map(Bytes::from);
            Ok(Asset {
                path,
                media_type,
                plain: read(name)?,
                gzip: read(&format!("{name}.gz"))?,
            })
        };
        let assets: io::Result<Vec<_>> = FILES.iter().map(asset).collect();
        Ok(Self::new(assets?))
    }

    /// These files.
    pub(super) fn new(assets: impl IntoIterator<Item = Asset>) -> Self {
        let tagged = |asset: Asset| {
            let tag = format!("{:016x}", fingerprint(&asset.plain));
            (asset, tag)
        };
        Self(assets.into_iter().map(tagged).collect())
    }

    /// Where files are served.
    pub(super) fn paths(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|(asset, _)| asset.path)
    }

    /// The file at `path`, as far as the browser does not have it.
    pub(super) fn answer(&self, path: &str, headers: &HeaderMap) -> Response {
        let Some((asset, tag)) = self.0.iter().find(|(asset, _)| asset.path == path) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let compressed = !asset.gzip.is_empty() && accepts_gzip(headers);
        let tag = if compressed {
            format!("\"{tag}-gzip\"")
        } else {
            format!("\"{tag}\"")
        };
        let known = listed(headers, &header::IF_NONE_MATCH).any(|known| known == tag || known == "*");
        let shared = [
            (header::ETAG, tag.as_str()),
            // Kept, and asked about each time: an upgraded agent is seen at once.
            (header::CACHE_CONTROL, "no-cache"),
            (header::VARY, "Accept-Encoding"),
        ];
        if known {
            return (StatusCode::NOT_MODIFIED, shared).into_response();
        }
        let kind = [(header::CONTENT_TYPE, asset.media_type)];
        if compressed {
            let encoding = [(header::CONTENT_ENCODING, "gzip")];
            (shared, kind, encoding, asset.gzip.clone()).into_response()
        } else {
            (shared, kind, asset.plain.clone()).into_response()
        }
    }
}

/// The elements of a header that is a list.
fn listed<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> impl Iterator<Item = &'h str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|element| element.trim().trim_start_matches("W/"))
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    listed(headers, &header::ACCEPT_ENCODING).any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
        let quality = quality.trim().strip_prefix("q=").map(str::parse::<f32>);
        name.trim().eq_ignore_ascii_case("gzip") && !matches!(quality, Some(Ok(0.0) | Err(_)))
    })
}

/// FNV-1a: tells versions of one file apart.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
