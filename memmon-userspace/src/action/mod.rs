//! Stage `action`.
