//! Which capabilities suffice, and what is said where they do not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

#[test]
fn root_lacks_nothing() {
    assert_eq!(lacking(ALL, CapabilitySet::all()), []);
}

#[test]
fn sys_admin_stands_for_what_was_split_off_it_and_for_no_more() {
    assert_eq!(lacking(TRACE, CapabilitySet::SYS_ADMIN), []);
    assert_eq!(lacking(SELF_TEST, CapabilitySet::SYS_ADMIN), [DAC_OVERRIDE]);
}

#[test]
fn the_refusal_names_what_is_lacking_and_only_that() {
    let text = refusal(
        "memmon",
        &lacking(ALL, CapabilitySet::BPF | CapabilitySet::IPC_LOCK),
    );
    assert!(
        text.starts_with("memmon: this process lacks CAP_PERFMON (attaching"),
        "{text}"
    );
    assert!(
        text.contains("CAP_SYS_RESOURCE") && text.contains("CAP_DAC_OVERRIDE"),
        "{text}"
    );
    assert!(
        !text.contains("CAP_BPF") && !text.contains("CAP_IPC_LOCK"),
        "{text}"
    );
}

#[test]
fn the_kernel_says_what_is_held() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .unwrap();
    let effective = CapabilitySet::from_bits_retain(u64::from_str_radix(line.trim(), 16).unwrap());
    for capability in ALL {
        assert_eq!(
            holds(capability).unwrap(),
            is_in(capability, effective),
            "{}",
            capability.name
        );
    }
}
