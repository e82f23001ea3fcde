//! `memmon.check/1`.

use serde::Serialize;

/// What this host lets memmon do.
#[derive(Clone, Debug, Serialize)]
pub struct CheckDocument {
    /// `memmon.check/1`.
    pub schema: &'static str,
    /// The kernel.
    pub kernel: KernelField,
    /// The service manager.
    pub systemd: SystemdField,
    /// The cgroup hierarchy of the memory controller.
    pub cgroup: CgroupField,
    /// One entry per role.
    pub hooks: Vec<HookField>,
    /// Offsets and values from BTF.
    pub facts: Vec<FactField>,
    /// Capabilities of this process.
    pub capabilities: Vec<CapabilityField>,
    /// `exact`, `degraded` or `unverified`.
    pub attribution: &'static str,
    /// Whether process and address of a page can be told.
    pub page_level: PageLevelField,
    /// Null unless it was asked for.
    pub self_test: Option<SelfTestField>,
    /// `ok`, `degraded` or `unsupported`.
    pub result: &'static str,
}

/// The kernel.
#[derive(Clone, Debug, Serialize)]
pub struct KernelField {
    /// As `uname -r`.
    pub release: String,
    /// Whether it carries its type information.
    pub btf: bool,
}

/// The service manager.
#[derive(Clone, Debug, Serialize)]
pub struct SystemdField {
    /// As the manager tells it; null if there is none.
    pub version: Option<String>,
}

/// The cgroup hierarchy of the memory controller.
#[derive(Clone, Debug, Serialize)]
pub struct CgroupField {
    /// 1 or 2; null if there is none.
    pub version: Option<u32>,
    /// Its hierarchy id.
    pub memory_hierarchy: Option<u32>,
}

/// One role of the plan.
#[derive(Clone, Debug, Serialize)]
pub struct HookField {
    /// Tracepoint or function.
    pub name: String,
    /// Program.
    pub program: String,
    /// What memmon learns from it.
    pub role: &'static str,
    /// Without it memmon cannot do its job.
    pub required: bool,
    /// It was attached.
    pub usable: bool,
    /// What is used in its place.
    pub fallback: Option<String>,
    /// Why it is not usable.
    pub reason: Option<String>,
}

/// One offset or value.
#[derive(Clone, Debug, Serialize)]
pub struct FactField {
    /// Its name.
    pub name: &'static str,
    /// Null if this kernel has no such thing.
    pub value: Option<u32>,
    /// Where it was looked for.
    pub source: &'static str,
}

/// One capability.
#[derive(Clone, Debug, Serialize)]
pub struct CapabilityField {
    /// `CAP_…`.
    pub name: &'static str,
    /// In the effective set.
    pub held: bool,
}

/// Whether process and address of a page can be told.
#[derive(Clone, Debug, Serialize)]
pub struct PageLevelField {
    /// They can.
    pub available: bool,
    /// They are seen, not derived after the fact; null if not available.
    pub exact: Option<bool>,
    /// Why not, or why not exactly.
    pub reason: Option<String>,
}

/// Result of the self-test.
#[derive(Clone, Debug, Serialize)]
pub struct SelfTestField {
    /// Pages that went to swap.
    pub expected_pages: u64,
    /// Pages counted; null if the test could not be done.
    pub counted_pages: Option<u64>,
    /// They agree.
    pub ok: bool,
    /// What was wrong.
    pub detail: Option<String>,
}
