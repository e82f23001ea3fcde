"""What can go wrong, apart from ``TypeError`` and ``ValueError`` for what is no buffer or an unusable one."""


class MemmonError(Exception):
    """Anything that memmon itself refuses."""


class AgentUnavailableError(MemmonError):
    """No agent answered on the system bus. The message says what was asked and what to do."""


class NotYoursError(MemmonError, PermissionError):
    """Only the process itself, or root, may do this. The message says which and what to do instead."""
