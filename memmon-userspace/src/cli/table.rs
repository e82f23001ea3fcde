//! Values of the JSON documents as people read them; what is null is "n/a".

use serde_json::Value;

use crate::policy::forecast::interval;

/// A text.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("n/a")
}

/// Bytes in the largest unit that leaves a whole part.
pub fn bytes(value: &Value) -> String {
    value.as_u64().map_or_else(|| "n/a".to_owned(), size)
}

/// Bytes, or `max`.
pub fn limit(value: &Value) -> String {
    value.as_str().map_or_else(|| bytes(value), str::to_owned)
}

/// A count.
pub fn count(value: &Value) -> String {
    value
        .as_u64()
        .map_or_else(|| "n/a".to_owned(), |count| count.to_string())
}

/// A fraction in percent.
pub fn percent(value: &Value) -> Option<String> {
    Some(format!("{:.0} %", value.as_f64()? * 100.0))
}

/// The host in one line.
pub fn system(system: &Value) -> String {
    format!(
        "RAM used {}, swap used {}, situation {}{}",
        percent(&system["ram_used"]).unwrap_or_else(|| "n/a".to_owned()),
        percent(&system["swap_used"]).unwrap_or_else(|| "none set up".to_owned()),
        text(&system["situation"]),
        if system["swap_high"] == true {
            ", swap high"
        } else {
            ""
        },
    )
}

/// A tagged region in one line.
pub fn region(region: &Value) -> String {
    let pid = region["pid"].as_u64().map(|pid| format!(", pid {pid}"));
    format!(
        "{} {}{}: {} pages, {} swapped out so far",
        text(&region["unit"]),
        text(&region["label"]),
        pid.unwrap_or_default(),
        count(&region["pages"]),
        count(&region["swapout_pages"]),
    )
}

/// A forecast as a row: what, how much of it is in use, how much there is, and when it is full.
pub fn forecast(forecast: &Value) -> String {
    let resource = text(&forecast["resource"]);
    let name = forecast["unit"]
        .as_str()
        .map_or_else(|| resource.to_owned(), |unit| format!("{unit} MemoryMax"));
    let seconds = |key: &str| forecast[key].as_f64().unwrap_or(0.0);
    let full = match text(&forecast["outcome"]) {
        "too_little" => "too few samples to tell".to_owned(),
        "no_trend" => "no trend".to_owned(),
        "falling" => "no: it falls".to_owned(),
        "too_far" => "rises, but too slowly to tell when".to_owned(),
        "reached" => "now".to_owned(),
        "exhausts" => format!(
            "in {}",
            interval(seconds("earliest_seconds"), seconds("latest_seconds"))
        ),
        other => other.to_owned(),
    };
    format!(
        "{name:<40} {:>9} {:>9}  {full}\n",
        bytes(&forecast["used_bytes"]),
        bytes(&forecast["limit_bytes"])
    )
}

fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return format!("{value:.0} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}
