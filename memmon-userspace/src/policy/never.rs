//! Units that are never acted upon, whatever the configuration says.

/// Why `unit` is never acted upon; `None` if it may be.
///
/// The host cannot be repaired without these, and memmon itself cannot act without them.
pub fn never_touched(unit: &str, own_unit: Option<&str>) -> Option<&'static str> {
    if own_unit == Some(unit) || unit == "memmon.service" {
        return Some("it is memmon itself");
    }
    Some(match unit {
        "init.scope" => "it is the service manager",
        "-.slice" | "system.slice" => "it contains the service manager's own services",
        _ if stem(unit, "dbus") || stem(unit, "dbus-broker") => "it is the message bus",
        _ if stem(unit, "systemd-journald") => "it is the journal",
        _ if stem(unit, "systemd-udevd") => "it is the device manager",
        _ if stem(unit, "systemd-logind") => "it is the login manager",
        _ => return None,
    })
}

/// `unit` is `name.TYPE`, an instance of it, or one of its sockets (`name-varlink.socket`).
fn stem(unit: &str, name: &str) -> bool {
    unit.strip_prefix(name).is_some_and(|rest| {
        rest.starts_with(['.', '@']) || (rest.starts_with('-') && rest.ends_with(".socket"))
    })
}
