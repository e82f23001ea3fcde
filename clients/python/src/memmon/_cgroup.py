"""This process's cgroup: whose unit it is, and how much room its limits leave for locked memory."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from ._mm import human

MIB = 1 << 20
_UNIT = re.compile(r".+\.(service|scope|slice|socket|mount|swap)$")
# A limit of cgroup v1 that stands for none is a few pages below this.
_V1_NONE = 1 << 62
# Bringing in less than this is not worth a look at the host.
_HOST_MATTERS = 16 * MIB


class Level(NamedTuple):
    """One cgroup on the way to the root, one with a limit."""

    name: str
    """The file with the limit, for messages."""
    limit: int
    """Bytes."""
    current: int
    """Bytes in use, page cache included."""
    inactive_file: int
    """Bytes of page cache that go without being missed."""
    unevictable: int
    """Bytes that are locked already."""


class Cgroup(NamedTuple):
    """Where the memory of this process is counted."""

    mount: str
    """Where the hierarchy is mounted."""
    path: str
    """Below the mount, starting with a slash."""
    v2: bool

    @property
    def directory(self) -> str:
        """The cgroup's own."""
        return os.path.join(self.mount, self.path.lstrip("/")).rstrip("/")


def reserve(limit: int) -> int:
    """Bytes below a limit that stay unlocked: 5 %, at least 16 MiB, but never more than half."""
    return min(max(limit // 20, 16 * MIB), limit // 2)


def refusal(levels: list[Level], to_lock: int, to_bring_in: int) -> str | None:
    """Why memory must not be locked, or ``None``.

    What is locked cannot be reclaimed: once it fills a limit, whatever else the unit needs ends in the OOM
    killer. ``to_bring_in`` is the part of ``to_lock`` that is not in RAM yet.
    """
    for level in levels:
        keep = reserve(level.limit)
        if level.unevictable + to_lock > level.limit - keep:
            return (
                f"locking {human(to_lock)} on top of {human(level.unevictable)} would leave less than "
                f"{human(keep)} of {level.name} ({human(level.limit)}) for everything else: lock less, or raise it"
            )
        free = level.limit - (level.current - level.inactive_file)
        if to_bring_in > free:
            return (
                f"{human(to_bring_in)} are not in RAM and {level.name} ({human(level.limit)}) leaves "
                f"only {human(max(free, 0))}: free memory first, or raise it"
            )
    return None


def room(to_lock: int, to_bring_in: int) -> str | None:
    """As ``refusal``, for this process and host. Where nothing can be read, nothing is refused."""
    if to_bring_in >= _HOST_MATTERS:
        levels = _host()
        if levels and (why := refusal(levels, to_bring_in, to_bring_in)):
            return why
    cgroup = own()
    return refusal(limits(cgroup, to_lock), to_lock, to_bring_in) if cgroup else None


def _host() -> list[Level]:
    values = dict(re.findall(r"^(\w+):\s+(\d+) kB", _read("/proc/meminfo") or "", re.MULTILINE))
    if "MemTotal" not in values or "MemAvailable" not in values:
        return []
    total, available = int(values["MemTotal"]) * 1024, int(values["MemAvailable"]) * 1024
    return [Level("the host's RAM", total, total - available, 0, total - available)]


def limits(cgroup: Cgroup, to_lock: int) -> list[Level]:
    """The levels whose limit ``to_lock`` more bytes could come near, from the innermost outwards."""
    directory, found = cgroup.directory, []
    while directory.startswith(cgroup.mount):
        for file in ("memory.max", "memory.high") if cgroup.v2 else ("memory.limit_in_bytes",):
            limit = _number(f"{directory}/{file}")
            if limit is None or limit >= _V1_NONE:
                continue
            current = _number(f"{directory}/memory.{'current' if cgroup.v2 else 'usage_in_bytes'}") or 0
            # memory.stat is costly to read; nothing in it matters while all of it fits.
            if current + to_lock <= limit - reserve(limit):
                continue
            prefix = "" if cgroup.v2 else "total_"
            stat = dict(line.split() for line in (_read(f"{directory}/memory.stat") or "").splitlines())
            found.append(
                Level(
                    f"{file} of {directory[len(cgroup.mount) :] or '/'}",
                    limit,
                    current,
                    int(stat.get(f"{prefix}inactive_file", 0)),
                    int(stat.get(f"{prefix}unevictable", 0)),
                )
            )
        if directory == cgroup.mount:
            break
        directory = os.path.dirname(directory)
    return found


def own() -> Cgroup | None:
    """The cgroup that this process's memory is charged to, ``None`` without a memory controller."""
    return parse(_read("/proc/self/cgroup") or "", _read("/proc/self/mountinfo") or "")


def parse(cgroups: str, mounts: str) -> Cgroup | None:
    """As ``own``, from the texts of /proc/PID/cgroup and /proc/PID/mountinfo."""
    path, v2 = None, True
    for line in cgroups.splitlines():
        _id, controllers, name = line.split(":", 2)
        if "memory" in controllers.split(","):
            path, v2 = name, False
            break
        if not controllers:
            path = name
    if path is None or path.startswith("/.."):
        # Outside of what this cgroup namespace shows.
        return None
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields, (kind, *rest) = left.split(), right.split()
        if kind != ("cgroup2" if v2 else "cgroup"):
            continue
        if not v2 and "memory" not in rest[-1].split(","):
            continue
        root, mount = fields[3], fields[4]
        if root == "/":
            return Cgroup(mount, path, v2)
        if path == root or path.startswith(root + "/"):
            return Cgroup(mount, path[len(root) :] or "/", v2)
    return None


def units() -> list[str]:
    """The units this process belongs to, the outermost first: slices, then the service or scope."""
    for line in (_read("/proc/self/cgroup") or "").splitlines():
        number, controllers, path = line.split(":", 2)
        if controllers == "name=systemd" or (number == "0" and path != "/"):
            # systemd escapes what would look like a file of the kernel with a leading underscore.
            names = [part[1:] if part.startswith("_") else part for part in path.split("/")]
            return [name for name in names if _UNIT.match(name)]
    return []


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def _number(path: str) -> int | None:
    text = (_read(path) or "").strip()
    return int(text) if text.isdigit() else None
