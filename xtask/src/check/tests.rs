//! Each rule on code that keeps it and on code that breaks it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::{Violation, manifests, module, source, tokens};

/// The problems of `text` as the file `stage_file` of the agent.
fn problems(stage_file: &str, text: &str) -> Vec<String> {
    source(&format!("memmon-userspace/src/{stage_file}"), text)
        .iter()
        .map(Violation::to_string)
        .collect()
}

/// Requires one problem at `line` that contains `part`.
fn one_problem(stage_file: &str, text: &str, line: usize, part: &str) {
    let found = problems(stage_file, text);
    assert_eq!(found.len(), 1, "{text}: {found:?}");
    let place = format!("memmon-userspace/src/{stage_file}:{line}: ");
    assert!(
        found[0].starts_with(&place) && found[0].contains(part),
        "{text}: {found:?}"
    );
}

#[test]
fn imports_to_the_left_are_fine() {
    for (file, text) in [
        (
            "policy/rank.rs",
            "use crate::{attribute::Attributed, config::Priority, decode};",
        ),
        ("policy/rank.rs", "use super::Decision; use self::inner::X;"),
        (
            "policy/rank.rs",
            "// crate::action::run\nconst S: &str = \"crate::action\"; /* crate::export */",
        ),
        ("policy/deep/er.rs", "use super::super::rank::Rank;"),
        ("config/mod.rs", "use crate::source::proc;"),
        (
            "runtime/mod.rs",
            "use crate::{action, cli::Failure, export, policy};",
        ),
        ("cli/run.rs", "fn f() { crate::runtime::run() }"),
        ("lib.rs", "pub mod action; pub use crate::action::*;"),
        ("policy/rank_tests.rs", "use crate::action::Fake;"),
        ("policy/tests/mod.rs", "use crate::action::Fake;"),
        ("testing/mod.rs", "use crate::export::json;"),
        (
            "policy/rank.rs",
            "#[cfg(test)]\nmod tests { use crate::action::Fake; }\nuse crate::decode::X;",
        ),
        (
            "policy/rank.rs",
            "#[cfg(test)]\nuse crate::action::Fake;\nfn f() {}",
        ),
    ] {
        assert_eq!(problems(file, text), [""; 0], "{text}");
    }
}

#[test]
fn imports_to_the_right_are_found_however_written() {
    for (text, line) in [
        ("use crate::action::run;", 1),
        ("use crate::{\n    config::Priority,\n    action::{Lease},\n};", 3),
        ("\nfn f() { crate::action::run(); }", 2),
        ("fn f() -> crate::action::Lease { todo() }", 1),
        ("use super::super::action::Lease;", 1),
        ("fn f() { println!(\"{}\", crate::action::COUNT); }", 1),
        ("#[derive(crate::action::Derive)] struct S;", 1),
        ("use crate::action as harmless;", 1),
        ("use crate::action::*;", 1),
        ("#[cfg(not(test))]\nuse crate::action::run;", 2),
        ("#[cfg(test)]\nmod tests { }\nuse crate::action::run;", 3),
    ] {
        one_problem("policy/rank.rs", text, line, "`action` is to its right");
    }
    for stage in ["source", "kernel", "config"] {
        one_problem(
            &format!("{stage}/mod.rs"),
            "use crate::decode::Event;",
            1,
            "`decode` is to its right",
        );
    }
    one_problem(
        "decode/mod.rs",
        "use crate::runtime::run;",
        1,
        "`runtime` is to its right",
    );
    one_problem(
        "export/mod.rs",
        "use crate::cli::Failure;",
        1,
        "`cli` is to its right",
    );
    one_problem(
        "policy/deep/er.rs",
        "use super::super::super::export::X;",
        1,
        "`export` is to its right",
    );
    // Both paths of one statement.
    assert_eq!(
        problems("decode/mod.rs", "use crate::{policy::P, export};").len(),
        2
    );
}

#[test]
fn the_whole_crate_is_not_imported() {
    one_problem("decode/event.rs", "use crate::*;", 1, "name what is used");
    one_problem("decode/mod.rs", "use super::*;", 1, "name what is used");
    assert_eq!(problems("decode/event.rs", "use super::*;"), [""; 0]);
}

#[test]
fn a_new_stage_needs_a_place() {
    one_problem(
        "magic/mod.rs",
        "use crate::config::Config;",
        1,
        "`magic` is no stage",
    );
}

#[test]
fn pure_code_is_pure() {
    for (file, text, part) in [
        ("policy/rank.rs", "use std::fs;", "`std::fs` touches files"),
        (
            "policy/rank.rs",
            "use std::{fmt, fs::File};",
            "`std::fs::File` touches files",
        ),
        (
            "decode/event.rs",
            "fn f() { std::env::var(\"X\"); }",
            "reads the environment",
        ),
        ("decode/event.rs", "use tokio::sync::mpsc;", "needs a runtime"),
        ("kernel/plan.rs", "use aya::Ebpf;", "talks to the kernel"),
        (
            "kernel/plan.rs",
            "use rustix::system::uname;",
            "talks to the kernel",
        ),
        (
            "action/systemd_props.rs",
            "use zbus::zvariant::Value;",
            "talks to the bus",
        ),
        (
            "policy/rank.rs",
            "use std::time::Instant;\nfn f() { Instant::now(); }",
            "reads the clock",
        ),
        (
            "policy/rank.rs",
            "fn f() { std::time::SystemTime::now(); }",
            "reads the clock",
        ),
        ("policy/rank.rs", "fn f(t: T) { t.elapsed(); }", "reads the clock"),
        (
            "policy/rank.rs",
            "use std::collections::{BTreeMap, HashMap};",
            "use BTreeMap",
        ),
        ("policy/rank.rs", "fn f() { rand::random::<u8>(); }", "is random"),
    ] {
        let found = problems(file, text);
        assert!(
            found.len() == 1 && found[0].contains(part) && found[0].contains("is pure"),
            "{text}: {found:?}"
        );
    }
    for (file, text) in [
        (
            "policy/rank.rs",
            "use std::{fmt, time::{Duration, Instant, UNIX_EPOCH}}; use std::fmt::Write;",
        ),
        ("policy/rank.rs", "fn f(t: T) -> u64 { t.elapsed }"),
        ("policy/rank_tests.rs", "use std::fs;"),
        (
            "action/execute.rs",
            "use std::{fs, time::Instant}; fn f() { Instant::now().elapsed(); }",
        ),
        ("kernel/probe.rs", "use std::fs;"),
    ] {
        assert_eq!(problems(file, text), [""; 0], "{text}");
    }
}

#[test]
fn long_files_are_found_in_every_crate() {
    let (just, over) = ("\n".repeat(500), "\n".repeat(501));
    assert_eq!(source("xtask/src/main.rs", &just), []);
    assert!(
        source("xtask/src/main.rs", &over)[0]
            .to_string()
            .contains("501 lines")
    );
    assert!(
        source("tests/src/lib.rs", &over)[0]
            .to_string()
            .starts_with("tests/src/lib.rs: has")
    );
}

#[test]
fn what_is_not_rust_is_a_problem() {
    assert!(problems("decode/mod.rs", "fn f( {")[0].contains("cannot be read as Rust"));
}

#[test]
fn modules_of_files() {
    let of = |file: &str| module(&format!("memmon-userspace/src/{file}")).map(|m| m.join("::"));
    assert_eq!(of("decode/mod.rs").unwrap(), "decode");
    assert_eq!(of("kernel/plan.rs").unwrap(), "kernel::plan");
    assert_eq!(of("export/json/trace.rs").unwrap(), "export::json::trace");
    assert_eq!(of("main.rs"), None);
    assert_eq!(module("memmon-common/src/event.rs"), None);
}

#[test]
fn paths_of_nested_braces() {
    let found = tokens::paths("use a::{b::{c, d as e}, f::*, self};\nx::<y::Z>(w::v);").unwrap();
    let found: Vec<_> = found.iter().map(|path| format!("{path} {}", path.line)).collect();
    assert_eq!(found, ["a::b::c 1", "a::b::d 1", "a::f::* 1", "y::Z 2", "w::v 2"]);
}

#[test]
fn manifests_opt_in() {
    let good = "[package]\nname = 'x'\n[dependencies]\na.workspace = true\nb = { workspace = true, features = ['c'] }\n\
                [lints]\nworkspace = true\n";
    assert_eq!(manifests::check("x/Cargo.toml", good), []);
    assert_eq!(manifests::check("Cargo.toml", "[workspace]\nmembers = []"), []);
    let without = good.replace("[lints]\nworkspace = true\n", "");
    assert!(
        manifests::check("x/Cargo.toml", &without)[0]
            .problem
            .contains("[lints] workspace = true")
    );
    let off = good.replace("[lints]\nworkspace = true", "[lints]\nworkspace = false");
    assert_eq!(manifests::check("x/Cargo.toml", &off).len(), 1);
    let version = good.replace("a.workspace = true", "a = '1'");
    assert!(
        manifests::check("x/Cargo.toml", &version)[0]
            .problem
            .contains("[dependencies] a has a version")
    );
}
