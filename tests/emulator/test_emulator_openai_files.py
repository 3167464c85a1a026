"""OpenAI's Files API as the SDK sees it."""

from __future__ import annotations

import io
from typing import Any

import openai
import pytest


def test_an_uploaded_file_comes_back_byte_for_byte(sim: Any) -> None:
    raw = bytes(range(256)) * 4_000 + b"\r\n--tricky\r\n"
    created = sim.openai.files.create(file=("in.jsonl", io.BytesIO(raw)), purpose="batch")
    assert sim.openai.files.content(created.id).content == raw
    assert (created.bytes, created.filename, created.purpose) == (len(raw), "in.jsonl", "batch")


def test_a_batch_file_expires_after_30_days(sim: Any) -> None:
    created = sim.openai.files.create(file=("a", b"x"), purpose="batch")
    assert created.expires_at - created.created_at == 30 * 86_400
    sim.clock.now += 30 * 86_400
    with pytest.raises(openai.NotFoundError):
        sim.openai.files.retrieve(created.id)


def test_expires_after_shortens_the_life(sim: Any) -> None:
    wish = {"anchor": "created_at", "seconds": 3_600}
    created = sim.openai.files.create(file=("a", b"x"), purpose="batch", expires_after=wish)
    assert created.expires_at - created.created_at == 3_600


def test_expires_after_outside_the_range_is_refused(sim: Any) -> None:
    wish = {"anchor": "created_at", "seconds": 3_599}
    with pytest.raises(openai.BadRequestError):
        sim.openai.files.create(file=("a", b"x"), purpose="batch", expires_after=wish)


def test_a_file_over_the_limit_is_refused_in_the_providers_words(start: Any) -> None:
    sim = start(max_file_bytes=1_000)
    assert sim.openai.files.create(file=("a", b"x" * 1_000), purpose="batch").bytes == 1_000
    with pytest.raises(openai.BadRequestError) as refused:
        sim.openai.files.create(file=("a", b"x" * 1_001), purpose="batch")
    assert refused.value.body == {
        "message": "File is too large.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    assert len(sim.openai.files.list().data) == 1


def test_files_are_listed_newest_first_in_pages(sim: Any) -> None:
    ids = [sim.openai.files.create(file=(str(n), b"x"), purpose="batch").id for n in range(3)]
    page = sim.openai.files.list(limit=2, purpose="batch")
    assert [file.id for file in page.data] == [ids[2], ids[1]]
    assert page.has_more
    assert [file.id for file in sim.openai.files.list(limit=2, after=ids[1]).data] == [ids[0]]
    assert [file.id for file in sim.openai.files.list(order="asc").data] == ids
    assert sim.openai.files.list(purpose="batch_output").data == []


def test_a_deleted_file_is_gone(sim: Any) -> None:
    created = sim.openai.files.create(file=("a", b"x"), purpose="batch")
    assert sim.openai.files.delete(created.id).deleted
    with pytest.raises(openai.NotFoundError):
        sim.openai.files.content(created.id)
    with pytest.raises(openai.NotFoundError):
        sim.openai.files.delete(created.id)


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data; boundary=abc"])
def test_what_is_no_form_is_refused(sim: Any, content_type: str) -> None:
    answer = sim.call("POST", "/v1/files", content=b"no form", headers={"content-type": content_type})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_form_without_purpose_is_refused_by_name(sim: Any) -> None:
    answer = sim.call("POST", "/v1/files", files={"file": b"x"})
    assert answer.json()["error"]["param"] == "purpose"


def test_a_state_directory_keeps_files_over_a_restart(start: Any, tmp_path: Any) -> None:
    file_id = start(state_dir=tmp_path).upload([b"{}"])
    again = start(state_dir=tmp_path)
    assert again.openai.files.content(file_id).content == b"{}\n"
