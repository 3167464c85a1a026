"""Lines are split on byte 0x0A only, whole, within bounds."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchline.providers.lines import BadLine, LineTooLong, decode_line, mend_surrogates, split_lines


class Row(msgspec.Struct):
    custom_id: str
    body: msgspec.Raw


ROW = msgspec.json.Decoder(Row)
MARK = b"\xef\xbb\xbf"


@given(st.sampled_from([b"", MARK]), st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_any_cutting_of_a_stream_gives_the_same_lines(mark: bytes, rest: bytes, cuts: list[int]) -> None:
    content = mark + rest
    places = [0, *sorted(c for c in cuts if c <= len(content)), len(content)]
    chunks = [content[a:b] for a, b in itertools.pairwise(places)]
    expected = content.removeprefix(MARK).split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    assert list(split_lines(chunks)) == expected


def test_a_byte_order_mark_before_the_first_line_is_none_of_it() -> None:
    row = b'{"custom_id":"a","body":{}}'
    (line,) = split_lines([MARK[:1], MARK[1:] + row])
    assert decode_line(line, ROW).custom_id == "a"


def test_a_mark_that_stands_elsewhere_stays() -> None:
    assert list(split_lines([b"a\n", MARK + b"b"])) == [b"a", MARK + b"b"]


def test_a_line_that_is_nested_too_deeply_is_a_bad_line() -> None:
    deep = b'{"custom_id":"a","body":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(BadLine, match="nested too deeply"):
        decode_line(deep, ROW)


@pytest.mark.parametrize("char", ["\u2028", "\u2029", "\u0085", "\r", "\x0b", "\x1c"])
def test_other_line_separators_do_not_split(char: str) -> None:
    line = f'{{"text":"a{char}b"}}'.encode()
    assert list(split_lines([line + b"\n" + line])) == [line, line]


def test_a_last_line_without_line_feed_is_a_line() -> None:
    assert list(split_lines([b"a\nb"])) == [b"a", b"b"]


def test_an_empty_stream_has_no_lines() -> None:
    assert list(split_lines([])) == []
    assert list(split_lines([b""])) == []


@pytest.mark.parametrize("chunks", [[b"12345\n"], [b"123", b"45\n"], [b"123", b"45"], [b"1\n12", b"34", b"5"]])
def test_a_line_over_the_bound_is_refused_before_it_is_held(chunks: list[bytes]) -> None:
    with pytest.raises(LineTooLong):
        list(split_lines(chunks, max_bytes=4))


def test_the_largest_embedding_there_is_fits_into_a_line() -> None:
    inputs, dimensions, digits = 2_048, 3_072, len("-0.0123456789012345,")
    line = [b"x" * (dimensions * digits + 100)] * inputs
    assert len(next(split_lines(line))) == inputs * (dimensions * digits + 100)


@pytest.mark.parametrize(
    "line",
    [
        b'{"custom_id":"a","body":{"text":"a secr',
        b'{"custom_id":"a","body":{}',
        b'{"custom_id":"a"}',
        b'{"custom_id":1,"body":{}}',
        b'{"custom_id":"a","body":"\xff"}',
        b'{"custom_id":"a","body":NaN}',
        b"[]",
        b"",
    ],
)
def test_a_line_that_is_not_as_promised_is_bad_and_is_not_quoted(line: bytes) -> None:
    with pytest.raises(BadLine) as caught:
        decode_line(line, ROW)
    assert "secr" not in str(caught.value)


def test_half_a_surrogate_pair_becomes_the_replacement_character() -> None:
    line = rb'{"custom_id":"a","body":"x\ud83d\ude00 \ud83d \\ud83d \udE00"}'
    row = decode_line(line, ROW)
    assert msgspec.json.decode(row.body) == "x\U0001f600 \ufffd \\ud83d \ufffd"


def test_mending_leaves_whole_text_alone() -> None:
    line = rb'"\\ud83d \uD83D\uDE00 \u00e9 \\"'
    assert mend_surrogates(line) == line
