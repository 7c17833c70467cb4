"""What a restore did, as data for people and for --json."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class RestoreReport:
    """`log_bytes` were played up to `end_offset`; sizes in bytes, time in seconds."""

    journal: str
    output: str = ""
    dry_run: bool = False
    start_offset: int = 0
    end_offset: int = 0
    log_bytes: int = 0
    next_seq_no: int = 1
    files: int = 0
    directories: int = 0
    bytes: int = 0
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
