"""Request bodies are decoded strictly and written again on one line."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchline.bodies import MAX_DEPTH, check_body, check_metadata
from batchline.errors import InvalidRequest

LIMIT = 8 * 2**20


def clean(raw: bytes, *, model: str | None = None, max_bytes: int = LIMIT) -> bytes:
    return check_body(raw, model=model, max_bytes=max_bytes)


def refusal(raw: bytes, *, model: str | None = None, max_bytes: int = LIMIT) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        clean(raw, model=model, max_bytes=max_bytes)
    return caught.value


def nested(levels: int, opening: bytes, closing: bytes) -> bytes:
    """Return a body with so many levels in all, its own object the first."""
    return b'{"x":' + opening * (levels - 1) + b"1" + closing * (levels - 1) + b"}"


def test_a_pretty_printed_body_becomes_one_line() -> None:
    pretty = json.dumps({"model": "m", "messages": [{"role": "user", "content": "a\nb"}]}, indent=2).encode()
    assert clean(pretty) == b'{"model":"m","messages":[{"role":"user","content":"a\\nb"}]}'


def test_line_separators_inside_a_string_stay_as_they_are() -> None:
    raw = '{"a":"x\u2028y\u0085z"}'.encode()
    assert clean(raw) == raw


def test_a_clean_body_comes_back_byte_for_byte() -> None:
    raw = '{"b":1,"a":[true,null,1.5,-7],"c":{"ü":"日本 😀"}}'.encode()
    assert clean(raw) == raw


def test_of_a_key_that_stands_twice_the_last_value_is_sent() -> None:
    assert clean(b'{"a":1,"\\u0061":2}') == b'{"a":2}'


def test_a_model_that_is_written_twice_is_checked_as_it_will_be_sent() -> None:
    assert clean(b'{"model":"x","model":"m"}', model="m") == b'{"model":"m"}'
    assert "'x'" in str(refusal(b'{"model":"m","model":"x"}', model="m"))


def test_huge_integers_are_kept() -> None:
    raw = b'{"seed":123456789012345678901234567890}'
    assert clean(raw) == raw


def test_a_body_over_the_limit_is_too_large() -> None:
    raw = b'{"a":"' + b"x" * 100 + b'"}'
    assert clean(raw, max_bytes=len(raw)) == raw
    assert refusal(raw, max_bytes=len(raw) - 1).code == "too_large"


def test_a_body_that_grows_over_the_limit_when_it_is_written_again_is_too_large() -> None:
    raw = b'{"a":[' + b",".join([b"1e15"] * 20) + b"]}"
    assert refusal(raw, max_bytes=len(raw)).code == "too_large"


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b'{"a":1', "not JSON"),
        (b'{"a":1}}', "not JSON"),
        (b'{"a":1} {"b":2}', "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b'{"a":"x\ny"}', "not JSON"),
        (b'{"a":01}', "not JSON"),
        (b"[]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
        (b'{"a":"\xc0\xaf"}', "not UTF-8"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":Infinity}', "Infinity"),
        (b'{"a":-Infinity}', "-Infinity"),
        (b'{"a":1e999}', "range of a double"),
        (b'{"a":[-1e999]}', "range of a double"),
        (b'{"a":1.8e308}', "range of a double"),
        (b'{"a":' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"a":"\\ud800"}', "surrogate"),
        (b'{"a":"\\udc00"}', "surrogate"),
        (b'{"a":"\\ud800\\u0041"}', "surrogate"),
        (b'{"\\ud800":1}', "surrogate"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_its_reason(raw: bytes, says: str) -> None:
    error = refusal(raw)
    assert error.code == "invalid_request"
    assert says in str(error)


def test_a_body_as_deep_as_the_bound_is_sent() -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        raw = nested(MAX_DEPTH, opening, closing)
        assert clean(raw) == raw


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 900, 990, 1_010, 100_000, 1_000_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_a_deeper_body_is_refused_whatever_its_depth(levels: int, opening: bytes, closing: bytes) -> None:
    assert f"deeper than {MAX_DEPTH} levels" in str(refusal(nested(levels, opening, closing)))


def test_a_deep_body_with_no_end_is_refused() -> None:
    for levels in (900, 100_000):
        assert refusal(b'{"a":' * levels).code == "invalid_request"


def test_depth_is_bounded_alike_deep_in_the_callers_stack() -> None:
    def down(frames: int) -> None:
        if frames:
            return down(frames - 1)
        assert clean(nested(MAX_DEPTH, b"[", b"]"))
        assert "deeper" in str(refusal(nested(MAX_DEPTH + 1, b"[", b"]")))
        return None

    down(sys.getrecursionlimit() // 2)


def test_brackets_inside_strings_are_no_levels() -> None:
    raw = json.dumps({"a": "[{" * 5000}, separators=(",", ":")).encode()
    assert clean(raw) == raw


def test_a_missing_model_is_refused_and_the_lanes_named() -> None:
    assert "'gpt-5-mini'" in str(refusal(b'{"a":1}', model="gpt-5-mini"))
    assert "'gpt-5-mini'" in str(refusal(b'{"model":null}', model="gpt-5-mini"))
    assert "'gpt-5-mini'" in str(refusal(b'{"model":5}', model="gpt-5-mini"))


def test_another_lanes_model_is_refused_and_both_named() -> None:
    message = str(refusal(b'{"model":"gpt-4o"}', model="gpt-5-mini"))
    assert "'gpt-4o'" in message
    assert "'gpt-5-mini'" in message


def test_a_lane_whose_bodies_carry_no_model_takes_any() -> None:
    assert clean(b'{"contents":[]}') == b'{"contents":[]}'


def test_a_body_that_names_the_model_where_none_do_is_sent_without() -> None:
    for named in (b"gemini-x", b"models/gemini-x"):
        raw = b'{"model":"' + named + b'","contents":[]}'
        assert check_body(raw, model="gemini-x", max_bytes=99, names_model=False) == b'{"contents":[]}'


def test_another_model_is_refused_where_bodies_name_none() -> None:
    with pytest.raises(InvalidRequest, match="'gemini-y'"):
        check_body(b'{"model":"gemini-y"}', model="gemini-x", max_bytes=99, names_model=False)


def test_a_check_sees_the_decoded_body_and_may_refuse_it() -> None:
    def check(body: dict[str, Any]) -> None:
        if body["a"] == [1]:
            raise InvalidRequest("not a one")

    with pytest.raises(InvalidRequest, match="not a one"):
        check_body(b'{"a":[1]}', model=None, max_bytes=99, check=check)
    assert check_body(b'{"a":[2]}', model=None, max_bytes=99, check=check) == b'{"a":[2]}'


def test_a_stream_is_refused() -> None:
    assert "stream" in str(refusal(b'{"model":"m","stream":true}', model="m"))


def test_no_stream_is_kept() -> None:
    assert clean(b'{"model":"m","stream":false}', model="m") == b'{"model":"m","stream":false}'


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":"SECRET',
        b'{"a":"SECRET\\ud800"}',
        b'{"SECRET":NaN}',
        b'{"a":"SECRET\xff"}',
        b'["SECRET"]',
        b'{"SECRET":1e999}',
    ],
)
def test_no_message_quotes_the_body(raw: bytes) -> None:
    assert "SECRET" not in str(refusal(raw))


def test_metadata_is_an_object_on_one_line() -> None:
    assert check_metadata(b'{ "a" : 1 }') == b'{"a":1}'
    with pytest.raises(InvalidRequest, match="metadata is not a JSON object"):
        check_metadata(b"[1]")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(max_examples=50, deadline=None)
@given(body=st.dictionaries(st.text(max_size=8), JSON), ascii_only=st.booleans(), indent=st.sampled_from([None, 2]))
def test_any_object_is_sent_with_its_value_unchanged_and_a_second_check_changes_nothing(
    body: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    body.pop("stream", None)
    try:
        raw = json.dumps(body, ensure_ascii=ascii_only, indent=indent).encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return
    try:
        once = clean(raw)
    except InvalidRequest as exc:
        assert "surrogate" in str(exc)  # noqa: PT017 - the only reason that such a body may have
        return
    assert json.loads(once) == body
    assert b"\n" not in once
    assert clean(once) == once


@given(raw=st.binary(max_size=60) | st.text(alphabet='{}[]",:\\ud8dcNaI0123.eE- \n', max_size=40).map(str.encode))
def test_any_bytes_are_either_clean_json_or_refused(raw: bytes) -> None:
    try:
        once = clean(raw)
    except InvalidRequest:
        return
    assert isinstance(json.loads(once), dict)
    assert clean(once) == once
