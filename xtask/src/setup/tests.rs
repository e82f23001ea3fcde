//! The decisions of the set-up; what it installs is seen on fresh machines only.

use super::{PROGRAMS, Purpose, apt, bpf, find_program, missing_packages};
use crate::vm::HOST_PROGRAMS;

#[test]
fn only_what_is_missing_is_installed() {
    assert_eq!(missing_packages(Purpose::Test, |_| true), [""; 0]);
    assert_eq!(
        missing_packages(Purpose::Build, |_| false),
        ["build-essential", "nodejs", "npm"]
    );
    for (_, one, package) in PROGRAMS {
        assert_eq!(
            missing_packages(Purpose::Test, |program| program != *one),
            [*package]
        );
    }
    let all = missing_packages(Purpose::Test, |_| false);
    assert_eq!(all.len(), PROGRAMS.len() + HOST_PROGRAMS.len());
    assert!(all.contains(&"dbus-daemon") && all.contains(&HOST_PROGRAMS[0].1));
}

#[test]
fn programs_are_found() {
    assert!(find_program("sh").is_some());
    assert_eq!(find_program("no-such-program"), None);
}

#[test]
fn candidates_of_apt() {
    assert!(apt::names_a_candidate(
        "cpio:\n  Installed: (none)\n  Candidate: 2.13\n  Version table:\n"
    ));
    assert!(!apt::names_a_candidate(
        "cpio:\n  Installed: (none)\n  Candidate: (none)\n"
    ));
    assert!(!apt::names_a_candidate(""));
}

#[test]
fn llvm_versions() {
    assert_eq!(
        bpf::llvm_of_rustc("rustc 1.96.0\nhost: x\nLLVM version: 22.1.8\n"),
        Some(22)
    );
    assert_eq!(bpf::llvm_of_rustc("rustc 1.96.0\n"), None);
    assert_eq!(
        bpf::llvm_of_libraries("\tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x7f)\n"),
        Some(22)
    );
    assert_eq!(
        bpf::llvm_of_libraries("\tlibc.so.6 => x\n\tlibLLVM-21.so.1 => /usr/lib/x (0x7f)\n"),
        Some(21)
    );
    assert_eq!(bpf::llvm_of_libraries("\tlibc.so.6 => x\n"), None);
}

#[test]
fn the_oldest_llvm_that_is_new_enough() {
    assert_eq!(bpf::choose_llvm(22, |_| true), Some(22));
    assert_eq!(bpf::choose_llvm(19, |_| true), Some(21));
    assert_eq!(bpf::choose_llvm(22, |version| version == 23), Some(23));
    assert_eq!(bpf::choose_llvm(22, |version| version == 21), None);
    assert_eq!(bpf::choose_llvm(24, |_| true), None);
}
