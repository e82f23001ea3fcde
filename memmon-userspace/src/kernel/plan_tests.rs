//! What is attached on which kernel, and what is said where something is missing.

use super::*;

/// A kernel that has everything, as Debian's 7.3.
fn complete() -> Facts {
    let mut facts = Facts::default();
    for name in ROLES.iter().chain(pages::ROLES).flat_map(|role| role.needs) {
        facts.values.insert(name, Some(8));
    }
    for (kind, target) in targets() {
        match kind {
            HookKind::TpBtf => {
                facts.tracepoints.insert(target.to_owned());
            }
            HookKind::Fentry | HookKind::Fexit => {
                facts.functions.insert(target.to_owned(), Some(1));
            }
        }
    }
    for (function, count) in [("swap_duplicate", 1), ("folio_dup_swap", 2)] {
        facts.parameters.insert(function.to_owned(), count);
    }
    facts
}

fn hook(facts: &Facts, role: &str) -> PlannedHook {
    plan(facts)
        .into_iter()
        .find(|hook| hook.role == role)
        .expect("a role of the table")
}

fn program(facts: &Facts, role: &str) -> Result<(String, &'static str), String> {
    hook(facts, role)
        .attach
        .map(|attach| (attach.program, attach.target))
}

#[test]
fn everything_is_attached_where_everything_is_there() {
    assert!(plan(&complete()).iter().all(|hook| hook.attach.is_ok()));
}

#[test]
fn the_older_tracepoint_is_the_fallback() {
    let mut facts = complete();
    facts.tracepoints.remove("mm_vmscan_write_folio");
    let attach = hook(&facts, "swap_out").attach.expect("the fallback");
    assert_eq!((attach.target, attach.fallback), ("mm_vmscan_writepage", true));
    facts.tracepoints.remove("mm_vmscan_writepage");
    let reason = program(&facts, "swap_out").expect_err("nothing is left");
    assert!(
        reason.contains("mm_vmscan_write_folio") && reason.contains("mm_vmscan_writepage"),
        "{reason}"
    );
    assert!(hook(&facts, "swap_out").required);
}

#[test]
fn a_missing_field_is_named_and_keeps_the_program_out() {
    let mut facts = complete();
    facts.values.insert("folio.memcg_data", None);
    let reason = program(&facts, "swap_out").expect_err("without the owner there is no attribution");
    assert!(reason.contains("folio.memcg_data"), "{reason}");
    assert!(
        program(&facts, "kswapd_wake").is_ok(),
        "what does not need it is not affected"
    );
}

#[test]
fn the_folio_argument_decides_the_program() {
    let mut facts = complete();
    assert_eq!(program(&facts, "swap_write").expect("there").0, "swap_write_1");
    facts.functions.insert("__swap_writepage".to_owned(), Some(0));
    assert_eq!(program(&facts, "swap_write").expect("there").0, "swap_write_0");
    facts.functions.insert("__swap_writepage".to_owned(), Some(2));
    assert!(
        program(&facts, "swap_write").is_err(),
        "an argument nobody foresaw is not guessed at"
    );
    facts.functions.insert("__swap_writepage".to_owned(), None);
    assert!(program(&facts, "swap_write").is_err());
}

#[test]
fn an_obj_cgroup_is_never_read_as_a_mem_cgroup() {
    let mut facts = complete();
    facts.values.insert(OBJCG_OWNS, Some(1));
    facts.values.insert(OBJCG_MEMCG, None);
    let reason = program(&facts, "swap_out").expect_err("every page would have a wrong owner");
    assert!(reason.contains(OBJCG_MEMCG), "{reason}");
    facts.values.insert(OBJCG_MEMCG, Some(16));
    assert!(program(&facts, "swap_out").is_ok());
}

#[test]
fn without_fentry_only_the_ledgers_are_missing() {
    let facts = Facts {
        no_fentry: Some("no trampolines".to_owned()),
        ..complete()
    };
    let missing: Vec<_> = plan(&facts)
        .into_iter()
        .filter(|hook| hook.attach.is_err())
        .map(|hook| (hook.role, hook.required))
        .collect();
    assert_eq!(missing, [("swap_write", false), ("swap_read", false)]);
}

#[test]
fn copies_are_for_preemptible_tracepoints_only() {
    let mut facts = complete();
    assert!(plan(&facts).iter().all(|hook| !COPIES.contains(&hook.role)));
    facts.values.insert(PREEMPTIBLE, Some(1));
    let roles: Vec<_> = plan(&facts).into_iter().take(4).map(|hook| hook.role).collect();
    assert_eq!(
        roles,
        ["swap_out", "swap_out_again", "swap_out_third", "thread_exit"],
        "each copy has to be attached, and so to run, after those before it"
    );
}

fn page_hook(facts: &Facts, role: &str) -> Result<(String, &'static str), String> {
    let planned = pages::plan(facts)
        .into_iter()
        .find(|hook| hook.role == role)
        .expect("a role of the table");
    planned.attach.map(|attach| (attach.program, attach.target))
}

#[test]
fn the_function_that_takes_the_reference_decides_the_program() {
    let mut facts = complete();
    facts.functions.remove("folio_dup_swap");
    let entry = ("page_commit_entry".to_owned(), "swap_duplicate");
    assert_eq!(page_hook(&facts, pages::PAGE_COMMIT), Ok(entry));
    let mut facts = complete();
    facts.functions.remove("swap_duplicate");
    let folio = ("page_commit_folio".to_owned(), "folio_dup_swap");
    assert_eq!(page_hook(&facts, pages::PAGE_COMMIT), Ok(folio));
    facts.parameters.insert("folio_dup_swap".to_owned(), 3);
    let reason = page_hook(&facts, pages::PAGE_COMMIT).expect_err("its result is not where it was foreseen");
    assert!(
        reason.contains("folio_dup_swap has another number of arguments (3)"),
        "{reason}"
    );
    facts.parameters.remove("folio_dup_swap");
    assert!(
        page_hook(&facts, pages::PAGE_COMMIT).is_err(),
        "nor is it guessed at"
    );
    facts.functions.remove("folio_dup_swap");
    let reason = page_hook(&facts, pages::PAGE_COMMIT).expect_err("neither is there");
    assert!(
        reason.contains("swap_duplicate") && reason.contains("folio_dup_swap"),
        "{reason}"
    );
    assert!(
        page_hook(&facts, pages::PAGE_WALK).is_ok(),
        "the walk needs neither"
    );
}

#[test]
fn page_level_says_which_field_it_misses() {
    let mut facts = complete();
    facts.values.insert("mm_struct.owner", None);
    for role in [pages::PAGE_UNMAP, pages::PAGE_COMMIT, pages::PAGE_WALK] {
        let reason = page_hook(&facts, role).expect_err("whose page it is cannot be told");
        assert!(reason.contains("mm_struct.owner"), "{reason}");
    }
    assert!(
        plan(&facts).iter().all(|hook| hook.attach.is_ok()),
        "units need it not"
    );
}
