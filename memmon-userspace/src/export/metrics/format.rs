//! Which of the two formats, and how one becomes the other.

/// How the page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Text,
}

impl Format {
    /// What a client that sends this `Accept` header gets: OpenMetrics only if it asks for it by name and prefers
    /// nothing else. A `q` that is no number counts as 1, like a missing one.
    pub fn accepted(accept: Option<&str>) -> Self {
        let mut best = (Self::Text, f32::MIN);
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let format = match parts.next().unwrap_or_default() {
                "application/openmetrics-text" => Self::OpenMetrics,
                "text/plain" | "text/*" | "*/*" => Self::Text,
                _ => continue,
            };
            let parameters: Vec<&str> = parts.collect();
            let parameter = |name: &str| {
                parameters
                    .iter()
                    .find_map(|parameter| parameter.strip_prefix(name)?.strip_prefix('='))
            };
            // OpenMetrics without a version is 1.0.0 for every client that there is.
            let version = parameter("version").unwrap_or("1.0.0");
            if format == Self::OpenMetrics && !matches!(version, "1.0.0" | "0.0.1") {
                continue;
            }
            let quality = parameter("q").and_then(|q| q.parse().ok()).unwrap_or(1.0);
            if quality > 0.0 && quality > best.1 {
                best = (format, quality);
            }
        }
        best.0
    }

    /// The `Content-Type` header.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// An OpenMetrics page in the older format: the same samples, while the comments name each family as its samples
/// are called, know no `info`, no `UNIT` and no `EOF`.
pub(super) fn to_text(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    // HELP comes before TYPE, which tells what the family is called: it waits for it.
    let mut help = None;
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            if let Some((_, help)) = help.take() {
                text.extend(["# HELP ", name, suffix, " ", help, "\n"]);
            }
            text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            text.extend([line, "\n"]);
        }
    }
    text
}
