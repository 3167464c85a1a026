"""Batches and files of other applications under the same key: listed, and none of our business.

They run and end like any batch, but nobody here pays for them; cancelling or deleting one is noted in the bill.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from batchline.emulator.anthropic_work import Given as MessagesGiven
from batchline.emulator.jobs import Checked
from batchline.emulator.openai_work import Given
from batchline.emulator.prompts import CHAT
from batchline.emulator.world import Emulator


class Foreign(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Things to add: `count` batches of `total` requests each, or (OpenAI) `count` files of `total` lines without a batch.

    Created `created_offset_s` from now (negative: in the past) and listed at once.  They end `ends_in_s` from now
    (None: after the emulator's latency), with results under custom_ids that are not ours.  `metadata` is OpenAI's,
    None for a batch without.
    """

    provider: Literal["openai", "anthropic"]
    kind: Literal["batch", "file"] = "batch"
    count: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1
    total: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1
    created_offset_s: float = 0.0
    ends_in_s: Annotated[float, msgspec.Meta(ge=0)] | None = None
    metadata: dict[str, str] | None = None


def add_foreign(emulator: Emulator, foreign: Foreign) -> list[str]:
    """Add them and return their ids. Raises ValueError for Anthropic files, which do not exist."""
    if foreign.kind == "file":
        if foreign.provider != "openai":
            raise ValueError("Anthropic's batches have no files: ask for provider openai or kind batch")
        return [_add_file(emulator, foreign) for _ in range(foreign.count)]
    add = _add_openai if foreign.provider == "openai" else _add_anthropic
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
