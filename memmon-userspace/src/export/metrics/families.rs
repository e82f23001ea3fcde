//! The families, in the order of the page.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder},
    metrics::{MetricType, exemplar::Exemplar},
    registry,
};

use super::{
    Facts,
    labels::{Build, Program, Reason, Unit},
};

/// No value carries an example of where it came from.
const NO_EXEMPLAR: Option<&Exemplar<[(&str, &str); 0], f64>> = None;

/// The whole page.
#[derive(Debug)]
pub(super) struct Page(pub(super) Arc<Facts>);

impl Collector for Page {
    fn encode(&self, mut page: DescriptorEncoder<'_>) -> fmt::Result {
        let facts = &*self.0;
        counters(
            &mut page,
            "memmon_swapout_pages",
            "Pages handed to swap, by their owner and the occasion.",
            &facts.swapout,
        )?;
        counters(
            &mut page,
            "memmon_swapin_pages",
            "Pages read back from swap, by their owner.",
            &facts.swapin,
        )?;
        counters(
            &mut page,
            "memmon_critical_swapout_pages",
            "Pages handed to swap although they were declared critical.",
            &facts.critical,
        )?;
        counters(
            &mut page,
            "memmon_blame_pages",
            "Pages handed to swap, by their owner and who pushed them out.",
            &facts.blame,
        )?;
        if !facts.stalls.is_empty() {
            let unit = registry::Unit::Seconds;
            let mut family = page.encode_descriptor(
                "memmon_reclaim_stall",
                "Time that a task of the unit waited in one reclaim.",
                Some(&unit),
                MetricType::Histogram,
            )?;
            for (labels, times) in &facts.stalls {
                histogram(&mut family.encode_family(labels)?, times)?;
            }
        }
        self.memory(&mut page)?;
        gauges(
            &mut page,
            "memmon_alarms_active",
            "Alarms that are on.",
            &facts.alarms,
        )?;
        counters(
            &mut page,
            "memmon_actions",
            "Steps that memmon took or left, by their result.",
            &facts.actions,
        )?;
        gauges(
            &mut page,
            "memmon_leases_active",
            "Limits that memmon has changed and will put back.",
            &facts.leases,
        )?;
        let unit = registry::Unit::Seconds;
        let mut reaction = page.encode_descriptor(
            "memmon_reaction",
            "From the kernel's timestamp of a critical page to the limit in force.",
            Some(&unit),
            MetricType::Histogram,
        )?;
        histogram(&mut reaction, &facts.reaction)?;
        self.health(&mut page)
    }
}

impl Page {
    fn memory(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in [
            (
                "memmon_unit_memory",
                "Memory of the unit (memory.current).",
                (|unit| unit.memory_bytes) as fn(&super::UnitMemory) -> Option<u64>,
            ),
            (
                "memmon_unit_swap",
                "Swap that the unit uses (memory.swap.current).",
                |unit| unit.swap_bytes,
            ),
        ] {
            let bytes = registry::Unit::Bytes;
            let mut family = page.encode_descriptor(name, help, Some(&bytes), MetricType::Gauge)?;
            for unit in &self.0.units {
                if let Some(value) = value(unit) {
                    let labels = Unit {
                        unit: Arc::clone(&unit.unit),
                    };
                    family.encode_family(&labels)?.encode_gauge(&value)?;
                }
            }
        }
        Ok(())
    }

    fn health(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let facts = &*self.0;
        let lost = facts
            .lost
            .iter()
            .map(|(&reason, &count)| (Reason { reason }, count));
        counters_of(
            page,
            "memmon_events_lost",
            "Events or pages that were not counted or not reported, by the reason.",
            lost,
        )?;
        let programs = |value: fn(&crate::kernel::programs::ProgramStats) -> u64| {
            facts.programs.iter().map(move |program| {
                (
                    Program {
                        program: program.name.clone(),
                    },
                    value(program),
                )
            })
        };
        // Without runs the kernel does not measure: see kernel.bpf_stats_enabled.
        if facts.programs.iter().any(|program| program.run_count > 0) {
            let unit = registry::Unit::Seconds;
            let mut family = page.encode_descriptor(
                "memmon_bpf_run",
                "Time spent in memmon's eBPF programs, while the kernel measures it.",
                Some(&unit),
                MetricType::Counter,
            )?;
            for (labels, nanos) in programs(|program| program.run_time_ns) {
                let seconds = std::time::Duration::from_nanos(nanos).as_secs_f64();
                family
                    .encode_family(&labels)?
                    .encode_counter(&seconds, NO_EXEMPLAR)?;
            }
        }
        counters_of(
            page,
            "memmon_bpf_recursion_misses",
            "Events for which the kernel did not run the program.",
            programs(|program| program.recursion_misses),
        )?;
        if !facts.exhaustion.is_empty() {
            let unit = registry::Unit::Seconds;
            let mut family = page.encode_descriptor(
                "memmon_exhaustion",
                "Time until the resource is used up, by its present trend; absent without one.",
                Some(&unit),
                MetricType::Gauge,
            )?;
            for (labels, seconds) in &facts.exhaustion {
                family.encode_family(labels)?.encode_gauge(seconds)?;
            }
        }
        let build = Build {
            version: env!("CARGO_PKG_VERSION"),
        };
        page.encode_descriptor("memmon_build", "What runs.", None, MetricType::Info)?
            .encode_info(&build)
    }
}

fn counters<'a, L: EncodeLabelSet + Clone + 'a>(
    page: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (&'a L, &'a u64)>,
) -> fmt::Result {
    let values = values.into_iter().map(|(labels, &value)| (labels.clone(), value));
    counters_of(page, name, help, values)
}

/// A family without a sample is left out: the older format knows no empty ones.
fn counters_of<L: EncodeLabelSet>(
    page: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    let mut values = values.into_iter().peekable();
    if values.peek().is_none() {
        return Ok(());
    }
    let mut family = page.encode_descriptor(name, help, None, MetricType::Counter)?;
    values.try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_counter(&value, NO_EXEMPLAR))
}

fn gauges<'a, L: EncodeLabelSet + 'a>(
    page: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (&'a L, &'a u64)>,
) -> fmt::Result {
    let mut values = values.into_iter().peekable();
    if values.peek().is_none() {
        return Ok(());
    }
    let mut family = page.encode_descriptor(name, help, None, MetricType::Gauge)?;
    values.try_for_each(|(labels, value)| family.encode_family(labels)?.encode_gauge(value))
}

fn histogram(family: &mut MetricEncoder<'_>, values: &super::Histogram) -> fmt::Result {
    family.encode_histogram::<[(&str, &str); 0]>(values.sum(), values.count(), values.buckets(), None)
}
