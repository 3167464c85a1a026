"""A custom_id says which attempt, lane, entry and request a row belongs to."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchline import custom_ids

LANE = "openai:chat:gpt-5-mini"
LARGEST = 2**64 - 1
NONCE = "abcdefghi7"
U64 = st.integers(0, LARGEST)


def test_the_form_is_stable() -> None:
    # Rows of an older release are still at the provider when a newer one reads their results.
    made = custom_ids.make(NONCE, LANE, "1763820000000-12", "request-123")
    assert made == "abcdefghi7_a33b40e5_19aabdd5300-c_78483dc2"


@given(
    nonce=st.integers().map(lambda seed: custom_ids.new_nonce(random.Random(seed))),
    lane=st.text(),
    ms=U64,
    seq=U64,
    request=st.text(),
)
def test_what_was_made_is_parsed_to_the_same(nonce: str, lane: str, ms: int, seq: int, request: str) -> None:
    made = custom_ids.make(nonce, lane, f"{ms}-{seq}", request)
    parsed = custom_ids.parse(made)
    assert parsed is not None
    assert (parsed.nonce, parsed.entry_id) == (nonce, f"{ms}-{seq}")
    assert custom_ids.matches(parsed, lane, request)


def test_the_largest_entry_id_fits_the_providers_limit() -> None:
    made = custom_ids.make(NONCE, LANE, f"{LARGEST}-{LARGEST}", "r" * 256)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", made)


def test_another_request_or_lane_does_not_match() -> None:
    parsed = custom_ids.parse(custom_ids.make(NONCE, LANE, "1-1", "a"))
    assert parsed is not None
    assert not custom_ids.matches(parsed, LANE, "b")
    assert not custom_ids.matches(parsed, LANE + "-x", "a")


def test_half_a_surrogate_pair_in_an_id_is_no_crash() -> None:
    assert custom_ids.parse(custom_ids.make(NONCE, LANE, "1-1", "\ud800"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "request-1",
        "abcdefghi7_a33b40e5_19aabdd5300-c",
        "abcdefghi7_a33b40e5_19aabdd5300-c_78483dc2\n",
        "abcdefghi7_a33b40e5_019aabdd5300-c_78483dc2",
        "abcdefghi7_A33B40E5_19aabdd5300-c_78483dc2",
        "abcdefghi1_a33b40e5_19aabdd5300-c_78483dc2",
        "abcdefghi7_a33b40e5_1ffffffffffffffff-c_78483dc2",
        "abcdefghi7_a33b40e5_\u0661-c_78483dc2",
    ],
)
def test_what_is_not_ours_is_none(text: str) -> None:
    assert custom_ids.parse(text) is None


@given(st.text(alphabet="abcdef01234567_-", max_size=64))
def test_only_what_make_writes_is_parsed(text: str) -> None:
    parsed = custom_ids.parse(text)
    if parsed is not None:
        ms, seq = (int(part) for part in parsed.entry_id.split("-"))
        assert text == f"{parsed.nonce}_{parsed.lane_hash}_{ms:x}-{seq:x}_{parsed.check}"


def test_nonces_come_from_the_given_dice() -> None:
    assert custom_ids.new_nonce(random.Random(1)) == custom_ids.new_nonce(random.Random(1))
    assert len({custom_ids.new_nonce(random.Random(seed)) for seed in range(1000)}) == 1000
