"""Quotas: what they refuse, in the providers' words, and what the bill tells of them."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest

from batchline.emulator import Options
from batchline.emulator.__main__ import _options, _parser
from batchline.emulator.quotas import Quotas, limit_of


def quota(sim: Any, provider: str, name: str) -> tuple[int | None, int, int]:
    found = sim.bill()["quotas"][provider][name]
    return found["limit"], found["peak"], found["refused"]


def refusal(sim: Any, batch_id: str) -> Any:
    batch = sim.openai.batches.retrieve(batch_id)
    assert batch.status == "failed"
    (problem,) = batch.errors.data
    return problem


def test_a_pattern_gives_each_model_the_whole_limit_and_the_bill_shows_the_peak(start: Any, chat: Any) -> None:
    sim = start(enqueued_token_limits={"gpt-5*": 2_000}, latency_s=10)
    for model in ("gpt-5-mini", "gpt-5-nano"):
        sim.submit([chat("x" * 4_000, model=model), chat("y" * 3_600, model=model)])
        sim.pass_time(1)
    over = sim.submit([chat("z" * 404)])
    sim.pass_time(1)
    assert refusal(sim, over).message == (
        "Enqueued token limit reached for gpt-5-mini in organization org-emulator. Limit: 2,000 enqueued tokens. "
        "Please try again once some in_progress batches have been completed."
    )
    assert quota(sim, "openai", "gpt-5-mini") == (2_000, 1_900, 1)
    assert quota(sim, "openai", "gpt-5-nano") == (2_000, 1_900, 0)


def test_a_batch_of_exactly_what_is_left_is_admitted(start: Any, chat: Any) -> None:
    sim = start(enqueued_token_limits={"gpt-5-mini": 2_000}, latency_s=10)
    ids = [sim.submit([chat("x" * size)]) for size in (7_000, 1_000)]
    sim.pass_time(10)
    assert {sim.openai.batches.retrieve(batch).status for batch in ids} == {"completed"}
    assert quota(sim, "openai", "gpt-5-mini") == (2_000, 2_000, 0)


def test_a_batch_counts_from_its_validation_until_its_end(start: Any, chat: Any) -> None:
    sim = start(enqueued_token_limits={"*": 1_000}, validation_delay_s=2, latency_s=10)
    batches = [sim.submit([chat(letter * 4_000)]) for letter in "ab"]  # both created before either is validated
    sim.pass_time(9)
    assert [sim.openai.batches.retrieve(batch).status for batch in batches] == ["in_progress", "failed"]
    third = sim.submit([chat("c" * 4_000)])
    sim.pass_time(2)  # the first has ended at 10 s
    assert sim.openai.batches.retrieve(third).status == "in_progress"
    assert quota(sim, "openai", "gpt-5-mini") == (1_000, 1_000, 1)


def test_a_refused_batch_takes_no_room_from_those_validated_with_it(start: Any, chat: Any) -> None:
    sim = start(enqueued_token_limits={"*": 1_000}, latency_s=10)
    batches = [sim.submit([chat(letter * size)]) for letter, size in (("a", 3_000), ("b", 2_000), ("c", 1_000))]
    sim.pass_time(1)
    assert [sim.openai.batches.retrieve(batch).status for batch in batches] == ["in_progress", "failed", "in_progress"]
    assert quota(sim, "openai", "gpt-5-mini") == (1_000, 1_000, 1)


def test_a_cancelled_batch_counts_until_it_is_cancelled(start: Any, chat: Any) -> None:
    sim = start(enqueued_token_limits={"*": 1_000}, cancel_delay_s=5, latency_s=60)
    first = sim.submit([chat("a" * 4_000)])
    sim.pass_time(1)
    sim.openai.batches.cancel(first)
    refused = sim.submit([chat("b" * 4_000)])
    sim.pass_time(1)
    assert refusal(sim, refused).code == "token_limit_exceeded"
    sim.pass_time(4)
    admitted = sim.submit([chat("b" * 4_000)])
    sim.pass_time(1)
    assert sim.openai.batches.retrieve(admitted).status == "in_progress"


def test_the_file_of_a_refused_batch_can_be_used_again(start: Any, chat: Any) -> None:
    sim = start(enqueued_token_limits={"*": 1_000})
    first, second = (sim.submit([chat(letter * 4_000)]) for letter in "ab")
    sim.pass_time(10)
    file_id = sim.openai.batches.retrieve(second).input_file_id
    again = sim.openai.batches.create(completion_window="24h", endpoint="/v1/chat/completions", input_file_id=file_id)
    sim.pass_time(10)
    assert {sim.openai.batches.retrieve(batch).status for batch in (first, again.id)} == {"completed"}


def test_a_model_that_no_limit_names_is_not_limited_but_its_peak_is_known(start: Any, chat: Any) -> None:
    sim = start(enqueued_token_limits={"gpt-5*": 1})
    assert sim.run([chat("x" * 400, model="gpt-6-luna")]).status == "completed"
    assert quota(sim, "openai", "gpt-6-luna") == (None, 100, 0)


def test_text_can_be_denser_than_a_worker_thinks(start: Any, chat: Any) -> None:
    sim = start(enqueued_token_limits={"*": 10_000}, bytes_per_token=2.5)
    batch = sim.run([chat("x" * 4_000)])
    assert batch.usage.input_tokens == 1_600
    assert quota(sim, "openai", "gpt-5-mini") == (10_000, 1_600, 0)


def test_the_creates_per_hour_are_a_429_that_the_bill_counts(start: Any, chat: Any) -> None:
    sim = start(creates_per_hour=2)
    for letter in "ab":
        sim.submit([chat(letter)])
    with pytest.raises(openai.RateLimitError) as refused:
        sim.submit([chat("c")])
    assert refused.value.code == "rate_limit_exceeded"
    assert quota(sim, "openai", "creates_per_hour") == (2, 2, 1)
    sim.pass_time(3_601)
    sim.submit([chat("c")])


def test_the_queue_is_shared_over_models_and_its_peak_and_refusals_are_known(start: Any, message: Any) -> None:
    sim = start(queued_requests_limit=3)
    batches = sim.anthropic.messages.batches
    batches.create(requests=[message("a", "a"), message("b", "b", model="claude-opus-5-5")])
    with pytest.raises(anthropic.RateLimitError) as refused:
        batches.create(requests=[message("c", "c"), message("d", "d", model="claude-sonnet-4-6")])
    assert refused.value.response.headers["retry-after"] == "1"
    assert refused.value.type == "rate_limit_error"
    batches.create(requests=[message("c", "c")])
    assert quota(sim, "anthropic", "requests") == (3, 3, 1)


def test_the_own_limit_of_a_model_goes_before_every_pattern() -> None:
    limits = {"gpt-*": 1, "gpt-5*": 2, "gpt-5-mini": 3}
    assert [limit_of(limits, model) for model in ("gpt-5-mini", "gpt-5-nano", "o3")] == [3, 1, None]


def test_a_refused_use_does_not_raise_the_peak() -> None:
    quotas = Quotas()
    assert [quotas.admit("p", "m", "tokens", used, 10) for used in (4, 11, 10)] == [True, False, True]
    assert quotas.report() == {"p": {"m": {"unit": "tokens", "limit": 10, "peak": 10, "refused": 1}}}


def test_quotas_are_set_from_the_command_line() -> None:
    arguments = ["--enqueued-tokens", "gpt-*=2000000", "--enqueued-tokens", "o3=5"]
    arguments += ["--queued-requests", "7", "--creates-per-hour", "9"]
    assert _options(_parser("emulator").parse_args(arguments)) == Options(
        enqueued_token_limits={"gpt-*": 2_000_000, "o3": 5}, queued_requests_limit=7, creates_per_hour=9
    )
