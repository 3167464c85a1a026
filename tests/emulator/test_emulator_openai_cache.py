"""OpenAI's prompt cache: a prompt hits what the one before it in the file left, so that order is seen."""

from __future__ import annotations

from typing import Any

import pytest

from batchline.emulator.openai_cache import shared_prefix

RESPONSES = "/v1/responses"
RULES = {name: f"{name} rules. " * 500 for name in ("first", "other")}  # over 1,024 tokens each


def line(number: int, rules: str, url: str = "/v1/chat/completions", **more: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": rules}, {"role": "user", "content": f"question {number}"}]
    body = {"model": "gpt-5-mini", "messages" if url != RESPONSES else "input": messages, **more}
    return {"custom_id": f"q{number:03}", "method": "POST", "url": url, "body": body}


def cached(sim: Any, lines: list[Any], url: str = "/v1/chat/completions") -> list[int]:
    """Return the cached tokens of each answer in the requests' order; the batch's own usage is their sum."""
    batch = sim.run(lines, url)
    rows = sorted(sim.lines(batch.output_file_id), key=lambda row: row["custom_id"])
    usages = [row["response"]["body"]["usage"] for row in rows]
    details = [usage.get("prompt_tokens_details") or usage["input_tokens_details"] for usage in usages]
    found = [int(detail["cached_tokens"]) for detail in details]
    assert batch.usage.input_tokens_details.cached_tokens == sum(found)
    return found


@pytest.mark.parametrize("url", ["/v1/chat/completions", RESPONSES])
def test_requests_in_the_order_of_their_prefix_hit_and_others_do_not(start: Any, url: str) -> None:
    sim = start(prompt_cache=True)
    apart = [line(n, RULES["first" if n % 2 else "other"], url) for n in range(6)]
    assert cached(sim, apart, url) == [0] * 6
    grouped = [line(n, RULES["first" if n < 3 else "other"], url) for n in range(6)]
    tokens = len(RULES["first"]) // 4 // 128 * 128
    assert cached(sim, grouped, url) == [0, tokens, tokens] * 2


def test_a_key_keeps_groups_apart_that_are_not_in_order(start: Any) -> None:
    sim = start(prompt_cache=True)
    names = ["first", "other"] * 3
    hits = cached(sim, [line(n, RULES[name], prompt_cache_key=name) for n, name in enumerate(names)])
    assert [hit > 0 for hit in hits] == [False, False, True, True, True, True]


def test_another_key_does_not_hit(start: Any) -> None:
    sim = start(prompt_cache=True)
    assert cached(sim, [line(n, RULES["first"], prompt_cache_key=str(n)) for n in range(2)]) == [0, 0]


def test_a_prefix_under_1_024_tokens_does_not_hit(start: Any) -> None:
    sim = start(prompt_cache=True)
    short = "x" * 4_000
    assert cached(sim, [line(n, short) for n in range(2)]) == [0, 0]
    assert cached(sim, [line(n, short + "x" * 200) for n in range(2)]) == [0, 1_024]


def test_the_real_length_of_the_shared_prefix_counts_in_steps_of_128(start: Any) -> None:
    sim = start(prompt_cache=True)
    lines = [line(n, "x" * 6_000 + str(n) * 6_000) for n in range(2)]
    assert cached(sim, lines) == [0, 1_500 // 128 * 128]


def test_the_bill_knows_what_was_cached(start: Any) -> None:
    sim = start(prompt_cache=True)
    hits = cached(sim, [line(n, RULES["first"]) for n in range(3)])
    (row,) = sim.bill()["models"]
    assert row["cached_tokens"] == sum(hits) > 0
    fresh = row["input_tokens"] - row["cached_tokens"]
    # gpt-5-mini, nano-dollars a token: 250 in, 25 cached, 2,000 out.
    assert row["list_nano_usd"] == fresh * 250 + row["cached_tokens"] * 25 + row["output_tokens"] * 2_000


def test_every_batch_begins_cold_and_nothing_is_cached_unless_asked_for(start: Any) -> None:
    sim = start(prompt_cache=True)
    for _ in range(2):
        assert cached(sim, [line(0, RULES["first"])]) == [0]
    assert cached(start(), [line(n, RULES["first"]) for n in range(2)]) == [0, 0]


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [(b"", b"", 0), (b"", b"a", 0), (b"abc", b"abd", 2), (b"abc", b"abc", 3), (b"abc", b"xbc", 0), (b"ab", b"abc", 2)],
)
def test_a_shared_prefix_is_measured(one: bytes, other: bytes, shared: int) -> None:
    assert shared_prefix(one, other) == shared_prefix(other, one) == shared
