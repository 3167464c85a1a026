"""Money: what requests would have cost, what they did cost, and what was wasted."""

from __future__ import annotations

from grafana.source.frame import framed
from grafana.source.panels import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    TEXT,
    YELLOW,
    About,
    Column,
    Panel,
    Query,
    Row,
    grid,
    lines,
    tile,
)
from grafana.source.promql import count, gain, or_zero, rate, ratio, share, total

LIST, PAID, SAVED = "batchline_list_usd_total", "batchline_paid_usd_total", "batchline_saved_usd_total"
WASTED = "batchline_wasted_usd_total"
CACHE_SAVED, CACHE_EXTRA = "batchline_cache_saved_usd_total", "batchline_cache_extra_usd_total"
TOKENS = "batchline_tokens_total"
SETTLED, UNPRICED = "batchline_requests_settled_total", "batchline_unpriced_requests_total"
MODEL = ("account", "model")
NAMES = "{{account}} · {{model}}"
INPUT = 'kind=~"input_uncached|cache_read|cache_write"'


def dashboard() -> str:
    """Return the dashboard's JSON."""
    rows = [
        Row(100, "In this time range", [_sums(), _rest()]),
        Row(200, "By model", [[_models()]]),
        Row(300, "Spending over time", [_spending(), _savings()]),
        Row(400, "Tokens and cache", [_tokens(), _cache()]),
        Row(500, "What brings nothing", [_waste()]),
    ]
    return framed(
        "batchline-money",
        "batchline / Money",
        "List price, payment and savings by model; waste, cache and tokens. Estimates by public prices, not an invoice.",
        rows,
        since="now-7d",
    )


def _sums() -> list[Panel]:
    return [
        tile(
            About(
                1,
                "List price",
                "What the requests settled in the time range would have cost in realtime, without batches.",
                "currencyUSD",
                width=6,
                height=4,
            ),
            count(gain(LIST)),
            colour=TEXT,
            decimals=2,
        ),
        tile(
            About(2, "Paid", "What they cost as they were sent.", "currencyUSD", width=6, height=4),
            count(gain(PAID)),
            colour=BLUE,
            decimals=2,
        ),
        tile(
            About(
                3,
                "Saved",
                "What was saved against the list price, request by request; where a request cost more than its list price that counts as 0.",
                "currencyUSD",
                ("BatchlineSavingsDropped",),
                width=6,
                height=4,
            ),
            count(gain(SAVED)),
            colour=GREEN,
            decimals=2,
        ),
        tile(
            About(
                4,
                "Savings ratio",
                "The saved share of the list price. Batches cost half; cached input costs less still.",
                "percentunit",
                ("BatchlineSavingsDropped",),
                width=6,
                height=4,
            ),
            or_zero(ratio(total(gain(SAVED)), total(gain(LIST)))),
            colour=GREEN,
            decimals=1,
        ),
    ]


def _rest() -> list[Panel]:
    return [
        tile(
            About(
                11,
                "Wasted",
                "Paid for and of no use, such as the rows of a duplicate batch. It is not part of what was paid above.",
                "currencyUSD",
                ("BatchlineDuplicateBatch",),
                width=6,
                height=4,
            ),
            count(gain(WASTED)),
            limits=((0.01, ORANGE), (10, RED)),
            decimals=2,
        ),
        tile(
            About(
                12,
                "Saved by the cache",
                "What input read from a provider's prompt cache cost less than plain input at the same rates.",
                "currencyUSD",
                width=6,
                height=4,
            ),
            count(gain(CACHE_SAVED)),
            colour=GREEN,
            decimals=2,
        ),
        tile(
            About(
                13,
                "Extra for the cache",
                "What writing to the prompt cache cost more than plain input at the same rates. More than the cache saved: caching does not pay here.",
                "currencyUSD",
                width=6,
                height=4,
            ),
            count(gain(CACHE_EXTRA)),
            colour=TEXT,
            decimals=2,
        ),
        tile(
            About(
                14,
                "Unpriced",
                "Requests answered by models without a known price. All sums of money leave them out.",
                "short",
                width=6,
                height=4,
            ),
            count(gain(UNPRICED)),
            limits=((1, YELLOW),),
            decimals=0,
        ),
    ]


def _models() -> Panel:
    saved, listed = total(gain(SAVED), *MODEL), total(gain(LIST), *MODEL)
    return grid(
        About(
            21,
            "Models",
            "Each account and model in the time range.",
            "currencyUSD",
            ("BatchlineSavingsDropped",),
            width=24,
            height=10,
        ),
        MODEL,
        [
            Column("Requests", total(gain(SETTLED), *MODEL), "short"),
            Column("List price", listed, "currencyUSD", (), 2),
            Column("Paid", total(gain(PAID), *MODEL), "currencyUSD", (), 2),
            Column("Saved", saved, "currencyUSD", (), 2),
            Column("Savings ratio", ratio(saved, listed), "percentunit", (), 1),
            Column("Cache saved", total(gain(CACHE_SAVED), *MODEL), "currencyUSD", (), 2),
            Column("Wasted", total(gain(WASTED), *MODEL), "currencyUSD", ((0.01, ORANGE),), 2),
            Column("Input tokens", total(gain(TOKENS, INPUT), *MODEL), "short"),
            Column("Output tokens", total(gain(TOKENS, 'kind="output"'), *MODEL), "short"),
            Column("Unpriced", total(gain(UNPRICED), *MODEL), "short", ((1, YELLOW),)),
        ],
        sort="List price",
    )


def _hourly(name: str, *by: str) -> str:
    return f"3600 * {total(rate(name), *by)}"


def _spending() -> list[Panel]:
    return [
        lines(
            About(
                31,
                "List price and payment per hour",
                "What was settled then, at list price and as paid, in dollars per hour. The gap between the lines is saved.",
                "currencyUSD",
                ("BatchlineSavingsDropped",),
            ),
            Query(or_zero(_hourly(LIST)), "list price"),
            Query(or_zero(_hourly(PAID)), "paid"),
            window="5m",
            colours={"list price": ORANGE, "paid": BLUE},
        ),
        lines(
            About(32, "Paid per hour by model", "What was settled then, as paid, in dollars per hour.", "currencyUSD"),
            Query(_hourly(PAID, *MODEL), NAMES),
            stacked=True,
            window="5m",
        ),
    ]


def _savings() -> list[Panel]:
    return [
        lines(
            About(
                33,
                "Saved per hour by model",
                "What was saved against the list price then, in dollars per hour.",
                "currencyUSD",
                ("BatchlineSavingsDropped",),
            ),
            Query(_hourly(SAVED, *MODEL), NAMES),
            stacked=True,
            window="5m",
        ),
        lines(
            About(
                34,
                "Savings ratio by model",
                "The saved share of the list price of what was settled then; a gap where nothing was. Below 50 %: more goes by the realtime route, or a price changed.",
                "percentunit",
                ("BatchlineSavingsDropped",),
            ),
            Query(share(total(rate(SAVED), *MODEL), total(rate(LIST), *MODEL)), NAMES),
            largest=1,
            window="5m",
        ),
    ]


def _tokens() -> list[Panel]:
    read = total(rate(TOKENS, 'kind="cache_read"'), *MODEL)
    return [
        lines(
            About(
                41,
                "Tokens per second by kind",
                "Tokens of the requests settled then. Input is plain, read from the prompt cache, or written to it.",
                "short",
            ),
            Query(total(rate(TOKENS), "kind"), "{{kind}}"),
            stacked=True,
            window="5m",
        ),
        lines(
            About(
                42,
                "Input from the cache by model",
                "The share of the input that was read from the prompt cache, of what was settled then.",
                "percentunit",
            ),
            Query(share(read, total(rate(TOKENS, INPUT), *MODEL)), NAMES),
            largest=1,
            window="5m",
        ),
    ]


def _cache() -> list[Panel]:
    return [
        lines(
            About(
                43,
                "Cache: saved and extra per hour",
                "What reading from the cache saved and what writing to it cost more, in dollars per hour. Caching pays while the first is larger.",
                "currencyUSD",
            ),
            Query(or_zero(_hourly(CACHE_SAVED)), "saved by reading"),
            Query(or_zero(_hourly(CACHE_EXTRA)), "extra for writing"),
            window="5m",
            colours={"saved by reading": GREEN, "extra for writing": ORANGE},
        ),
        lines(
            About(
                44,
                "Paid by route per hour",
                "What went by batch and what by the realtime route, as paid, in dollars per hour.",
                "currencyUSD",
            ),
            Query(_hourly(PAID, "route"), "{{route}}"),
            stacked=True,
            window="5m",
            colours={"batch": GREEN, "realtime": ORANGE},
        ),
    ]


def _waste() -> list[Panel]:
    return [
        lines(
            About(
                51,
                "Wasted per hour",
                "Paid for and of no use, by reason, in dollars per hour. `unmatched`: rows of a batch that nobody was owed any more; `duplicate`: rows of a second batch for one attempt.",
                "currencyUSD",
                ("BatchlineDuplicateBatch", "BatchlineAmbiguousSubmissions"),
            ),
            Query(_hourly(WASTED, "reason"), "{{reason}}"),
            window="5m",
        ),
        lines(
            About(
                52,
                "Unpriced requests by model",
                "Requests per second answered by models without a known price.",
                "reqps",
            ),
            Query(total(rate(UNPRICED), *MODEL), NAMES),
            window="5m",
        ),
    ]
