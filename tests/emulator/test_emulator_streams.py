"""The two incremental parsers: multipart uploads and the list inside a create call."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchline.emulator import split
from batchline.emulator.multipart import Form, MultipartError, receive_form

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
QUIET = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


@QUIET
@given(values=st.lists(JSON, max_size=6), indent=st.sampled_from([None, 1]), size=st.integers(1, 40))
def test_the_elements_of_a_list_come_out_whatever_the_read_size(
    monkeypatch: pytest.MonkeyPatch, values: list[Any], indent: int | None, size: int
) -> None:
    monkeypatch.setattr(split, "READ_BYTES", size)
    body = json.dumps({"requests": values}, indent=indent, ensure_ascii=False).encode(errors="surrogatepass")
    found = [json.loads(raw.decode(errors="surrogatepass")) for raw in split.elements(io.BytesIO(body), "requests")]
    assert found == values


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"requests":', b'{"requests":[1', b'{"requests":["a', b'{"requests":[1,]}', b'{"requests":1}'],
)
def test_a_broken_outside_is_refused(body: bytes) -> None:
    with pytest.raises(split.SplitError):
        list(split.elements(io.BytesIO(body), "requests"))


@pytest.mark.parametrize("body", [b'{"requests":[]}x', b'{"requests":[],"requests":[]}', b'{"requests":[],}'])
def test_what_follows_the_list_is_checked_too(body: bytes) -> None:
    with pytest.raises(split.SplitError):
        list(split.elements(io.BytesIO(body), "requests"))


def test_another_key_is_named() -> None:
    with pytest.raises(split.UnknownKeyError) as refused:
        list(split.elements(io.BytesIO(b'{"other":[]}'), "requests"))
    assert refused.value.key == "other"


def receive(body: bytes, path: Path, size: int, boundary: str = "bnd", limit: int = 10_000) -> Form:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    return asyncio.run(receive_form(chunks(), f"multipart/form-data; boundary={boundary}", path, limit))


def form_of(content: bytes) -> bytes:
    head = b'--bnd\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--bnd\r\n'
    part = b'Content-Disposition: form-data; name="file"; filename="a b.jsonl"\r\nContent-Type: text/plain\r\n\r\n'
    return head + part + content + b"\r\n--bnd--\r\n"


@QUIET
@given(
    content=st.binary(max_size=60) | st.sampled_from([b"", b"\r\n", b"\r\n--bn", b"\r\n--bnX", b"--bnd", b"\r\n\r\n"]),
    size=st.integers(1, 50),
)
def test_a_form_comes_out_whatever_the_chunks(tmp_path: Path, content: bytes, size: int) -> None:
    path = tmp_path / "spool"
    form = receive(form_of(content), path, size)
    assert path.read_bytes() == content
    assert (form.fields, form.filename, form.size) == ({"purpose": "batch"}, "a b.jsonl", len(content))


def test_a_file_beyond_the_limit_is_counted_and_not_written(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    form = receive(form_of(b"x" * 5_000), path, 100, limit=1_000)
    assert form.size == 5_000
    assert path.stat().st_size <= 1_000


@pytest.mark.parametrize("body", [b"", b"--bnd\r\n", form_of(b"x")[:-6], b"--bnd\r\nX: y\r\n\r\nz\r\n--bnd--"])
def test_a_form_that_breaks_off_is_refused(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(MultipartError):
        receive(body, tmp_path / "spool", 7)
