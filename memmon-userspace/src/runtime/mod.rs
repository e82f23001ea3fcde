//! Stage `runtime`.
