//! What each answer of systemd means for a lease: the plans of [`super::systemd_plan`], carried out.

use super::cgroup_write::LimitFile;
use super::execute::{Executor, Next, Want};
use super::fault::{self, Point};
use super::lease::{Lease, LeaseState, SystemdBefore};
use super::measure;
use super::outcome::{Outcome, StepResult};
use super::revert::told;
use super::settle::{action_of, in_force};
use super::systemd_plan::{self, DropInStep, OfficialPlan, ReloadPlan, RevertPlan, UnitFacts};
use super::systemd_props::later_drop_ins;
use crate::config::WritePath;
use crate::decode::Limit;

impl Executor {
    pub(super) fn make_official(&mut self, lease: Lease, facts: &UnitFacts) -> Vec<Outcome> {
        let files = self
            .root
            .cgroup(&lease.cgroup)
            .ok()
            .and_then(|dir| measure::settings(&dir).ok());
        let held: Vec<&Lease> = self.leases().filter(|other| other.unit == lease.unit).collect();
        match systemd_plan::official(&lease, &held, facts, files.as_ref(), self.options.page_size) {
            OfficialPlan::Set(before) => self.put_on_record(lease, before),
            OfficialPlan::CgroupOnly(why) => {
                let configured = facts.property(lease.property);
                self.cgroup_only(lease, why, configured)
            }
            OfficialPlan::Gone if lease.systemd.is_none() => {
                self.forget(lease.id);
                vec![told(
                    &lease,
                    None,
                    "the unit has stopped".into(),
                    StepResult::Gone,
                )]
            }
            // A property that was set before waits for the unit's next start, or for its own end.
            OfficialPlan::Gone => {
                self.aim(lease.id, Want::Nothing);
                Vec::new()
            }
        }
    }

    /// Puts on record what systemd has, and only then lets systemd be asked.
    fn put_on_record(&mut self, lease: Lease, mut before: SystemdBefore) -> Vec<Outcome> {
        if !before.asked.contains(&lease.new) {
            before.asked.push(lease.new);
        }
        let id = lease.id;
        match self.record(Lease {
            systemd: Some(before),
            ..lease.clone()
        }) {
            Ok(()) => {
                if let Some(task) = self.tasks.get_mut(&id) {
                    task.next = Next::Set;
                }
                Vec::new()
            }
            Err(error) => self.cgroup_only(lease, error.to_string(), None),
        }
    }

    /// systemd has taken the value.
    pub(super) fn set(&mut self, lease: Lease) -> Vec<Outcome> {
        let Some(task) = self.tasks.get(&lease.id) else {
            return Vec::new();
        };
        if task.next != Next::Set {
            // Something else was decided while this was on its way: systemd is looked at again.
            return Vec::new();
        }
        let then = if task.reloaded {
            Want::AfterReload
        } else {
            Want::Nothing
        };
        let before = lease.systemd.as_ref();
        let later = before.map_or_else(Vec::new, |before| {
            later_drop_ins(&before.drop_in_paths, lease.property, &before.drop_in)
        });
        let mut reason = String::from("systemd has the value as well");
        if !later.is_empty() {
            reason.push_str(&format!(
                "; read after ours, so they may win at a daemon-reload: {}",
                later.join(", ")
            ));
        }
        let (id, systemd_only) = (lease.id, self.options.write_path == WritePath::SystemdOnly);
        let official = Lease {
            state: LeaseState::Official,
            ..lease.clone()
        };
        let recorded = self.record(official);
        fault::at(Point::AfterOfficial);
        self.aim(id, then);
        let file = LimitFile::open(
            &self.root,
            &lease.unit,
            &lease.cgroup,
            Some(lease.inode),
            lease.property,
        );
        let mut outcome = in_force(&lease, reason);
        if systemd_only {
            outcome.old = Some(lease.old);
        }
        outcome.new = file.as_ref().ok().map(|file| file.value);
        outcome.result = match (recorded, file) {
            (Err(error), _) => StepResult::Failed(error.to_string()),
            (Ok(()), Err(_)) => StepResult::Gone,
            (Ok(()), Ok(file)) if !lease.is_ours(file.value, self.options.page_size) => StepResult::Failed(
                format!("systemd took {} but the cgroup has {}", lease.new, file.value),
            ),
            (Ok(()), Ok(_)) if systemd_only => StepResult::Done,
            (Ok(()), Ok(_)) => StepResult::Confirmed,
        };
        vec![outcome]
    }

    pub(super) fn plan_revert(
        &mut self,
        lease: &Lease,
        facts: &UnitFacts,
        cause: String,
        forced: bool,
    ) -> Vec<Outcome> {
        let Some(before) = &lease.systemd else {
            self.forget(lease.id);
            return Vec::new();
        };
        // systemd has written our value into the cgroup of a unit that was started again meanwhile. Not where it has
        // another one by now: systemd 257 is late to write what an operator has configured, and that is not the old value.
        let ours = facts
            .property(lease.property)
            .is_some_and(|now| lease.is_ours(now, self.options.page_size));
        let again = ours.then(|| self.give_back_file(lease, &cause, forced)).flatten();
        let file = self.file_of(lease, facts).map(|file| file.value);
        let mut plan = systemd_plan::revert(lease, before, facts, file, self.options.page_size);
        if plan.reload && self.would_block_systemd(lease) {
            if !forced {
                self.aim(lease.id, Want::Nothing);
                let kept = StepResult::Skipped("the unit uses more than the old MemoryHigh again".into());
                return again
                    .into_iter()
                    .chain([told(lease, Some(lease.new), cause, kept)])
                    .collect();
            }
            // PID 1 would do the reclaiming. The drop-in goes; the next daemon-reload finds it gone.
            plan.reload = false;
        }
        if plan.drop_in == DropInStep::Leave && !plan.reload {
            return again
                .into_iter()
                .chain(self.ended(lease, facts, &plan, cause))
                .collect();
        }
        if let Some(task) = self.tasks.get_mut(&lease.id) {
            task.next = Next::Restore(plan);
        }
        again.into_iter().collect()
    }

    /// systemd has read its configuration without our drop-in.
    pub(super) fn restored(&mut self, lease: Lease, facts: UnitFacts) -> Vec<Outcome> {
        let Some(task) = self.tasks.get_mut(&lease.id) else {
            return Vec::new();
        };
        let next = std::mem::replace(&mut task.next, Next::Inspect);
        match (next, task.want.clone()) {
            (Next::Restore(plan), Want::Revert { cause, .. }) => {
                if plan.reload {
                    // It has undone what systemd does not know of in other units.
                    self.reloaded();
                }
                let mut outcomes = self.ended(&lease, &facts, &plan, cause);
                outcomes.extend(self.keep_all_theirs());
                outcomes
            }
            // Another page came while the lease was on its way back: it is wanted again.
            _ => Vec::new(),
        }
    }

    /// The property is as configured; makes sure that the cgroup file is as well, and ends the lease.
    fn ended(&mut self, lease: &Lease, facts: &UnitFacts, plan: &RevertPlan, cause: String) -> Vec<Outcome> {
        let property = facts.property(lease.property);
        let page_size = self.options.page_size;
        let mut result = StepResult::Done;
        let mut now = property;
        // Without ours in it the property is what the unit's files say, and that may be another than before, even ours.
        let changed = |now: &Limit| {
            let before = lease.systemd.as_ref();
            before.is_some_and(|before| before.value != *now)
                && (plan.reload || !lease.is_ours(*now, page_size))
        };
        let configured = property.filter(changed);
        if let Some(mut file) = self.file_of(lease, facts) {
            let wanted = match (plan.keep_in_cgroup, property) {
                (Some(kept), _) => Some(kept),
                // systemd could not write it, or was not asked to.
                (None, Some(property))
                    if lease.is_ours(file.value, page_size) && !lease.is_ours(property, page_size) =>
                {
                    Some(property)
                }
                // It was given back what it had.
                (None, Some(_)) if file.value == lease.old => configured,
                _ => None,
            };
            if let Some(wanted) = wanted.filter(|wanted| wanted.page_aligned(page_size) != file.value)
                && let Err(error) = file.write(wanted, page_size)
            {
                result = StepResult::Failed(error.to_string());
            }
            now = Some(file.value);
        }
        if let StepResult::Failed(_) = &result {
            return self.not_yet_ended(lease, now, cause, result);
        }
        let told_before = self
            .tasks
            .get(&lease.id)
            .is_some_and(|task| matches!(task.want, Want::Revert { told: true, .. }));
        if let Some(operator) = &plan.operator {
            result = StepResult::Skipped(format!("{operator}: kept"));
        } else if let Some(configured) = configured {
            result = StepResult::Skipped(format!(
                "{} is configured as {configured} now: kept",
                lease.property
            ));
        } else if told_before {
            result = StepResult::Confirmed;
        }
        let mut reason = cause;
        if plan.drop_in != DropInStep::Leave && !plan.reload {
            reason.push_str("; systemd shows the raised MemoryHigh until the next daemon-reload");
        }
        self.forget(lease.id);
        self.configured_beside_theirs(lease, property);
        vec![told(lease, now, reason, result)]
    }

    fn not_yet_ended(
        &mut self,
        lease: &Lease,
        now: Option<Limit>,
        cause: String,
        result: StepResult,
    ) -> Vec<Outcome> {
        let at = self.now();
        let Some(task) = self.tasks.get_mut(&lease.id) else {
            return Vec::new();
        };
        task.pause(at);
        if task.attempts > 1 {
            Vec::new()
        } else {
            vec![told(lease, now, cause, result)]
        }
    }

    pub(super) fn after_reload(&mut self, lease: Lease, facts: &UnitFacts) -> Vec<Outcome> {
        let file = self.file_of(&lease, facts);
        let value = file.as_ref().map(|file| file.value);
        match systemd_plan::after_reload(&lease, facts, value, self.options.page_size) {
            ReloadPlan::InForce => {
                self.aim(lease.id, Want::Nothing);
                Vec::new()
            }
            ReloadPlan::Again { old } => self.apply_again(lease, facts, file, old),
            ReloadPlan::Operators(found) => {
                let property = lease.property;
                let reason = if lease.systemd.is_some() && facts.property(property) == Some(lease.new) {
                    let file = property.file();
                    format!("somebody else has written {found} into {file}: kept, the lease ends")
                } else {
                    format!("{property} is configured as {found} now: kept, the lease ends")
                };
                self.leave_to_others(&lease, found);
                self.end_or_restore(lease, reason, Some(found))
            }
            ReloadPlan::Gone => self.end_or_restore(lease, "the unit has stopped".into(), None),
        }
    }

    /// Ends a lease that no longer stands for anything, after taking our drop-in away if there is one.
    fn end_or_restore(&mut self, lease: Lease, reason: String, found: Option<Limit>) -> Vec<Outcome> {
        if lease.systemd.is_some() {
            self.aim(
                lease.id,
                Want::Revert {
                    cause: reason,
                    forced: true,
                    told: false,
                },
            );
            return Vec::new();
        }
        self.forget(lease.id);
        let result = if found.is_some() {
            StepResult::Skipped(reason.clone())
        } else {
            StepResult::Gone
        };
        vec![told(&lease, found, reason, result)]
    }

    fn apply_again(
        &mut self,
        lease: Lease,
        facts: &UnitFacts,
        file: Option<LimitFile>,
        old: Limit,
    ) -> Vec<Outcome> {
        let Some(mut file) = file else {
            self.aim(lease.id, Want::Nothing);
            return Vec::new();
        };
        let cgroup_only = matches!(lease.state, LeaseState::CgroupOnly { .. });
        let inode = file.inode().unwrap_or(lease.inode);
        let state = if cgroup_only {
            lease.state.clone()
        } else {
            LeaseState::Taken
        };
        let again = Lease {
            old,
            inode,
            cgroup: facts.control_group.clone(),
            state,
            ..lease
        };
        let mut outcome = in_force(&again, "a daemon-reload had put the configured value back".into());
        outcome.old = Some(file.value);
        outcome.action = action_of(&again);
        self.aim(
            again.id,
            if cgroup_only {
                Want::Nothing
            } else {
                Want::Official
            },
        );
        let written = self
            .record(again.clone())
            .map_err(|error| error.to_string())
            .and_then(|()| {
                if self.options.write_path == WritePath::SystemdOnly {
                    return Ok(());
                }
                file.write(again.new, self.options.page_size)
                    .map_err(|error| error.to_string())
            });
        outcome.new = Some(file.value);
        if let Err(error) = written {
            outcome.result = StepResult::Failed(error);
        }
        vec![outcome]
    }

    /// The limit's file in the unit's cgroup as it is now: a property lease follows the unit's name, so the
    /// cgroup may be another one than when the lease was taken.
    fn file_of(&self, lease: &Lease, facts: &UnitFacts) -> Option<LimitFile> {
        let follows = lease.systemd.is_some() && !facts.control_group.is_empty();
        let (path, inode) = if follows {
            (&facts.control_group, None)
        } else {
            (&lease.cgroup, Some(lease.inode))
        };
        LimitFile::open(&self.root, &lease.unit, path, inode, lease.property).ok()
    }
}
