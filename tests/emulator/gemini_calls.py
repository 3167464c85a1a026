"""What the tests of the emulator's Gemini do with the SDK again and again."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

FLASH, EMBEDS = "gemini-2.5-flash", "gemini-embedding-2"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def row(text: str, key: str | None = None, **more: Any) -> dict[str, Any]:
    contents = [{"role": "user", "parts": [{"text": text}]}]
    return {"key": key or f"k-{text}", "request": {"contents": contents, **more}}


def embed_row(text: str, **more: Any) -> dict[str, Any]:
    return {"key": f"k-{text}", "request": {"content": {"parts": [{"text": text}]}, **more}}


def upload(sim: Any, lines: list[Any]) -> str:
    raw = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    name: str = sim.gemini.files.upload(file=io.BytesIO(raw), config={"mime_type": "jsonl"}).name
    return name


def submit(sim: Any, lines: list[Any], model: str = FLASH, display_name: str = "d") -> str:
    create = sim.gemini.batches.create_embeddings if "embedding" in model else sim.gemini.batches.create
    src: Any = {"file_name": upload(sim, lines)} if "embedding" in model else upload(sim, lines)
    name: str = create(model=model, src=src, config={"display_name": display_name}).name
    return name


def run(sim: Any, lines: list[Any], model: str = FLASH) -> dict[str, Any]:
    """Run a batch of a file and return its answers by key."""
    name = submit(sim, lines, model)
    sim.pass_time(10)
    ended = sim.gemini.batches.get(name=name)
    assert ended.state.name == "JOB_STATE_SUCCEEDED"
    raw = sim.gemini.files.download(file=ended.dest.file_name)
    return {line["key"]: line for line in map(json.loads, raw.splitlines())}


def inline(sim: Any, texts: list[str], **more: Any) -> Any:
    src = [{"contents": text, "metadata": {"key": f"k-{text}"}} for text in texts]
    return sim.gemini.batches.create(model=FLASH, src=src, **more)


def raw(sim: Any, name: str | None, version: str = "v1beta") -> Any:
    return sim.google("GET", f"/{version}/{name}").json()


def text_of(line: Any) -> str:
    text: str = line["response"]["candidates"][0]["content"]["parts"][0]["text"]
    return text
