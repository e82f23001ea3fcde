use proptest::prelude::*;

use super::*;

fn owner(path: &str) -> (&str, UnitKind, &str) {
    let owner = owner_of(path);
    (owner.unit, owner.kind, owner.unit_cgroup)
}

#[test]
fn the_first_unit_that_is_no_slice_owns_all_below_it() {
    use UnitKind::{Mount, Scope, Service, Slice, Socket, Swap};
    let cases = [
        ("/", "-.slice", Slice, "/"),
        ("", "-.slice", Slice, "/"),
        ("/init.scope", "init.scope", Scope, "/init.scope"),
        ("/system.slice", "system.slice", Slice, "/system.slice"),
        (
            "/system.slice/a.service",
            "a.service",
            Service,
            "/system.slice/a.service",
        ),
        (
            "/system.slice/a.service/",
            "a.service",
            Service,
            "/system.slice/a.service",
        ),
        (
            "//system.slice//a.service",
            "a.service",
            Service,
            "//system.slice//a.service",
        ),
        // Delegate= and DelegateSubgroup=; names inside that look like units are not the system manager's.
        (
            "/system.slice/a.service/supervisor",
            "a.service",
            Service,
            "/system.slice/a.service",
        ),
        (
            "/system.slice/a.service/b.slice/c.service",
            "a.service",
            Service,
            "/system.slice/a.service",
        ),
        // Nested slices, and a service directly in the root slice.
        (
            "/a.slice/a-b.slice/a-b-c.slice/x.service",
            "x.service",
            Service,
            "/a.slice/a-b.slice/a-b-c.slice/x.service",
        ),
        ("/x.service", "x.service", Service, "/x.service"),
        // A user's manager is one unit of the system manager.
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome.slice/firefox.service",
            "user@1000.service",
            Service,
            "/user.slice/user-1000.slice/user@1000.service",
        ),
        (
            "/user.slice/user-1000.slice/session-3.scope",
            "session-3.scope",
            Scope,
            "/user.slice/user-1000.slice/session-3.scope",
        ),
        // Template instances and escapes keep their backslashes.
        (
            r"/system.slice/system-getty.slice/getty@tty1.service",
            "getty@tty1.service",
            Service,
            "/system.slice/system-getty.slice/getty@tty1.service",
        ),
        (
            r"/system.slice/system-a\x2db.slice/a\x2db@x-y.service",
            r"a\x2db@x-y.service",
            Service,
            r"/system.slice/system-a\x2db.slice/a\x2db@x-y.service",
        ),
        (
            r"/system.slice/dev-disk-by\x2duuid-1.swap",
            r"dev-disk-by\x2duuid-1.swap",
            Swap,
            r"/system.slice/dev-disk-by\x2duuid-1.swap",
        ),
        (
            "/system.slice/home.mount",
            "home.mount",
            Mount,
            "/system.slice/home.mount",
        ),
        ("/system.slice/-.mount", "-.mount", Mount, "/system.slice/-.mount"),
        (
            "/system.slice/dbus.socket",
            "dbus.socket",
            Socket,
            "/system.slice/dbus.socket",
        ),
        // Containers.
        (
            "/system.slice/docker-0a1b.scope/init",
            "docker-0a1b.scope",
            Scope,
            "/system.slice/docker-0a1b.scope",
        ),
        (
            "/machine.slice/machine-qemu\\x2d1.scope/libvirt/emulator",
            "machine-qemu\\x2d1.scope",
            Scope,
            "/machine.slice/machine-qemu\\x2d1.scope",
        ),
    ];
    for (path, unit, kind, unit_cgroup) in cases {
        assert_eq!(owner(path), (unit, kind, unit_cgroup), "{path:?}");
    }
}

#[test]
fn the_leading_underscore_of_escaped_names_goes_away_once() {
    assert_eq!(owner("/system.slice/_memory.service").0, "memory.service");
    assert_eq!(owner("/_cpu.slice/_memory.service").0, "memory.service");
    assert_eq!(owner("/system.slice/__a.service").0, "_a.service");
    assert_eq!(unescape("a_b"), "a_b");
}

#[test]
fn a_cgroup_that_systemd_did_not_make_is_its_slice_or_its_own_path() {
    assert_eq!(
        owner("/docker/abc"),
        ("/docker/abc", UnitKind::None, "/docker/abc")
    );
    assert_eq!(owner("/kubepods/burstable/pod1/x.service").1, UnitKind::None);
    assert_eq!(
        owner("/kubepods.slice/pod1/abc"),
        ("kubepods.slice", UnitKind::Slice, "/kubepods.slice")
    );
}

#[test]
fn what_systemd_would_not_accept_is_no_unit() {
    let long = format!("{}.service", "a".repeat(248));
    assert_eq!(long.len(), 256);
    for name in [
        "",
        ".",
        "service",
        ".service",
        "a.target",
        "a.timer",
        "a.Service",
        "a b.service",
        "ä.service",
        "@a.service",
        "a@.service",
        "a@b.slice",
        "-a.slice",
        "a-.slice",
        "a--b.slice",
        "a/b.service",
        &long,
    ] {
        assert_eq!(kind_of_name(name), None, "{name:?}");
    }
    assert_eq!(kind_of_name(&long[1..]), Some(UnitKind::Service));
    assert_eq!(kind_of_name("-.slice"), Some(UnitKind::Slice));
    assert_eq!(kind_of_name("a@b@c.service"), Some(UnitKind::Service));
}

fn unit_stem() -> impl Strategy<Value = String> {
    "[a-z0-9:_.\\\\][a-z0-9:_.\\\\-]{0,20}(@[a-z0-9:_.\\\\-]{1,10})?"
}

/// The path component that systemd makes for a unit (`cg_escape`), as far as names alone decide it.
fn escape(name: &str) -> String {
    if name.starts_with(['_', '.']) || name.starts_with("cgroup.") || name.starts_with("memory.") {
        format!("_{name}")
    } else {
        name.to_owned()
    }
}

proptest! {
    #[test]
    fn any_unit_is_found_whatever_is_above_and_below(
        slices in prop::collection::vec("[a-z]{1,8}", 0..4),
        stem in unit_stem(),
        suffix in prop::sample::select(vec!["service", "scope", "mount", "swap", "socket"]),
        below in prop::collection::vec("[a-z@._-]{1,12}", 0..4),
    ) {
        let name = format!("{stem}.{suffix}");
        let mut unit_cgroup = String::new();
        for depth in 0..slices.len() {
            unit_cgroup += &format!("/{}.slice", slices[..=depth].join("-"));
        }
        unit_cgroup += &format!("/{}", escape(&name));
        let path = [std::slice::from_ref(&unit_cgroup), &below].concat().join("/");
        let owner = owner_of(&path);
        prop_assert_eq!(owner.unit, &name);
        prop_assert_eq!(owner.kind.as_str(), suffix);
        prop_assert_eq!(owner.unit_cgroup, &unit_cgroup);
        prop_assert_eq!(owner.is_nested(&path), !below.is_empty());
    }

    #[test]
    fn any_text_has_an_owner_whose_cgroup_contains_it(path in "(/[a-z@._\\\\ä-]{0,10}(\\.slice|\\.service)?){0,5}") {
        let owner = owner_of(&path);
        prop_assert!(owner.unit_cgroup == "/" || path.starts_with(owner.unit_cgroup));
        if owner.kind == UnitKind::None {
            prop_assert_eq!(owner.unit, owner.unit_cgroup);
        } else {
            prop_assert_eq!(kind_of_name(owner.unit), Some(owner.kind));
        }
        // Asking for the unit's own cgroup gives the same unit again.
        prop_assert_eq!(owner_of(owner.unit_cgroup), owner);
    }
}
