//! A set of label values that cannot grow without bound.

use std::collections::HashSet;
use std::sync::Arc;

/// What new values are called once a [`LabelSet`] is full.
pub const OTHER: &str = "other";

/// Hands out label values until a limit is reached; from then on new ones are [`OTHER`].
///
/// A value that was handed out once is handed out for ever, so that a counter under it never falls.
#[derive(Debug)]
pub struct LabelSet {
    limit: usize,
    values: HashSet<Arc<str>>,
    other: Arc<str>,
}

impl LabelSet {
    /// A set of at most `limit` values besides [`OTHER`].
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            values: HashSet::new(),
            other: Arc::from(OTHER),
        }
    }

    /// The label for `value`: itself, or [`OTHER`].
    pub fn label(&mut self, value: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.values.get(value) {
            return Arc::clone(known);
        }
        if self.values.len() >= self.limit {
            return Arc::clone(&self.other);
        }
        self.values.insert(Arc::clone(value));
        Arc::clone(value)
    }

    /// Whether `value` goes under its own name: it has been handed out, or there is still room for it.
    pub fn has_room_for(&self, value: &str) -> bool {
        self.values.contains(value) || self.values.len() < self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_keeps_its_label_when_the_set_is_full() {
        let mut labels = LabelSet::new(2);
        let [a, b, c] = ["a", "b", "c"].map(Arc::<str>::from);
        assert_eq!(&*labels.label(&a), "a");
        assert_eq!(&*labels.label(&b), "b");
        assert_eq!(&*labels.label(&c), OTHER);
        assert_eq!(&*labels.label(&a), "a");
        assert_eq!(
            (labels.has_room_for("b"), labels.has_room_for("c")),
            (true, false)
        );
    }
}
