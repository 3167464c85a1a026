"""The report's page in a real browser (Chromium): its figures and plots stand in it, it asks for nothing and complains of nothing.

``REPORT_SCREENSHOT=docs/images/report.png`` writes the picture of the documentation anew.
"""

from __future__ import annotations

import json
import os
import random
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from tests.deploy.tools import ROOT, tool
from tests.engine.conftest import Bench, bench, keyring, providers, wire  # noqa: F401 (fixtures)

from batchline.cli import main
from batchline.local.tickets import support_tickets
from batchline.report import Report, build, page
from batchline.report.plots import MOST_MODELS
from batchline.store.days import Day

TODAY = date(2026, 11, 22)
NOW = datetime(2026, 11, 22, 20, 30, tzinfo=UTC)
FIRST_MS = int(datetime(2026, 11, 9, 8, 0, tzinfo=UTC).timestamp() * 1000)
DAY_S = 86_400
LANES = {
    "openai:chat:gpt-5-mini|tenant=support": 40,
    "openai:chat:gpt-5-mini|tenant=billing": 20,
    "openai:chat:gpt-5-nano|tenant=support": 30,
    "anthropic:messages:claude-haiku-4-5|tenant=support": 25,
    "openai:embeddings:text-embedding-3-small|tenant=search": 20,
}
"""Requests of a usual day."""
DAYS = 14
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)
BARS = """
return [...document.querySelectorAll('#plot-' + arguments[0] + ' svg rect')].map(
  bar => { const box = bar.getBoundingClientRect(); return [box.width, box.height, bar.querySelector('title').textContent]; });
"""
OVERLAPS = """
const boxes = [...document.querySelectorAll('#plot-' + arguments[0] + ' svg text')].map(text => text.getBoundingClientRect());
return boxes.filter((a, i) => boxes.slice(i + 1).some(
  b => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)).length;
"""


class Browser:
    """A headless Chromium and what it logged of the page that it shows."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, path: Path) -> None:
        """Show a file; what was logged before is forgotten."""
        for log in ("browser", "performance"):
            self.driver.get_log(log)  # type: ignore[no-untyped-call]
        self.scheme("light")
        self.driver.get(path.as_uri())

    def scheme(self, name: str) -> None:
        """Let the page know which colours its reader prefers: light or dark."""
        media = {"features": [{"name": "prefers-color-scheme", "value": name}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def complaints(self) -> list[str]:
        """Return the lines of the console."""
        return [line["message"] for line in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def requested(self) -> list[str]:
        """Return the addresses that the page asked for."""
        lines = [json.loads(line["message"])["message"] for line in self.driver.get_log("performance")]  # type: ignore[no-untyped-call]
        return [line["params"]["request"]["url"] for line in lines if line["method"] == "Network.requestWillBeSent"]

    def bars(self, plot: str) -> list[tuple[float, float, str]]:
        """Return width, height and text of every bar of a plot, as they are on the screen."""
        return [tuple(bar) for bar in self.driver.execute_script(BARS, plot)]

    def overlaps(self, plot: str) -> int:
        """Return how many texts of a plot lie over another."""
        return int(self.driver.execute_script(OVERLAPS, plot))

    def row(self, table: int, name: str) -> list[str]:
        """Return the figures of a row, or of the total, as they are shown."""
        rows = self.driver.find_elements(By.CSS_SELECTOR, f"table.figures[aria-labelledby=table-{table}] tr")
        for row in rows:
            if row.find_element(By.TAG_NAME, "th").text == name:
                return [cell.text for cell in row.find_elements(By.TAG_NAME, "td")]
        raise AssertionError(f"table {table} has no row {name}")

    def text(self, selector: str) -> str:
        """Return what an element shows."""
        return self.driver.find_element(By.CSS_SELECTOR, selector).text


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all pages."""
    options = ChromeOptions()
    options.binary_location = tool("chromium", package="Debian's chromium")
    service = ChromeService(tool("chromedriver", package="Debian's chromium-driver"))
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}", "--window-size=1280,1000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=service)
    yield Browser(driver)
    driver.quit()


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Callable[[Report], Browser]:
    """Show the page of a report."""

    def show(report: Report) -> Browser:
        path = tmp_path / "report.html"
        path.write_text(page.render(report, made=NOW), encoding="utf-8")
        browser.open(path)
        return browser

    return show


def tickets(number: int) -> Iterator[str]:
    """Yield the demo's support tickets, every sixth one with a prompt that is half in the provider's cache."""
    for at, ticket in enumerate(support_tickets(number)):
        yield f"{ticket.text} [[cached]]" if at % 6 == 0 else ticket.text


def load(bench: Bench) -> None:  # noqa: F811
    """Run two weeks of support tickets: fewer at weekends, a day with trouble, and the clock moved on from day to day."""
    bench.start(error_rate=0.03, seed=1)
    bench.set("retry", max_attempts=2)
    bench.now_ms = FIRST_MS
    texts, dice = tickets(10_000), random.Random(4)
    for day in range(DAYS):
        quiet = 0.3 if day % 7 >= 5 else 1.0
        for lane, usual in LANES.items():
            for _ in range(int(usual * quiet * dice.uniform(0.7, 1.3))):
                trouble = " [[fail]]" if day == 8 and dice.random() < 0.15 else ""
                wanted: dict[str, Any] = (
                    {"deadline": bench.now_ms + dice.choice((3_600_000, 1))} if dice.random() < 0.05 else {}
                )
                bench.ask(next(texts) + trouble, lane, **wanted)
        bench.drain(rounds=200)
        bench.now_ms = FIRST_MS + (day + 1) * DAY_S * 1000
        bench.advance(0)


def many(days: int = 1, models: int = 1) -> Report:
    """Return a report of made-up ledgers."""
    fields = {"settled:succeeded:batch": 90, "settled:failed:batch": 10, "batches": 1}
    money = {"list_nano:batch": 2 * 10**9, "paid_nano:batch": 10**9, "saved_nano:batch": 10**9}
    ledgers = [
        Day(
            day=TODAY - timedelta(days=at),
            base=f"openai:chat:some-vendor/long-model-name-{model:02}-instruct",
            tenant="",
            fields=fields | {name: n * (model + 1) for name, n in money.items()},
        )
        for at in range(days)
        for model in range(models)
    ]
    return build(ledgers, by="model", since=None, today=TODAY)


def check_bars(browser: Browser, plot: str, number: int) -> None:
    bars = browser.bars(plot)
    assert len(bars) == number
    assert all(width > 0.5 and height > 0.5 for width, height, _ in bars), bars
    assert browser.overlaps(plot) == 0


@pytest.fixture
def ran(bench: Bench, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:  # noqa: F811
    """Run the load, let the command line write its page and its figures, and show the page; return the figures."""
    load(bench)
    monkeypatch.setenv("BATCHLINE_REDIS_URL", bench.store.connection.url)
    monkeypatch.chdir(tmp_path)
    for form in ("html", "json"):
        with pytest.raises(SystemExit, match="0"):
            main(["report", "--since", "all", "--format", form, "-o", f"report.{form}"])
    browser.open(tmp_path / "report.html")
    figures: dict[str, Any] = json.loads(Path("report.json").read_text(encoding="utf-8"))
    return figures


def test_the_figures_of_a_run_stand_in_the_page(ran: dict[str, Any], browser: Browser, bench: Bench) -> None:  # noqa: F811
    total = ran["total"]
    assert total["requests"] == len(bench.all_replies())
    for row in [*ran["rows"], {**total, "model": "total"}]:
        requests, money = browser.row(1, row["model"]), browser.row(2, row["model"])
        assert requests[:4] == [f"{row[name]:,}" for name in ("requests", "succeeded", "failed", "cancelled")]
        assert [float(money[at].strip("$")) for at in range(3)] == [
            pytest.approx(float(row[f"{kind}_usd"]), abs=0.0005) for kind in ("list", "paid", "saved")
        ]
    assert browser.text("#saved") == browser.row(2, "total")[2]
    exact = browser.driver.find_element(By.CSS_SELECTOR, "#saved data").get_attribute("value")
    assert exact == total["saved_usd"]
    picture(browser)


def picture(browser: Browser) -> None:
    """Write the picture of the documentation (all but the terms at the end), if that is asked for."""
    if wanted := os.environ.get("REPORT_SCREENSHOT"):
        last = browser.driver.find_elements(By.CSS_SELECTOR, "section.card")[-1]
        clip = {"x": 0, "y": 0, "width": 1280, "height": last.rect["y"], "scale": 1}
        taken = browser.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        (ROOT / wanted).write_bytes(b64decode(taken["data"]))


def test_the_plots_of_a_run_have_their_bars(ran: dict[str, Any], browser: Browser) -> None:
    check_bars(browser, "money", 2 * DAYS)
    check_bars(browser, "saved", len(ran["rows"]))
    texts = [text for _, _, text in browser.bars("errors")]
    failed = sum(int(re.findall(r"([\d,]+) of", text)[0].replace(",", "")) for text in texts)
    assert failed == ran["total"]["failed"] > 0


@pytest.mark.parametrize(("days", "slots"), [(1, 1), (30, 30), (400, 58)])
def test_one_day_or_many_can_be_read(show: Callable[[Report], Browser], days: int, slots: int) -> None:
    shown = show(many(days))
    check_bars(shown, "money", 2 * slots)
    check_bars(shown, "errors", slots)


def test_of_many_models_the_largest_have_bars_and_all_have_rows(show: Callable[[Report], Browser]) -> None:
    shown = show(many(days=3, models=60))
    check_bars(shown, "saved", MOST_MODELS + 1)
    rows = shown.driver.find_elements(By.CSS_SELECTOR, "table.figures[aria-labelledby=table-2] tbody tr")
    assert len(rows) == 60
    assert shown.text("#plot-saved svg").count("others") == 1


def test_the_page_asks_for_nothing_but_itself_and_complains_of_nothing(show: Callable[[Report], Browser]) -> None:
    shown = show(many(30, 5))
    assert [address.split(":")[0] for address in shown.requested()] == ["file"]
    assert shown.complaints() == []


def test_a_name_that_is_markup_is_only_a_name(show: Callable[[Report], Browser]) -> None:
    name = "<img src=x onerror=document.title='owned'>"
    ledger = Day(
        day=TODAY, base=f"a:chat:{name}", tenant="", fields={"settled:succeeded:batch": 1, "saved_nano:batch": 1}
    )
    shown = show(build([ledger], by="model", since=None, today=TODAY))
    assert shown.row(1, name)[0] == "1"
    assert shown.driver.title == "batchline savings report, 2026-11-22 to 2026-11-22"
    assert len(shown.requested()) == 1


def test_a_page_of_nothing_opens(show: Callable[[Report], Browser]) -> None:
    shown = show(build([], by="model", since=None, today=TODAY))
    assert shown.text("#nothing") == "Nothing was settled in this time."
    assert shown.complaints() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_the_ground_in_both_schemes(show: Callable[[Report], Browser], scheme: str) -> None:
    shown = show(many(30, 5))
    shown.scheme(scheme)
    colours = "const card = document.querySelector('.plots .card'); return [getComputedStyle(arguments[0]).%s, getComputedStyle(card).backgroundColor];"
    for selector, least in (("#paid", 4.5), (".legend", 4.5), ("thead th", 4.5)):
        element = shown.driver.find_element(By.CSS_SELECTOR, selector)
        assert contrast(*shown.driver.execute_script(colours % "color", element)) >= least, selector
    for name in ("list", "paid", "saved", "errors"):
        element = shown.driver.find_element(By.CSS_SELECTOR, f"rect.{name}")
        assert contrast(*shown.driver.execute_script(colours % "fill", element)) >= 3, name


def test_a_narrow_screen_scrolls_tables_and_not_the_page(show: Callable[[Report], Browser]) -> None:
    shown = show(many(30, 5))
    narrow = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    shown.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    wide = shown.driver.execute_script("return document.documentElement.scrollWidth")
    shown.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide <= 390


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours by WCAG 2."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
