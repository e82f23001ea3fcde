//! `memmon check`: tries everything on this host and says what came of it.

use std::path::Path;

use crate::{
    export::json::check::{
        CapabilityField, CgroupField, CheckDocument, FactField, HookField, KernelField, PageLevelField,
        SelfTestField, SystemdField,
    },
    kernel::{
        load::HookStatus,
        plan::{
            self, Facts, PlannedHook,
            pages::{self, PAGE_WALK, PageLevel},
        },
        probe::{self, VMLINUX_BTF},
    },
    runtime::self_test,
    source::{
        cgroup_tree::CgroupTree,
        pages::{PageOptions, PageProbes},
        probes::{Options, Probes},
    },
};

/// Looks at this host. `capabilities` are those of this process; without privilege nothing can be attached,
/// and every hook says so.
pub async fn check(capabilities: Vec<CapabilityField>, self_test: bool) -> CheckDocument {
    let tree = CgroupTree::discover(Path::new("/")).ok();
    let facts = probe::read_btf(Path::new(VMLINUX_BTF)).map(|btf| probe::facts(&btf));
    let probes = tree.as_ref().map(|tree| {
        Probes::open(Options {
            memory_hierarchy: tree.hierarchy,
            ..Options::default()
        })
        .map_err(|error| error.to_string())
    });
    let (hooks, tested) = match (&probes, &tree) {
        (Some(Ok((probes, _))), Some(tree)) => {
            let tested = if self_test {
                Some(self_test::run(tree, async || Ok(probes.swap_out()?)).await)
            } else {
                None
            };
            (probes.hooks().iter().map(hook).collect(), tested)
        }
        (Some(Err(error)), _) => (unattached(facts.as_ref().ok(), error), None),
        _ => (
            unattached(
                facts.as_ref().ok(),
                "no cgroup hierarchy carries the memory controller",
            ),
            None,
        ),
    };
    let mut hooks: Vec<HookField> = hooks;
    let (page_hooks, page_level) = page_level(facts.as_ref().ok());
    // What page level cannot do without, memmon can.
    hooks.extend(page_hooks.into_iter().map(|hook| HookField {
        required: false,
        ..hook
    }));
    let supported = hooks.iter().all(|hook| hook.usable || !hook.required);
    let complete = hooks.iter().all(|hook| hook.usable) && tree.as_ref().is_some_and(|tree| !tree.is_v1());
    let tested = tested.or_else(|| {
        (self_test && !supported).then(|| self_test::SelfTest {
            expected_pages: self_test::PAGES,
            counted_pages: None,
            ok: false,
            detail: Some("nothing could be attached".to_owned()),
        })
    });
    let passed = tested.as_ref().is_none_or(|test| test.ok);
    CheckDocument {
        schema: "memmon.check/1",
        kernel: KernelField {
            release: rustix::system::uname().release().to_string_lossy().into_owned(),
            btf: facts.is_ok(),
        },
        systemd: SystemdField {
            version: systemd_version().await,
        },
        cgroup: CgroupField {
            version: tree.as_ref().map(|tree| if tree.is_v1() { 1 } else { 2 }),
            memory_hierarchy: tree.as_ref().map(|tree| tree.hierarchy),
        },
        attribution: match &tested {
            Some(test) if test.ok => "exact",
            _ => "unverified",
        },
        page_level,
        self_test: tested.map(|test| SelfTestField {
            expected_pages: test.expected_pages,
            counted_pages: test.counted_pages,
            ok: test.ok,
            detail: test.detail,
        }),
        result: match (supported, complete && passed) {
            (false, _) => "unsupported",
            (true, false) => "degraded",
            (true, true) => "ok",
        },
        facts: facts.map(|facts| facts_of(&facts)).unwrap_or_default(),
        hooks,
        capabilities,
    }
}

/// Tries the programs of page level, which are attached only on demand otherwise.
fn page_level(facts: Option<&Facts>) -> (Vec<HookField>, PageLevelField) {
    match PageProbes::open(PageOptions::default()) {
        Ok((probes, _)) => {
            let exact = probes.level() == PageLevel::Exact;
            let mut hooks = Vec::new();
            let mut why = None;
            for status in probes.hooks() {
                let planned = &status.planned;
                if exact && planned.role == PAGE_WALK {
                    continue;
                }
                if let Err(reason) = &status.attached {
                    why = why.or_else(|| Some(format!("without {}: {reason}", planned.role)));
                }
                hooks.push(HookField {
                    fallback: status.attached.is_err().then(|| PAGE_WALK.to_owned()),
                    ..hook(status)
                });
            }
            let level = PageLevelField {
                available: true,
                exact: Some(exact),
                reason: why,
            };
            (hooks, level)
        }
        Err(error) => {
            let reason = error.to_string();
            let hooks = unattached_of(pages::plan(facts.unwrap_or(&Facts::default())), &reason);
            let level = PageLevelField {
                available: false,
                exact: None,
                reason: Some(reason),
            };
            (hooks, level)
        }
    }
}

fn facts_of(facts: &Facts) -> Vec<FactField> {
    let source = "BTF of the running kernel";
    facts
        .values
        .iter()
        .map(|(&name, &value)| FactField { name, value, source })
        .collect()
}

fn hook(status: &HookStatus) -> HookField {
    let (name, program) = match &status.planned.attach {
        Ok(attach) => (attach.target.to_owned(), attach.program.clone()),
        Err(_) => (status.planned.role.to_owned(), "none".to_owned()),
    };
    HookField {
        name,
        program,
        role: status.planned.purpose,
        required: status.planned.required,
        usable: status.attached.is_ok(),
        fallback: None,
        reason: status.attached.as_ref().err().cloned(),
    }
}

/// Hooks that were not even tried; the reason for those the plan could have attached is `why`.
fn unattached(facts: Option<&Facts>, why: &str) -> Vec<HookField> {
    unattached_of(plan::plan(facts.unwrap_or(&Facts::default())), why)
}

fn unattached_of(plan: Vec<PlannedHook>, why: &str) -> Vec<HookField> {
    plan.into_iter()
        .map(|planned| {
            let attached = Err(match &planned.attach {
                Ok(_) => why.to_owned(),
                Err(reason) => reason.clone(),
            });
            hook(&HookStatus { planned, attached })
        })
        .collect()
}

/// The manager's version, `None` if there is no systemd or it cannot be asked.
pub async fn systemd_version() -> Option<String> {
    if !Path::new("/run/systemd/system").is_dir() {
        return None;
    }
    let bus = zbus::Connection::system().await.ok()?;
    let manager = zbus_systemd::systemd1::ManagerProxy::new(&bus).await.ok()?;
    manager.version().await.ok()
}
