"""The second bill: what was executed and what it costs."""

from __future__ import annotations

from typing import Any

import pytest

from batchline.emulator.bill import Tally, Usage
from batchline.emulator.prices import PRICES, cost_nano, half_even


@pytest.mark.parametrize(("pico", "nano"), [(0, 0), (499, 0), (500, 0), (501, 1), (1_500, 2), (2_500, 2), (2_501, 3)])
def test_money_is_rounded_half_to_even(pico: int, nano: int) -> None:
    assert half_even(pico) == nano


def test_a_request_is_priced_by_hand() -> None:
    # gpt-5-mini, USD per million tokens: 0.25 in, 0.025 cached, 2 out; batch half of each (6,262.5 is rounded).
    assert cost_nano("gpt-5-mini", 1_001, 501, 10) == (500 * 250 + 501 * 25 + 10 * 2_000, 62_500 + 6_262 + 10_000)
    assert cost_nano("text-embedding-3-small", 7, 0, 0) == (140, 70)
    assert cost_nano("claude-haiku-4-5", 3, 1, 1) == (2 * 1_000 + 100 + 5_000, 3_550)


def test_batch_is_half_price_wherever_the_provider_says_so() -> None:
    full_price_cache = {"gpt-4o-mini", *(model for model in PRICES if model.startswith("gemini-"))} - {
        *("gemini-3.8-flash", "gemini-embedding-2")
    }
    for model, price in PRICES.items():
        assert (price.batch_input * 2, price.batch_output * 2) == (price.input, price.output), model
        assert (price.batch_cached * 2 == price.cached) is (model not in full_price_cache), model


def test_a_prompt_in_a_price_tier_that_is_not_in_the_table_has_no_price() -> None:
    assert cost_nano("gpt-6-luna", 272_000, 0, 0) is not None
    assert cost_nano("gpt-6-luna", 272_001, 0, 0) is None


def test_an_unknown_model_is_counted_as_unpriced() -> None:
    tally = Tally()
    tally.succeed("no-such-model", "ab" * 32, Usage(1, 0, 1))
    assert (tally.unpriced, tally.list_nano_usd, tally.succeeded) == (1, 0, 1)


def test_the_bill_has_one_row_per_provider_model_and_route(sim: Any, chat: Any, message: Any) -> None:
    sim.run([chat("a" * 4_000), chat("[[reject]]"), chat("[[expire]]")])
    sim.run_messages([message("b" * 4_000, "b")])
    sim.openai.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": "c" * 4_000}])
    bill = sim.bill()
    rows = {(row["provider"], row["route"]): row for row in bill["models"]}
    batch = rows["openai", "batch"]
    assert (batch["executed"], batch["succeeded"], batch["input_tokens"], batch["output_tokens"]) == (2, 1, 1_000, 18)
    assert (batch["list_nano_usd"], batch["batch_nano_usd"]) == (250_000 + 36_000, 125_000 + 18_000)
    assert batch["paid_nano_usd"] == batch["batch_nano_usd"]
    realtime = rows["openai", "realtime"]
    assert realtime["paid_nano_usd"] == realtime["list_nano_usd"] == batch["list_nano_usd"]
    assert rows["anthropic", "batch"]["paid_nano_usd"] == 500_000 + 18 * 2_500
    assert bill["batches_created"] == {"openai": 1, "anthropic": 1}
    assert bill["calls"]["POST /v1/batches"] == 1


def test_a_batch_is_billed_when_it_ends_and_not_before(start: Any, chat: Any) -> None:
    sim = start(latency_s=20)
    sim.submit([chat("a")])
    sim.pass_time(19)
    assert sim.bill()["models"] == []
    sim.pass_time(1)
    assert len(sim.bill()["models"]) == 1


def test_double_executions_are_counted_per_model_and_message(sim: Any, chat: Any) -> None:
    sim.run([chat("a"), chat("b")])
    assert sim.bill()["double_executions"] == 0
    sim.run([chat("a", model="gpt-5.4-mini")])
    assert sim.bill()["double_executions"] == 0
    sim.run([chat("a")])
    bill = sim.bill()
    assert bill["double_executions"] == 1
    assert bill["doubles"][0]["executions"] == 2
    assert bill["doubles"][0]["sha256_prefix"] == "ca978112ca1bbdca"


def test_refused_batches_count_as_created_but_cost_nothing(sim: Any, chat: Any) -> None:
    bad = chat("a")
    bad["url"] = "/v1/responses"
    sim.run([bad])
    assert (sim.bill()["batches_created"], sim.bill()["models"]) == ({"openai": 1}, [])


def test_each_message_was_paid_once_when_charges_equal_messages(sim: Any, chat: Any, message: Any) -> None:
    sim.run([chat("a"), chat("b"), chat("[[fail]]")])
    sim.run_messages([message("a", "a")])
    bill = sim.bill()
    assert bill["executions"] == {"openai": 3, "anthropic": 1}
    assert bill["charges"] == bill["messages"] == {"openai": 2, "anthropic": 1}
    assert (bill["double_executions"], bill["doubles"]) == (0, [])


def test_a_message_paid_three_times_is_named_with_its_number(sim: Any, chat: Any) -> None:
    for custom_id in ("n1-x", "n2-x", "n3-x"):
        sim.run([chat("a", custom_id)])
    bill = sim.bill()
    assert (bill["charges"], bill["messages"], bill["double_executions"]) == ({"openai": 3}, {"openai": 1}, 2)
    assert bill["doubles"] == [
        {"provider": "openai", "model": "gpt-5-mini", "sha256_prefix": "ca978112ca1bbdca", "executions": 3}
    ]
