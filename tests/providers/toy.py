"""A toy of a provider, as docs/providers.md says how one is added: batches are files in a folder, and answers are echoes.

test_adding_a_provider.py puts it into a copy of the package.
"""

# ruff: noqa: ARG002 - what the protocol gives, the toy need not take

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from batchline.lanes import Lane
from batchline.providers.protocol import (
    AccountAccess,
    Created,
    Endpoint,
    Facts,
    Found,
    Job,
    Limits,
    Listed,
    Options,
    Progress,
    Result,
    Storage,
    Upload,
)
from batchline.requests import Usage

ENDPOINTS: Mapping[str, Endpoint] = {"say": Endpoint(path="/say", price_flavor="toy")}
LIMITS = Limits(max_requests=1000, max_bytes=1_000_000)
USAGE = Usage(input_tokens=1, output_tokens=1, cache_read_tokens=0, cache_write_tokens=0)
KEPT_S = 86_400


class ToyProvider:
    """A toy's account."""

    kind: str = "toy"
    limits: Limits = LIMITS
    endpoints: Mapping[str, Endpoint] = ENDPOINTS
    has_files: bool = False
    tagged: bool = True
    results_kept_s: int = KEPT_S

    def __init__(self, access: AccountAccess) -> None:
        self._access = access
        self._room = Path(os.environ["TOY_ROOM"])
        self.limits = LIMITS.lowered(access.options)

    @staticmethod
    def facts(options: Options) -> Facts:
        return Facts(
            kind="toy",
            limits=LIMITS.lowered(options),
            endpoints=ENDPOINTS,
            has_files=False,
            tagged=True,
            results_kept_s=KEPT_S,
            price_provider="",
        )

    def render(self, custom_id: str, endpoint: str, body: bytes) -> bytes:
        return b'{"key":"%b","request":%b}' % (custom_id.encode(), body)

    def upload(self, rows: BinaryIO, job: Job) -> str | None:
        return None

    def create(self, rows: BinaryIO, job: Job, *, timeout_s: float) -> Created:
        self._access.key()
        name = _name(job)
        made = {"job": job, "rows": [msgspec.Raw(row) for row in rows]}
        (self._room / name).write_bytes(msgspec.json.encode(made))
        return Created(provider_id=name, created_ms=job.intent_ms)

    def find(self, job: Job) -> Found:
        return Found(proven=(Created(provider_id=_name(job)),) if (self._room / _name(job)).exists() else ())

    def recent(self, since_ms: int) -> Iterator[Listed]:
        made = [(each.name, self._read(each.name)) for each in self._room.iterdir()]
        for name, batch in sorted(made, key=lambda each: each[1]["job"]["intent_ms"], reverse=True):
            job = batch["job"]
            tag = {part: job[part] for part in ("batch_id", "nonce", "lane")}
            yield Listed(provider_id=name, created_ms=job["intent_ms"], total=len(batch["rows"]), **tag)

    def sent(self, provider_id: str) -> Iterator[str]:
        return iter(())

    def uploads(self, since_ms: int) -> Iterator[Upload]:
        return iter(())

    def poll(self, provider_id: str) -> Progress:
        count = len(self._read(provider_id)["rows"])
        return Progress(provider_id=provider_id, status="done", outcome="completed", total=count, done=count, ran=count)

    def results(self, progress: Progress, sent: Sequence[str] = ()) -> Iterator[Result]:
        for row in self._read(progress.provider_id)["rows"]:
            answer = msgspec.Raw(json.dumps({"said": row["request"]["say"]}).encode())
            yield Result(custom_id=row["key"], kind="succeeded", body=answer, usage=USAGE, size=len(bytes(answer)))

    def cancel(self, provider_id: str) -> None:
        """What has ended is no error."""

    def call(self, lane: Lane, body: bytes, *, timeout_s: float) -> Result:
        raise NotImplementedError

    def delete_file(self, ref: str) -> None:
        """There are no files."""

    def storage(self) -> Storage | None:
        return None

    def _read(self, provider_id: str) -> Any:
        return json.loads((self._room / provider_id).read_bytes())


def _name(job: Job) -> str:
    return f"{job.batch_id}-{job.nonce}"
