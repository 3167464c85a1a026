"""Where tests keep files of stores: in memory where there is room, since a store writes at each command."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM = 1 << 30
"""So much must be free there: containers are given 64 MB, unless told otherwise."""


def in_memory() -> Path | None:
    """Return where files are kept in memory, None where there is no such place with room."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM else None


def quick_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that is deleted in the end: how long a disk takes for a command is no test's subject."""
    return tempfile.TemporaryDirectory(prefix="batchline-", dir=in_memory(), ignore_cleanup_errors=True)
