"""Keeps the memory a service calls critical out of swap, and says what it got.

::

    import memmon

    with memmon.protect(embeddings, "embeddings") as guard:
        print(guard.status())

See docs/service-authors.md of memmon. Messages go to the logger ``memmon``.
"""

from ._buffers import Region
from ._errors import AgentUnavailableError, MemmonError, NotYoursError
from ._history import History
from ._in_use import ModelInUse
from ._old_api import (
    analyze_memory_situation,
    apply_strategy,
    get_critical_memory_size_mb,
    get_memory_report,
    protect_memory_from_swap,
)
from ._protect import Guard, Status, advise_cold, protect, protected_bytes
from ._release import (
    PressureSource,
    default_release,
    forget_release,
    on_release,
    release_memory,
    watch_pressure,
)

__all__ = [
    "AgentUnavailableError",
    "Guard",
    "History",
    "MemmonError",
    "ModelInUse",
    "NotYoursError",
    "PressureSource",
    "Region",
    "Status",
    "advise_cold",
    "analyze_memory_situation",
    "apply_strategy",
    "default_release",
    "forget_release",
    "get_critical_memory_size_mb",
    "get_memory_report",
    "on_release",
    "protect",
    "protect_memory_from_swap",
    "protected_bytes",
    "release_memory",
    "watch_pressure",
]
