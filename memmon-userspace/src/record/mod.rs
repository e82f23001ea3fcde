//! Stage `record`.
