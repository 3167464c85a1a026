"""The report from ledgers that a test makes up: rows, ratios, order, amounts, documents and where bars stand."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from batchline.report import Report, Sums, build, documents, page, plots
from batchline.report.amounts import decimals, dollars, exact, percent
from batchline.store.days import Day

TODAY = date(2026, 11, 22)
NOW = datetime(2026, 11, 22, 20, 30, tzinfo=UTC)
CHAT = "openai:chat:gpt-5-mini"


def ledger(day: date = TODAY, base: str = CHAT, tenant: str = "", **counters: int) -> Day:
    """Return a day's ledger; ``failed=3`` stands for ``settled:failed:batch``, money for its route `batch`."""
    names = {"succeeded": "settled:succeeded:batch", "failed": "settled:failed:batch"}
    names |= {f"{kind}_nano": f"{kind}_nano:batch" for kind in ("list", "paid", "saved")}
    return Day(day=day, base=base, tenant=tenant, fields={names.get(name, name): n for name, n in counters.items()})


def made(*ledgers: Day, **more: Any) -> Report:
    return build(ledgers, **({"by": "model", "since": None, "today": TODAY} | more))


def many_days(number: int) -> list[Day]:
    return [
        ledger(TODAY - timedelta(days=at), succeeded=9, failed=1, list_nano=2 * 10**9, paid_nano=10**9)
        for at in range(number)
    ]


# --- sums ---


def test_all_routes_and_reasons_are_counted() -> None:
    fields = {
        "settled:failed:batch": 1,
        "settled:failed:realtime": 2,
        "list_nano:realtime": 5,
        "wasted_nano:unmatched": 7,
        "tokens:output": 11,
        "something:new": 99,
    }
    total = made(Day(day=TODAY, base=CHAT, tenant="", fields=fields)).total
    assert total == Sums(failed=3, list_nano=5, wasted_nano=7, output=11)


def test_cancelled_requests_do_not_count_in_the_error_ratio() -> None:
    assert Sums(succeeded=3, failed=1, cancelled=96).error_ratio == 0.25


def test_without_anything_to_divide_by_there_is_no_ratio() -> None:
    assert (Sums(cancelled=4).error_ratio, Sums(succeeded=4).saved_share) == (None, None)


def test_net_saved_is_saved_less_waste_and_cache_savings_are_net_of_writing() -> None:
    sums = Sums(saved_nano=5, wasted_nano=7, cache_saved_nano=2, cache_extra_nano=6)
    assert (sums.net_saved_nano, sums.cache_net_nano) == (-2, -4)


def test_rows_come_by_list_price_then_requests_then_name() -> None:
    found = made(
        ledger(base="a:chat:b-small", list_nano=1),
        ledger(base="a:chat:z-idle", succeeded=1),
        ledger(base="a:chat:a-idle", succeeded=1),
        ledger(base="a:chat:busy", succeeded=2),
        ledger(base="a:chat:large", list_nano=9),
    )
    assert [row.name for row in found.rows] == ["large", "b-small", "busy", "a-idle", "z-idle"]


def test_a_model_of_two_accounts_and_tenants_is_one_row() -> None:
    found = made(ledger(base="a:chat:m:v1", succeeded=1), ledger(base="b:messages:m:v1", tenant="x", succeeded=2))
    assert [(row.name, row.sums.succeeded) for row in found.rows] == [("m:v1", 3)]


def test_days_come_in_their_order() -> None:
    found = made(*many_days(3), by="day")
    assert [row.name for row in found.rows] == ["2026-11-20", "2026-11-21", "2026-11-22"]


def test_without_a_bound_the_report_begins_with_its_first_day() -> None:
    assert made(*many_days(3)).since == date(2026, 11, 20)
    assert made().since is None


def test_a_day_that_is_ahead_of_our_clock_belongs_to_the_report() -> None:
    assert made(ledger(TODAY + timedelta(days=1))).until == date(2026, 11, 23)


# --- amounts ---


@pytest.mark.parametrize(
    ("nano", "shown"),
    [
        (0, "$0"),
        (1, "$0.000000"),
        (70_903_250, "$0.070903"),
        (141_806_500, "$0.1418"),
        (9_876_543_210, "$9.877"),
        (12_345_678_901, "$12.35"),
        (1_234_567_000_000_000, "$1,234,567.00"),
        (-2_500_000_000, "-$2.500"),
    ],
)
def test_money_is_shown_with_the_decimals_that_its_size_asks_for(nano: int, shown: str) -> None:
    assert dollars(nano, decimals(nano)) == shown


def test_money_in_full_has_every_nano_dollar() -> None:
    assert (exact(1_000_000_000_001), exact(-1), exact(0)) == ("$1,000.000000001", "-$0.000000001", "$0")


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (None, "-"),
        (0.0, "0%"),
        (0.5, "50%"),
        (0.12345, "12.35%"),
        (1.0, "100%"),
        (1e-9, "<0.01%"),
        (1 - 1e-9, ">99.99%"),
    ],
)
def test_a_share_that_is_not_quite_nothing_or_all_is_not_shown_as_such(share: float | None, shown: str) -> None:
    assert percent(share) == shown


# --- documents ---


def test_json_has_exact_money_as_strings_and_null_for_no_tenant() -> None:
    found = made(ledger(list_nano=10**18 + 1, paid_nano=3), ledger(tenant="acme", list_nano=5), by="tenant")
    document = json.loads(documents.as_json(found))
    assert [row["tenant"] for row in document["rows"]] == [None, "acme"]
    assert (document["rows"][0]["list_usd"], document["total"]["list_usd"]) == (
        "1000000000.000000001",
        "1000000000.000000006",
    )
    assert (document["since"], document["until"], document["by"]) == ("2026-11-22", "2026-11-22", "tenant")


def test_csv_has_the_figures_of_json_and_the_total_last() -> None:
    found = made(*many_days(2), by="day")
    lines = list(csv.DictReader(io.StringIO(documents.as_csv(found))))
    document = json.loads(documents.as_json(found))
    assert [line["day"] for line in lines] == ["2026-11-21", "2026-11-22", ""]
    for line, figures in zip(lines, [*document["rows"], document["total"]], strict=True):
        assert {name: str(figures[name]) for name in documents.figures(Sums())} == {
            name: line[name] for name in documents.figures(Sums())
        }


def test_csv_tells_the_total_from_a_tenant_of_that_name_and_from_no_tenant() -> None:
    found = made(ledger(tenant="total", list_nano=5), ledger(list_nano=3), by="tenant")
    lines = list(csv.DictReader(io.StringIO(documents.as_csv(found))))
    assert [(line["kind"], line["tenant"]) for line in lines] == [("row", "total"), ("row", ""), ("total", "")]


@pytest.mark.parametrize("tenant", ["=1+1", "+1", "-1", "@a", "=a,b"])
def test_csv_keeps_names_as_they_are(tenant: str) -> None:
    found = made(ledger(tenant=tenant, list_nano=5), by="tenant")
    line, _ = csv.DictReader(io.StringIO(documents.as_csv(found)))
    assert line["tenant"] == tenant


def test_csv_leaves_out_what_has_no_value() -> None:
    (line,) = csv.DictReader(io.StringIO(documents.as_csv(made())))
    assert (line["error_ratio"], line["requests"]) == ("", "0")


def test_net_figures_are_told_apart_from_what_they_are_made_of() -> None:
    sums = Sums(saved_nano=5 * 10**9, wasted_nano=7 * 10**9, cache_saved_nano=2 * 10**9, cache_extra_nano=6 * 10**9)
    told = documents.figures(sums)
    money = ("saved_usd", "wasted_usd", "net_saved_usd", "cache_saved_usd", "cache_extra_usd", "cache_net_usd")
    assert [told[name] for name in money] == ["5", "7", "-2", "2", "6", "-4"]


def test_every_figure_of_the_sums_is_in_the_documents() -> None:
    for name in Sums.__struct_fields__:
        assert documents.figures(Sums(**{name: 7_000_000_000})) != documents.figures(Sums())


# --- plots ---


def drawn(found: Report, name: str) -> plots.Plot:
    return next(plot for plot in plots.plots(found) if plot.name == name)


def test_nothing_is_drawn_of_nothing() -> None:
    assert plots.plots(made()) == ()


@pytest.mark.parametrize(
    ("days", "step", "slots"), [(1, "day", 1), (100, "day", 100), (400, "week", 58), (800, "month", 27)]
)
def test_long_times_are_drawn_by_week_or_month(days: int, step: str, slots: int) -> None:
    found = made(*many_days(days))
    assert drawn(found, "money").head[0] == step
    assert len(drawn(found, "money").bars) == 2 * slots
    assert len(drawn(found, "errors").bars) == slots


@pytest.mark.parametrize("days", [1, 7, 100, 400, 800])
def test_what_the_plots_show_adds_up_to_the_total(days: int) -> None:
    found = made(*many_days(days))
    _, slots = plots.slots_of(found)
    assert sum(sums.paid_nano for sums in slots.values()) == found.total.paid_nano == days * 10**9


def test_days_without_a_ledger_have_their_place_and_no_bar() -> None:
    found = made(
        ledger(TODAY - timedelta(days=4), succeeded=1, list_nano=2, paid_nano=1), ledger(list_nano=2, paid_nano=1)
    )
    assert [row[0] for row in drawn(found, "money").table] == [f"2026-11-{day}" for day in range(18, 23)]
    assert len(drawn(found, "money").bars) == 4


def test_bars_are_as_high_as_their_share() -> None:
    listed, paid = drawn(made(ledger(list_nano=4 * 10**9, paid_nano=10**9)), "money").bars
    assert listed.height == pytest.approx(4 * paid.height, abs=0.1)
    assert listed.y + listed.height == pytest.approx(paid.y + paid.height, abs=0.02)


def test_bars_stay_within_the_drawing() -> None:
    for days in (1, 3, 100, 400):
        for plot in plots.plots(made(*many_days(days))):
            for bar in plot.bars:
                assert bar.width > 0
                assert bar.height > 0
                assert bar.x >= 0
                assert bar.y >= 0
                assert bar.x + bar.width <= plot.width
                assert bar.y + bar.height <= plot.height


def test_a_failure_among_many_is_seen() -> None:
    found = made(*many_days(3), ledger(TODAY - timedelta(days=3), succeeded=10**6, failed=1))
    assert min(bar.height for bar in drawn(found, "errors").bars) == 1.0


def test_a_time_without_failures_has_an_empty_plot() -> None:
    plot = drawn(made(ledger(succeeded=5)), "errors")
    assert (plot.bars, plot.table) == ((), (("2026-11-22", "0%", "0", "5"),))


def test_models_beyond_the_largest_share_a_bar() -> None:
    found = made(*(ledger(base=f"openai:chat:m{at:02}", saved_nano=at * 10**9) for at in range(1, 61)))
    plot = drawn(found, "saved")
    assert len(plot.bars) == plots.MOST_MODELS + 1
    assert plot.table[0] == ("m60", "$60.00")
    assert plot.table[-1] == ("48 others", f"${sum(range(1, 49)):,}.00")


def test_a_model_is_not_the_only_one_of_the_others() -> None:
    found = made(*(ledger(base=f"openai:chat:m{at:02}", saved_nano=at) for at in range(plots.MOST_MODELS + 1)))
    assert "others" not in drawn(found, "saved").table[-1][0]


def test_models_that_saved_nothing_are_named_without_a_bar() -> None:
    plot = drawn(made(ledger(saved_nano=5), ledger(base="openai:chat:my-own", succeeded=1)), "saved")
    assert [row[0] for row in plot.table] == ["gpt-5-mini", "my-own"]
    assert len(plot.bars) == 1
    assert drawn(made(ledger(succeeded=1)), "saved").bars == ()


def test_marks_are_round_steps_from_nothing_to_above_the_largest() -> None:
    plot = drawn(made(ledger(list_nano=7_300_000_000)), "money")
    assert [mark.text for mark in plot.upright] == ["$0", "$2", "$4", "$6", "$8"]
    small = drawn(made(ledger(list_nano=73_000)), "money")
    assert [mark.text for mark in small.upright] == ["$0.00000", "$0.00002", "$0.00004", "$0.00006", "$0.00008"]
    ratios = drawn(made(ledger(failed=9, succeeded=1)), "errors")
    assert [mark.text for mark in ratios.upright] == ["0%", "50%", "100%"]


def test_months_of_several_years_are_told_apart() -> None:
    texts = [mark.text for mark in drawn(made(*many_days(800)), "money").across]
    assert len(texts) == len(set(texts)) <= 7
    assert texts[0] == "2024-09"


# --- the page ---


def test_names_are_escaped_everywhere() -> None:
    name = '<script>alert("x")</script>&\''
    text = page.render(made(ledger(base=f"a:chat:{name}", saved_nano=5, failed=1)), made=NOW)
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(&#34;x&#34;)") >= 2


def test_the_page_asks_for_nothing_from_elsewhere() -> None:
    text = page.render(made(*many_days(3)), made=NOW)
    for word in ("http:", "https:", "//", "src=", "href=", "url(", "@import", "<script"):
        assert word not in text, word
    assert "default-src 'none'" in text


def test_the_page_of_nothing_says_so() -> None:
    text = page.render(made(since=date(2026, 11, 1)), made=NOW)
    assert "Nothing was settled in this time." in text
    assert "2026-11-01 to 2026-11-22" in text
    assert "<svg" not in text


def test_requests_without_a_price_are_told() -> None:
    assert "1 answered request has no known price" in page.render(made(ledger(succeeded=1, unpriced=1)), made=NOW)
    assert 'id="unpriced"' not in page.render(made(ledger(succeeded=1)), made=NOW)


@pytest.mark.parametrize("deadlines", [0, 3])
def test_deadlines_are_shown_where_there_are_any(deadlines: int) -> None:
    fields = {"settled:succeeded:batch": 4, "deadlines_met:batch": deadlines}
    text = page.render(made(Day(day=TODAY, base=CHAT, tenant="", fields=fields)), made=NOW)
    assert ("deadlines met" in text) == bool(deadlines)


def test_requests_without_a_tenant_are_named_so() -> None:
    text = page.render(made(ledger(succeeded=1), by="tenant"), made=NOW)
    assert '<th scope="row">(no tenant)</th>' in text
