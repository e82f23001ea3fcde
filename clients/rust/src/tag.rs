//! What is known of one registration.

/// How far a registration has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TagState {
    /// The agent has not answered yet.
    #[cfg_attr(
        not(feature = "dbus"),
        expect(dead_code, reason = "there is nobody to wait for")
    )]
    Waiting,
    /// Registered.
    Tagged,
    /// Not registered, and why: the agent said no, or there is none.
    Not(String),
}
