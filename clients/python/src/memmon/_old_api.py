"""The functions of the old interface: each does what its name says, or says why that cannot be done.

docs/clients/migration.md tells what replaces them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import Any

from . import _agent
from ._buffers import Region
from ._errors import AgentUnavailableError, MemmonError, NotYoursError
from ._protect import Guard, protect, protected_bytes

MIB = 1 << 20
# Seconds for `memmon report`, which reads every cgroup.
_REPORT_TIMEOUT = 30.0
_kept: list[Guard] = []


def get_memory_report() -> dict[str, Any]:
    """The host's memory, its units and their limits: the document ``memmon.report/1``.

    Asks the agent; without one, the program ``memmon report``, whose counters of events are then ``None``.

    Raises:
        AgentUnavailableError: if there is neither.

    """
    try:
        (text,) = _agent.ask("GetReport")
    except AgentUnavailableError as error:
        program = shutil.which("memmon")
        if program is None:
            raise
        command = [program, "report", "--json"]
        try:
            run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_REPORT_TIMEOUT)
        except (OSError, subprocess.TimeoutExpired) as failed:
            raise AgentUnavailableError(f"{error}; memmon report: {failed}") from failed
        if run.returncode != 0:
            raise AgentUnavailableError(f"{error}; memmon report: {run.stderr.strip()}") from error
        text = run.stdout
    report = json.loads(text)
    if not isinstance(report, dict) or not str(report.get("schema", "")).startswith("memmon.report/"):
        raise MemmonError(f"the answer is no memmon report: {text[:100]!r}")
    return report


def analyze_memory_situation() -> str:
    """``normal``, ``high`` or ``critical``: the agent's judgement, by the thresholds in its configuration.

    Raises:
        AgentUnavailableError: as ``get_memory_report``.

    """
    return str(get_memory_report()["system"]["situation"])


def apply_strategy(strategy: str | None = None, *, dry_run: bool = False) -> list[dict[str, Any]]:
    """Has the agent do what the situation calls for; returns what it did, or with ``dry_run`` would do.

    The agent alone chooses and carries out strategies: it must be able to undo them when this process is gone.
    ``strategy`` therefore only selects from the answer of a dry run (``protect``, ``reclaim_cache``, …).

    Raises:
        ValueError: for a strategy by name without ``dry_run``.
        NotYoursError: without root.
        AgentUnavailableError: if no agent runs.

    """
    if strategy is not None and not dry_run:
        raise ValueError(
            f"apply_strategy({strategy!r}): a single strategy cannot be forced: the agent applies all that the "
            "situation calls for; leave the name out, or look with dry_run=True"
        )
    (text,) = _agent.ask("ApplyStrategies", "b", (dry_run,), timeout=60.0)
    strategies: list[dict[str, Any]] = json.loads(text)
    return [one for one in strategies if strategy is None or one.get("action") == strategy]


def protect_memory_from_swap(pid: int | None = None, mb: float | None = None) -> Guard:
    """Locks the private memory of this process, the largest mappings first, up to ``mb`` MiB (``None``: all).

    It stays until the guard is released or the process ends. ``protect`` with the objects that matter does
    more with less memory.

    Raises:
        NotYoursError: for another process.
        ValueError: if ``mb`` is not positive, or there is nothing to protect.

    """
    if pid is not None and pid != os.getpid():
        raise NotYoursError(
            f"protect_memory_from_swap: process {pid} is not this one ({os.getpid()}), and Linux lets no process "
            "lock another's memory: call this in that process, or declare its unit critical in "
            '/etc/memmon/memmon.toml ([units] "NAME.service" = "critical")'
        )
    if mb is not None and mb <= 0:
        raise ValueError(f"protect_memory_from_swap: {mb} MiB: give more than 0, or None for all")
    guard = protect(_largest(None if mb is None else int(mb * MIB)), "process")
    _kept[:] = [one for one in _kept if not one.released]
    _kept.append(guard)
    return guard


def _largest(count: int | None) -> list[Region]:
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        found = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) rw.p \S+ \S+ 0 *(\[heap\]|\[anon.*\]|)$", file.read(), re.M)
    regions = [Region(int(start, 16), int(end, 16) - int(start, 16)) for start, end, _ in found]
    regions.sort(key=lambda region: region.length, reverse=True)
    if count is None:
        return regions
    chosen = []
    for region in regions:
        if count <= 0:
            break
        chosen.append(Region(region.address, min(region.length, count)))
        count -= region.length
    return chosen


def get_critical_memory_size_mb() -> float:
    """MiB that this process has locked with ``protect`` and its relatives, in whole pages."""
    return protected_bytes() / MIB
