"""The benchmarks are programs beside the tests: their modules are imported from where they are."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "bench"))
