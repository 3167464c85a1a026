"""Gemini's Files API as its SDK sees it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from typing import Any

import pytest
from google.genai import errors
from tests.emulator.gemini_calls import FLASH, row, submit, upload


def test_an_uploaded_file_has_googles_record_and_lives_48_hours(sim: Any) -> None:
    name = upload(sim, [row("a")])
    whole = json.dumps(row("a")).encode() + b"\n"
    file = sim.gemini.files.get(name=name)
    assert (file.size_bytes, file.mime_type, file.state.name, file.source.name) == (
        len(whole),
        "jsonl",
        "ACTIVE",
        "UPLOADED",
    )
    assert base64.b64decode(file.sha256_hash) == hashlib.sha256(whole).digest()
    assert (file.expiration_time - file.create_time).total_seconds() == 48 * 3_600
    sim.clock.now += 48 * 3_600
    with pytest.raises(errors.ClientError, match="403"):
        sim.gemini.files.get(name=name)


def test_a_file_is_processed_for_as_long_as_it_is_told_and_no_batch_is_made_from_it(start: Any) -> None:
    sim = start(gemini_file_delay_s=60)
    name = upload(sim, [row("a")])
    assert sim.gemini.files.get(name=name).state.name == "PROCESSING"
    assert [file.state.name for file in sim.gemini.files.list()] == ["PROCESSING"]
    with pytest.raises(errors.ClientError, match="not in an ACTIVE state") as caught:
        sim.gemini.batches.create(model=FLASH, src=name)
    assert (caught.value.code, caught.value.status) == (400, "FAILED_PRECONDITION")
    sim.clock.now += 60
    assert sim.gemini.files.get(name=name).state.name == "ACTIVE"
    assert sim.gemini.batches.create(model=FLASH, src=name).name


def test_a_batch_goes_on_without_its_input_file(sim: Any) -> None:
    name = submit(sim, [row("a")])
    (file,) = sim.gemini.files.list()
    sim.gemini.files.delete(name=file.name)
    sim.pass_time(10)
    assert sim.gemini.batches.get(name=name).dest.file_name


def test_an_uploaded_file_cannot_be_downloaded(sim: Any) -> None:
    name = upload(sim, [row("a")])
    with pytest.raises(errors.ClientError, match="Only generated files"):
        sim.gemini.files.download(file=name)


def test_a_result_file_is_downloaded_but_neither_got_deleted_nor_listed(sim: Any) -> None:
    name = submit(sim, [row("a")])
    sim.pass_time(10)
    result = sim.gemini.batches.get(name=name).dest.file_name
    assert len(result.removeprefix("files/")) == 42
    for call in (sim.gemini.files.get, sim.gemini.files.delete):
        with pytest.raises(errors.ClientError, match="cannot be more than 40 characters"):
            call(name=result)
    assert result not in [file.name for file in sim.gemini.files.list()]
    assert sim.gemini.files.download(file=result)
    sim.clock.now += 42 * 86_400
    with pytest.raises(errors.ClientError, match="403"):
        sim.gemini.files.download(file=result)


def test_files_are_listed_newest_first_in_pages(sim: Any) -> None:
    names = []
    for _ in range(12):
        names.append(upload(sim, [row("a")]))
        sim.clock.now += 1
    assert [file.name for file in sim.gemini.files.list()] == names[::-1]
    page = sim.gemini.files.list(config={"page_size": 5}).page
    assert [file.name for file in page] == names[:6:-1]


def test_a_file_may_be_given_its_name(sim: Any) -> None:
    config = {"name": "my-file", "mime_type": "jsonl", "display_name": "mine"}
    file = sim.gemini.files.upload(file=io.BytesIO(b"{}"), config=config)
    assert (file.name, file.display_name) == ("files/my-file", "mine")
    with pytest.raises(errors.ClientError) as refused:
        sim.gemini.files.upload(file=io.BytesIO(b"{}"), config=config)
    assert refused.value.code == 409


def test_a_file_over_the_limit_is_refused_before_a_byte_is_sent(start: Any) -> None:
    sim = start(gemini_max_file_bytes=10)
    with pytest.raises(errors.ClientError, match="exceeds the limit of 10 bytes"):
        sim.gemini.files.upload(file=io.BytesIO(b"x" * 11), config={"mime_type": "jsonl"})
    assert "POST /upload/{version}/files" in sim.bill()["calls"]
    assert sim.emulator.gemini_files.uploads == {}


def test_full_storage_takes_no_more(start: Any) -> None:
    sim = start(gemini_max_stored_bytes=1_000)
    sim.gemini.files.upload(file=io.BytesIO(b"x" * 990), config={"mime_type": "jsonl"})
    with pytest.raises(errors.ClientError) as refused:
        sim.gemini.files.upload(file=io.BytesIO(b"x" * 11), config={"mime_type": "jsonl"})
    assert (refused.value.code, refused.value.status) == (429, "RESOURCE_EXHAUSTED")


def begin(sim: Any, size: int) -> str:
    headers = {
        "x-goog-upload-protocol": "resumable",
        "x-goog-upload-command": "start",
        "x-goog-upload-header-content-length": str(size),
    }
    url: str = sim.google("POST", "/upload/v1/files", headers=headers, json={"file": {}}).headers["x-goog-upload-url"]
    return url.removeprefix(sim.url)


def send(sim: Any, url: str, command: str, offset: int, content: bytes) -> Any:
    headers = {"x-goog-upload-command": command, "x-goog-upload-offset": str(offset)}
    return sim.call("POST", url, headers=headers, content=content)


def test_an_upload_comes_in_pieces_and_a_piece_may_come_again(sim: Any) -> None:
    url = begin(sim, 6)
    first = send(sim, url, "upload", 0, b"abc")
    send(sim, url, "upload", 3, b"defgh")
    assert (first.headers["x-goog-upload-status"], first.headers["x-goog-upload-size-received"]) == ("active", "3")
    send(sim, url, "upload", 0, b"abcd")
    last = send(sim, url, "upload, finalize", 4, b"ef")
    again = send(sim, url, "upload, finalize", 4, b"ef")
    assert last.headers["x-goog-upload-status"] == again.headers["x-goog-upload-status"] == "final"
    assert last.json() == again.json()
    assert base64.b64decode(last.json()["file"]["sha256Hash"]) == hashlib.sha256(b"abcdef").digest()
    assert len(list(sim.gemini.files.list())) == 1


@pytest.mark.parametrize(("command", "offset"), [("upload", 1), ("upload, finalize", 0)])
def test_a_piece_that_leaves_a_gap_is_refused(sim: Any, command: str, offset: int) -> None:
    url = begin(sim, 6)
    assert send(sim, url, command, offset, b"abc").status_code == 400
    assert list(sim.gemini.files.list()) == []


def test_a_state_directory_keeps_files_over_a_restart(start: Any, tmp_path: Any) -> None:
    name = upload(start(state_dir=tmp_path), [row("a")])
    again = start(state_dir=tmp_path)
    assert [file.name for file in again.gemini.files.list()] == [name]
    assert again.gemini.batches.create(model=FLASH, src=name).state.name == "JOB_STATE_PENDING"
