"""The wait for an uploaded file that Gemini still processes: over the real SDK, with a clock that only the wait moves."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from batchline.engine.shutdown import watched
from batchline.errors import Permanent, Retryable, Stopping
from batchline.providers.gemini import GeminiProvider
from batchline.providers.gemini_lines import row
from batchline.providers.gemini_ready import READY_S
from batchline.providers.protocol import AccountAccess, Job, Options

if TYPE_CHECKING:
    from tests.providers.conftest import Stage

JOB = Job(batch_id="b1", nonce="n1", endpoint="generate", model="m", rows=2, intent_ms=0, lane="g:generate:m")
ROWS = row("a", b'{"contents":[]}') + b"\n" + row("b", b"{}") + b"\n"


class Clock:
    """A clock that goes on by nothing but waiting."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    """The clock of the provider."""
    return Clock()


@pytest.fixture
def provider(stage: Stage, clock: Clock) -> GeminiProvider:
    access = AccountAccess(name="acme", key=lambda: "AIza-secret", base_url=stage.url, options=Options())
    return GeminiProvider(access, now=lambda: 0.0, clock=lambda: clock.now, sleep=clock.sleep)


def uploads(stage: Stage, **fields: Any) -> None:
    stage.says({}, x_goog_upload_url=f"{stage.url}/upload/v1beta/files?upload_id=1")
    stage.says({"file": {"name": "files/in"} | fields}, x_goog_upload_status="final")


def is_(state: str, **fields: Any) -> dict[str, Any]:
    return {"name": "files/in", "state": state} | fields


def calls(stage: Stage) -> list[tuple[str, str]]:
    """Return the calls after the upload's own two."""
    return [(asked.method, asked.path) for asked in stage.asked[2:]]


def fails(stage: Stage, status: int) -> None:
    stage._will(status=status, body=json.dumps({"error": {"code": status, "message": "boom"}}).encode())


def test_an_upload_is_over_once_its_file_is_active(stage: Stage, provider: GeminiProvider, clock: Clock) -> None:
    uploads(stage, state="PROCESSING")
    stage.says(is_("PROCESSING"), is_("PROCESSING"), is_("ACTIVE"))
    assert provider.upload(io.BytesIO(ROWS), JOB) == "files/in"
    assert calls(stage) == [("GET", "/v1beta/files/in")] * 3
    assert clock.waits == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("told", [{}, {"state": "ACTIVE"}, {"state": "STATE_UNSPECIFIED"}])
def test_a_file_that_is_not_said_to_be_processed_is_not_waited_for(
    stage: Stage, provider: GeminiProvider, clock: Clock, told: dict[str, str]
) -> None:
    uploads(stage, **told)
    assert provider.upload(io.BytesIO(ROWS), JOB) == "files/in"
    assert (calls(stage), clock.waits) == ([], [])


def test_a_file_that_does_not_get_ready_is_deleted_and_uploaded_again_later(
    stage: Stage, provider: GeminiProvider, clock: Clock
) -> None:
    uploads(stage, state="PROCESSING")
    stage.says(is_("PROCESSING"))
    with pytest.raises(Retryable, match=r"files/in is still processed after 600 s.*again later") as caught:
        provider.upload(io.BytesIO(ROWS), JOB)
    assert caught.value.code == "file_not_ready"
    assert READY_S <= sum(clock.waits) <= READY_S + max(clock.waits)
    assert calls(stage)[-1] == ("DELETE", "/v1beta/files/in")


@pytest.mark.parametrize("first", ["PROCESSING", "FAILED"])
def test_a_file_whose_processing_failed_says_why_and_is_uploaded_again_later(
    stage: Stage, provider: GeminiProvider, first: str
) -> None:
    error = {"code": 13, "message": "the disk is on fire"}
    uploads(stage, state=first, error=error)
    stage.says(is_("FAILED", error=error) if first == "PROCESSING" else {}, {})
    with pytest.raises(Retryable, match="INTERNAL the disk is on fire") as caught:
        provider.upload(io.BytesIO(ROWS), JOB)
    assert caught.value.code == "file_failed"
    assert calls(stage)[-1] == ("DELETE", "/v1beta/files/in")


def test_a_look_that_fails_for_a_moment_does_not_cost_the_upload(stage: Stage, provider: GeminiProvider) -> None:
    uploads(stage, state="PROCESSING")
    fails(stage, 503)
    stage.says(is_("ACTIVE"))
    assert provider.upload(io.BytesIO(ROWS), JOB) == "files/in"


def test_a_look_that_is_refused_ends_the_wait(stage: Stage, provider: GeminiProvider) -> None:
    uploads(stage, state="PROCESSING")
    fails(stage, 400)
    with pytest.raises(Permanent):
        provider.upload(io.BytesIO(ROWS), JOB)


@pytest.mark.parametrize(
    "body", [b"[1]", b"{}", b'{"state":"ACTIVE"}', b'{"state":"ACTIVE","name":%s}' % (b"9" * 4_301), b"[" * 100_000]
)
def test_a_look_whose_answer_cannot_be_read_is_repeated(stage: Stage, provider: GeminiProvider, body: bytes) -> None:
    uploads(stage, state="PROCESSING")
    stage.says(body, is_("ACTIVE"))
    assert provider.upload(io.BytesIO(ROWS), JOB) == "files/in"


def test_whoever_watches_over_the_rows_can_break_the_wait_off(
    stage: Stage, provider: GeminiProvider, clock: Clock
) -> None:
    def check() -> None:
        if len(clock.waits) >= 3:
            raise Stopping("this worker was asked to end")

    uploads(stage, state="PROCESSING")
    stage.says(is_("PROCESSING"))
    with pytest.raises(Stopping):
        provider.upload(watched(io.BytesIO(ROWS), check), JOB)
    assert len(clock.waits) == 3
