"""The folder in which inputs of batches lie while they are rendered and uploaded."""

from __future__ import annotations

import tempfile
from pathlib import Path


def trouble(folder: Path | None) -> str:
    """Return why nothing can be written into a folder (None: the system's for temporary files), empty when it can."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        # Where the system has no usable folder at all, the error names all that were tried.
        return f"cannot write into {folder or 'any folder for temporary files'}: {error.strerror or error}"
    return ""
