"""Prices of the settings reach replies and ledger; what has no known price is counted; what the cache saved is in the reply."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from batchline.requests import usd
from batchline.settings.prices import PriceOverride

CHAT = "openai:chat:gpt-5-mini"


def own(match: str, **more: Any) -> PriceOverride:
    return PriceOverride(match=match, input=Decimal(3), output=Decimal(4), **more)


def answered(bench: Any, lane: str = CHAT, text: str = "hello") -> Any:
    request_id = bench.ask(text, lane)
    bench.drain()
    return bench.reply(request_id, lane)


def test_a_price_of_the_settings_takes_the_place_of_the_known_one(bench: Any) -> None:
    bench.settings = bench.settings.model_copy(update={"prices": (own("claude-*"), own("openai:gpt-5*"))})
    reply = answered(bench)
    nano = reply.usage.input_tokens * 3_000 + reply.usage.output_tokens * 4_000
    assert (reply.cost.list_usd, reply.cost.paid_usd) == (usd(nano), usd(nano // 2))
    assert bench.ledger()["list_nano:batch"] == nano


def test_a_price_of_another_account_is_not_taken(bench: Any) -> None:
    bench.settings = bench.settings.model_copy(update={"prices": (own("*", account="anthropic"),)})
    reply = answered(bench)
    nano = reply.usage.input_tokens * 250 + reply.usage.output_tokens * 2_000
    assert reply.cost.list_usd == usd(nano)


def test_a_price_of_the_settings_is_not_cut_by_the_librarys_batch_rate_but_by_the_accounts_discount(bench: Any) -> None:
    bench.settings = bench.settings.model_copy(update={"prices": (own("*"),)})
    bench.set("account", discount=Decimal("0.25"))
    reply = answered(bench)
    nano = reply.usage.input_tokens * 3_000 + reply.usage.output_tokens * 4_000
    assert reply.cost.paid_usd == usd(nano * 3 // 4)


def test_a_model_without_a_batch_price_is_answered_without_a_cost_and_counted(bench: Any) -> None:
    lane = "openai:chat:gpt-4o-search-preview"
    reply = answered(bench, lane)
    assert (reply.status, reply.cost) == ("succeeded", None)
    ledger = bench.ledger(lane)
    assert (ledger["unpriced"], ledger.get("list_nano:batch", 0), ledger.get("paid_nano:batch", 0)) == (1, 0, 0)


def test_what_the_cache_saved_stands_in_the_reply(bench: Any) -> None:
    reply = answered(bench, text="a longer question [[cached]]")
    cached = reply.usage.cache_read_tokens
    assert cached > 0
    # gpt-5-mini in a batch: 125 nano-dollars a token, 12.5 from the cache
    assert reply.cost.cache_saved_usd == usd(round(cached * 112.5))
    assert reply.cost.cache_extra_usd == "0"
