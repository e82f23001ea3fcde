use super::*;

const MIB: u64 = 1 << 20;

fn facts(priority: Priority) -> UnitFacts {
    UnitFacts {
        unit: "omnimind.service".into(),
        priority: Some(priority),
        peak: Some(1000 * MIB),
        ram: 8192 * MIB,
        ..UnitFacts::default()
    }
}

fn text(facts: &UnitFacts) -> String {
    unit_section(facts).text.unwrap_or_default()
}

#[test]
fn each_priority_gets_its_section() {
    let sections: String = [
        Priority::Critical,
        Priority::High,
        Priority::Medium,
        Priority::Low,
    ]
    .map(|priority| text(&facts(priority)))
    .concat();
    insta::assert_snapshot!(sections);
    assert_eq!(unit_section(&facts(Priority::Observe)), UnitSection::default());
    assert_eq!(
        unit_section(&UnitFacts {
            priority: None,
            ..facts(Priority::Low)
        }),
        UnitSection::default()
    );
}

#[test]
fn swap_stays_where_a_slice_is_tight() {
    let tight = UnitFacts {
        above: vec![("ai.slice".into(), "MemoryMax", Limit::Bytes(1100 * MIB))],
        ..facts(Priority::Critical)
    };
    assert!(!text(&tight).contains("MemorySwapMax"));
    assert!(unit_section(&tight).warnings[0].contains("ai.slice is 1100 MiB and decides instead"));
    let wide = UnitFacts {
        above: vec![("ai.slice".into(), "MemoryMax", Limit::Bytes(2000 * MIB))],
        ..tight
    };
    assert!(text(&wide).contains("MemorySwapMax=0"));
    assert_eq!(unit_section(&wide).warnings, [""; 0]);
}

#[test]
fn protection_that_no_slice_passes_on_is_told() {
    let low = |outer, inner| {
        let facts = UnitFacts {
            above: vec![
                ("ai-model.slice".into(), "MemoryLow", inner),
                ("ai.slice".into(), "MemoryLow", outer),
            ],
            ..facts(Priority::Critical)
        };
        let section = unit_section(&facts);
        assert!(section.text.is_some_and(|text| text.contains("MemorySwapMax=0")));
        section.warnings
    };
    let enough = Limit::Bytes(1008 * MIB);
    assert_eq!(low(enough, enough), [""; 0]);
    assert_eq!(low(Limit::Max, Limit::Max), [""; 0]);
    let one = low(Limit::Bytes(0), enough);
    assert!(one[0].contains("as far as ai.slice is granted"), "{one:?}");
    assert!(
        one[0].contains("set-property ai.slice MemoryLow=1056964608"),
        "{one:?}"
    );
    let both = low(Limit::Bytes(0), Limit::Bytes(MIB));
    assert!(
        both[0].contains("ai-model.slice and ai.slice are granted"),
        "{both:?}"
    );
}

#[test]
fn a_unit_that_systemd_does_not_know_is_told() {
    let section = unit_section(&UnitFacts {
        missing: true,
        ..facts(Priority::Low)
    });
    assert!(
        section.warnings[0].contains("knows no unit omnimind.service"),
        "{section:?}"
    );
}

#[test]
fn what_needs_a_restart_is_told() {
    assert_eq!(
        unit_section(&facts(Priority::Critical)).needs_restart,
        ["OOMScoreAdjust", "LimitMEMLOCK"]
    );
    assert_eq!(unit_section(&facts(Priority::Medium)).needs_restart, [""; 0]);
}

#[test]
fn what_does_nothing_is_told() {
    let old = UnitFacts {
        text:
            "[Service]\nMemoryLock=1G\nMemoryLimit=2G\nCapabilityBoundingSet=CAP_NET_ADMIN\n# MemoryMax=1G\n"
                .into(),
        oomd: vec!["system.slice".into()],
        second_writer: Some("omnimind-memory-monitor.service".into()),
        ..facts(Priority::Critical)
    };
    let warnings = unit_section(&old).warnings.join("\n");
    for part in [
        "MemoryLock= is no directive",
        "MemoryLimit= is for cgroup v1",
        "CAP_IPC_LOCK",
        "oomd",
        "memory-monitor",
    ] {
        assert!(warnings.contains(part), "{part} expected in {warnings}");
    }
    assert!(
        !warnings.contains("MemoryMax= is set"),
        "a comment sets nothing: {warnings}"
    );
}

#[test]
fn who_was_never_seen_gets_no_sizes() {
    let section = unit_section(&UnitFacts {
        peak: None,
        ..facts(Priority::Critical)
    });
    assert!(
        section
            .text
            .is_some_and(|text| text.contains("OOMScoreAdjust=-900") && !text.contains("MemoryLow"))
    );
    assert!(section.warnings[0].contains("never seen running"));
}

#[test]
fn journald_gets_nothing() {
    let section = unit_section(&UnitFacts {
        unit: "systemd-journald.service".into(),
        ..facts(Priority::Low)
    });
    assert_eq!(section.text, None);
}

#[test]
fn a_diff_shows_what_changes() {
    assert_eq!(diff("", "a\nb\n"), "+a\n+b\n");
    assert_eq!(diff("a\nb\nc\n", "a\nx\nc\nd\n"), " a\n-b\n+x\n c\n+d\n");
    assert_eq!(diff("a\n", "a\n"), " a\n");
}
