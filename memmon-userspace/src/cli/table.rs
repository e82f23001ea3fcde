//! Values of the JSON documents as people read them; what is null is "n/a".

use serde_json::Value;

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
