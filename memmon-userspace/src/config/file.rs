//! One configuration file: bytes to draft.

use std::sync::Arc;

use toml::de::DeTable;

use super::{
    Location,
    error::{ConfigError, Source},
    keys::Reader,
    merge::Draft,
};

/// Reads one file's `bytes` over `draft`. What is wrong goes to `errors`, in the order of the file; the
/// good values of a file with errors are taken over, so that later checks see them.
pub(super) fn read(
    draft: &mut Draft,
    layer: usize,
    file: &Arc<str>,
    bytes: &[u8],
    errors: &mut Vec<ConfigError>,
) {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let at = Location::of(file, &valid, valid.len());
            return errors.push(ConfigError::Syntax {
                at,
                problem: format!(
                    "byte 0x{:02x} is not UTF-8: save the file as UTF-8",
                    bytes[error.valid_up_to()]
                ),
            });
        }
    };
    let source = Source { file, text };
    let (document, problems) = DeTable::parse_recoverable(text);
    if !problems.is_empty() {
        // What the parser made of the rest is a guess: complaining about it would mislead.
        return errors.extend(problems.iter().map(|problem| ConfigError::Syntax {
            at: source.at(&problem.span().unwrap_or(0..0)),
            problem: problem.message().to_owned(),
        }));
    }
    let mut found = Vec::new();
    Reader {
        source,
        layer,
        draft,
        errors: &mut found,
    }
    .document(document.into_inner());
    found.sort_by_key(|error| error.location().map(|at| (at.line, at.column)));
    errors.extend(found);
}
