"""What a measurement ran on: processor, cores, device, memory of this process."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Machine", "resident_bytes", "this_machine"]


@dataclass(frozen=True, slots=True)
class Machine:
    """The hardware.

    Attributes:
        cpu: its name.
        cores: logical ones that this process may use.
        device: where the large models compute: ``cpu``, or the name of the first GPU.
        threads: that a large model's matrix product uses on the CPU; ``None`` = no such library
            is loaded.
    """

    cpu: str
    cores: int
    device: str
    threads: int | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def this_machine() -> Machine:
    """The machine as it is now; asks torch only if a model has loaded it already."""
    device, threads = "cpu", None
    torch = sys.modules.get("torch")
    if torch is not None:
        threads = int(torch.get_num_threads())
        if torch.cuda.is_available():
            device = str(torch.cuda.get_device_name(0))
    return Machine(_cpu_name(), _cores(), device, threads)


def resident_bytes() -> int | None:
    """Main memory that this process holds now; its peak where the system tells no more.

    ``None`` where it tells nothing at all.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * (1 if sys.platform == "darwin" else 1024)  # getrusage(2) of each


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
