"""No answer holds a call for ever, however little of it comes at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import httpx2
import pytest

from batchline.providers.transport import ANSWER_S, PACE_BYTES, Line


class Watch:
    """A clock that a test moves on, in seconds."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Drip(httpx2.SyncByteStream):
    """A body of so many pieces, with so many seconds before each of them."""

    def __init__(self, watch: Watch, piece: bytes, waits_s: Sequence[float]) -> None:
        self._watch = watch
        self._piece = piece
        self._waits_s = waits_s

    def __iter__(self) -> Iterator[bytes]:
        for wait_s in self._waits_s:
            self._watch.now_s += wait_s
            yield self._piece


def line_to(watch: Watch, piece: bytes, waits_s: Sequence[float], *, read_s: float = 60.0) -> Line:
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, stream=Drip(watch, piece, waits_s)))
    line = Line(transport=transport, timeout=read_s)
    line.clock = watch
    return line


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_an_answer_that_trickles_in_is_over_in_its_time(watch: Watch) -> None:
    with line_to(watch, b" ", [1.0] * 1_000) as line, pytest.raises(httpx2.ReadTimeout):
        line.get("http://provider/v1/batches/b")
    assert ANSWER_S < watch.now_s < ANSWER_S + 10


def test_an_answer_that_may_take_longer_is_waited_for(watch: Watch) -> None:
    with line_to(watch, b" ", [5.0] * 100, read_s=600) as line:
        assert len(line.post("http://provider/v1/chat/completions").content) == 100


def test_a_file_that_trickles_in_is_over(watch: Watch) -> None:
    with (
        line_to(watch, b" ", [1.0] * 1_000) as line,
        line.stream("GET", "http://provider/v1/files/f/content") as response,
        pytest.raises(httpx2.ReadTimeout),
    ):
        list(response.iter_bytes())
    assert 60 < watch.now_s < 70


def test_a_file_that_comes_at_a_fair_pace_is_read_to_its_end(watch: Watch) -> None:
    with (
        line_to(watch, bytes(PACE_BYTES), [50.0] * 100) as line,
        line.stream("GET", "http://provider/v1/files/f/content") as response,
    ):
        assert sum(map(len, response.iter_bytes())) == 100 * PACE_BYTES


def test_a_slow_reader_is_no_slow_provider(watch: Watch) -> None:
    with (
        line_to(watch, b"x", [1.0] * 10) as line,
        line.stream("GET", "http://provider/v1/files/f/content") as response,
    ):
        for _ in response.iter_bytes():
            watch.now_s += 600
    assert watch.now_s == 6_010
