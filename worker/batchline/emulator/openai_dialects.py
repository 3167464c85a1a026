"""How services that speak OpenAI's batch API differ from OpenAI: data, read by the `openai_*` modules.

Sources: Azure: learn.microsoft.com/azure/ai-services/openai/how-to/batch.  Groq: console.groq.com/docs/batch and
types/batch_create_params.py of its SDK; github.com/eigent-ai/eigent/issues/1827 (its 400 for a field).  vLLM stands for llm-d's batch gateway in front of it
(github.com/llm-d/llm-d-batch-gateway, pull requests 121 and 222); which windows it takes is UNCERTAIN.
"""

import re
from dataclasses import dataclass
from typing import Any

from batchline.emulator.errors import ApiError
from batchline.emulator.options import DialectName, Options
from batchline.emulator.prompts import CHAT, REQUIRED

_HOURS = {"h": 1, "d": 24}
_WINDOW = re.compile(r"([1-9][0-9]{0,3})([hd])")
_CREATE_FIELDS = frozenset({"input_file_id", "endpoint", "completion_window", "metadata"})


@dataclass(frozen=True, slots=True)
class Dialect:
    """One service. `root` stands before `/v1` in every path; windows are in hours, lives of files in seconds.

    `expires`: whether a batch ends with its window.  `empty_error_file`: there is always one.  `early_status` is
    shown in the first half of a batch's life, instead of OpenAI's.  `tells_unrun`: the error file has a line for
    every request that was not run, and a batch can break off in its middle.  `unsupported`: fields of OpenAI's bodies that are refused.
    """

    root: str = ""
    endpoints: tuple[str, ...] = tuple(REQUIRED)
    windows_h: tuple[int, int] = (24, 24)
    lives_s: tuple[int, int] | None = (3_600, 2_592_000)
    max_requests: int = 50_000
    max_file_bytes: int = 200_000_000
    expires: bool = True
    empty_error_file: bool = False
    early_status: str | None = None
    tells_unrun: bool = False
    unsupported: tuple[str, ...] = ()

    @property
    def create_fields(self) -> frozenset[str]:
        """The documented fields of a create call."""
        return _CREATE_FIELDS | {"output_expires_after"} if self.lives_s else _CREATE_FIELDS

    @property
    def upload_fields(self) -> frozenset[str]:
        """The documented fields of an upload beside the file."""
        more = {"expires_after[anchor]", "expires_after[seconds]"} if self.lives_s else set()
        return frozenset({"purpose", *more})

    def check_body(self, body: dict[str, Any]) -> None:
        """Refuse a request with a field that the service does not take."""
        for name in self.unsupported:
            if name in body:
                raise ApiError(400, f"property '{name}' is unsupported")

    def window_s(self, window: str) -> int | None:
        """Return a completion window in seconds; None when the service does not offer it."""
        found = _WINDOW.fullmatch(window)
        low, high = self.windows_h
        hours = int(found[1]) * _HOURS[found[2]] if found else 0
        return hours * 3_600 if low <= hours <= high else None

    def windows(self) -> str:
        """Return the windows that the service offers, in words."""
        low, high = self.windows_h
        return f"only '{low}h' is supported" if low == high else f"supported are '{low}h' to '{high // 24}d'"


DIALECTS: dict[DialectName, Dialect] = {
    "openai": Dialect(),
    "azure": Dialect(
        root="/openai", lives_s=(1_209_600, 2_592_000), max_requests=100_000, expires=False, empty_error_file=True
    ),
    "groq": Dialect(
        root="/openai",
        endpoints=(CHAT,),
        windows_h=(24, 7 * 24),
        lives_s=None,
        max_file_bytes=100_000_000,
        unsupported=("prompt_cache_key",),
    ),
    "vllm": Dialect(windows_h=(1, 30 * 24), early_status="queued", tells_unrun=True),
}


def dialect_of(options: Options) -> Dialect:
    """Return the service that an emulator plays."""
    return DIALECTS[options.dialect]
