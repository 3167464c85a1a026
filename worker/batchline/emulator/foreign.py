"""Batches and files of other applications under the same key: listed, and none of our business.

They run and end like any batch, but nobody here pays for them; cancelling or deleting one is noted in the bill.
"""

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from batchline.emulator.anthropic_work import Given as MessagesGiven
from batchline.emulator.gemini_store import new_file_id
from batchline.emulator.gemini_work import Given as GeminiGiven
from batchline.emulator.jobs import Checked
from batchline.emulator.openai_work import Given
from batchline.emulator.prompts import CHAT
from batchline.emulator.world import Emulator


class Foreign(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Things to add: `count` batches of `total` requests each, or `count` files of `total` lines without a batch.

    Created `created_offset_s` from now (negative: in the past) and listed at once.  They end `ends_in_s` from now
    (None: after the emulator's latency), with results under custom_ids that are not ours.  `metadata` is OpenAI's,
    None for a batch without, `display_name` Gemini's.  Anthropic has no files.
    """

    provider: Literal["openai", "anthropic", "gemini"]
    kind: Literal["batch", "file"] = "batch"
    count: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1
    total: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1
    created_offset_s: float = 0.0
    ends_in_s: Annotated[float, msgspec.Meta(ge=0)] | None = None
    metadata: dict[str, str] | None = None
    display_name: str = "another application's"


def add_foreign(emulator: Emulator, foreign: Foreign) -> list[str]:
    """Add them and return their ids. Raises ValueError for Anthropic files, which do not exist."""
    if foreign.kind == "file" and foreign.provider == "anthropic":
        raise ValueError("Anthropic's batches have no files: ask for provider openai or gemini, or kind batch")
    add = (_FILES if foreign.kind == "file" else _BATCHES)[foreign.provider]
    return [add(emulator, foreign) for _ in range(foreign.count)]


def _add_openai(emulator: Emulator, foreign: Foreign) -> str:
    given = Given(CHAT, _add_file(emulator, foreign), foreign.metadata)
    created, due = _times(emulator, foreign)
    return emulator.jobs.add_foreign("openai", "batch", given, created, due).id


def _add_anthropic(emulator: Emulator, foreign: Foreign) -> str:
    lines = emulator.files.spool_path()
    _write(lines, ({"custom_id": f"foreign-{n}", "params": _body(64)} for n in range(foreign.total)))
    moved = emulator.scratch / f"{lines.name}.lines"
    lines.rename(moved)
    created, due = _times(emulator, foreign)
    checked = Checked(total=foreign.total)
    given = MessagesGiven(moved, "2023-06-01")
    return emulator.jobs.add_foreign("anthropic", "msgbatch", given, created, due, validated=checked).id


def _add_file(emulator: Emulator, foreign: Foreign) -> str:
    spooled = emulator.files.spool_path()
    envelope = {"method": "POST", "url": CHAT, "body": _body(None)}
    _write(spooled, ({"custom_id": f"foreign-{n}", **envelope} for n in range(foreign.total)))
    created, _ = _times(emulator, foreign)
    return emulator.files.adopt(spooled, "foreign.jsonl", "batch", created_at=created, foreign=True).id


def _add_gemini(emulator: Emulator, foreign: Foreign) -> str:
    file_name = _add_gemini_file(emulator, foreign)
    lines = emulator.scratch / f"{secrets.token_hex(12)}.lines"
    os.link(emulator.gemini_files.path(file_name.removeprefix("files/")), lines)
    given = GeminiGiven("gemini-foreign", embeds=False, lines=lines, display_name=foreign.display_name)
    given.file_name = file_name
    created, due = _times(emulator, foreign)
    checked = Checked(total=foreign.total, model=given.model)
    prefix = secrets.token_hex(6)[:11]
    return emulator.jobs.add_foreign("gemini", prefix, given, created, due, validated=checked).id


def _add_gemini_file(emulator: Emulator, foreign: Foreign) -> str:
    spooled = emulator.gemini_files.spool_path()
    request = {"contents": [{"role": "user", "parts": [{"text": "another application's"}]}]}
    _write(spooled, ({"key": f"foreign-{n}", "request": request} for n in range(foreign.total)))
    created, _ = _times(emulator, foreign)
    name = foreign.display_name
    return f"files/{emulator.gemini_files.adopt(spooled, new_file_id(), name, created_at=created, foreign=True).id}"


_BATCHES: dict[str, Callable[[Emulator, Foreign], str]] = {
    "openai": _add_openai,
    "anthropic": _add_anthropic,
    "gemini": _add_gemini,
}
_FILES: dict[str, Callable[[Emulator, Foreign], str]] = {"openai": _add_file, "gemini": _add_gemini_file}


def _times(emulator: Emulator, foreign: Foreign) -> tuple[float, float]:
    now = emulator.clock()
    ends_in_s = emulator.options.latency_s if foreign.ends_in_s is None else foreign.ends_in_s
    return now + foreign.created_offset_s, now + ends_in_s


def _body(max_tokens: int | None) -> dict[str, Any]:
    body: dict[str, Any] = {"model": "foreign", "messages": [{"role": "user", "content": "another application's"}]}
    return body if max_tokens is None else {**body, "max_tokens": max_tokens}


def _write(path: Path, lines: Iterator[Any]) -> None:
    with path.open("wb") as target:
        target.writelines(msgspec.json.encode(line) + b"\n" for line in lines)
