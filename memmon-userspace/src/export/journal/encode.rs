//! journald's native protocol: fields of a datagram.

/// Longest value in bytes. Longer ones would need a file instead of a datagram; none of ours is long on purpose.
const VALUE_MAX: usize = 8192;
/// Stands at the end of a value that was cut.
const CUT: &str = "…";

/// The datagram of `fields`. Names must be those of the journal: capitals, digits, underscores.
pub(super) fn datagram(fields: &[(&str, String)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    for (name, value) in fields {
        let value = shorten(value);
        out.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            // The length-prefixed form, which may contain anything.
            out.push(b'\n');
            out.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            out.push(b'=');
        }
        out.extend_from_slice(value.as_bytes());
        out.push(b'\n');
    }
    out
}

fn shorten(value: &str) -> std::borrow::Cow<'_, str> {
    if value.len() <= VALUE_MAX {
        return value.into();
    }
    let end = value.floor_char_boundary(VALUE_MAX - CUT.len());
    format!("{}{CUT}", &value[..end]).into()
}
