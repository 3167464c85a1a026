"""Metrics, dashboards and alerts in a real Prometheus that scrapes a whole house: under load, and then under faults."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from tests.deploy.dashboards import EVERYTHING, expressions
from tests.deploy.empty_without_faults import EMPTY
from tests.deploy.live import Counts, House
from tests.deploy.prometheus import RULES

pytestmark = pytest.mark.timeout(300)

WINDOWS = {"__rate_interval": "10s", "__range": "5m"}
"""What Grafana fills in, for a house that is scraped every second."""
THRESHOLD = re.compile(r"(?:>=|<=|==|!=|>|<)\s*\d[\d.*\s]*")
SELECTOR = re.compile(r"[\w:]*batchline_[\w:]+(?:\{[^}]*\})?")
CALLS = {"batches.create": "create", "batches.retrieve": "poll", "batches.list": "find"}
CODES = {"error_before": "503", "rate_limit": "429", "drop_before": "connection", "drop_after": "connection"}


@dataclass(frozen=True)
class Evidence:
    """What was seen: the names of expressions without data, and the counts of both sides."""

    calm: frozenset[str]
    troubled: frozenset[str]
    without_threshold: frozenset[str]
    selectors: frozenset[str]
    before: Counts
    after: Counts
    rules: list[dict[str, Any]]


def rules() -> dict[str, str]:
    """Return the expressions of all rules by ``alert/name`` or ``record/name``."""
    found = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    return {f"{kind}/{rule[kind]}": rule["expr"] for rule in found for kind in ("alert", "record") if kind in rule}


def everything() -> dict[str, str]:
    """Return the expressions of all panels and rules by name."""
    shown = expressions({**EVERYTHING, **WINDOWS})
    return {f"{each.dashboard}/{each.panel}/{each.ref}": each.expr for each in shown} | rules()


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    named, alerts = everything(), {name: expr for name, expr in rules().items() if name.startswith("alert/")}
    loose = {name: THRESHOLD.sub(" ", expr) for name, expr in alerts.items() if THRESHOLD.search(expr)}
    selectors = {each: each for expr in named.values() for each in SELECTOR.findall(expr)}
    with House(tmp_path_factory.mktemp("house")) as house:

        def empty(asked: dict[str, str], span: Any) -> frozenset[str]:
            return frozenset(name for name, expr in asked.items() if not house.prometheus.has_data(expr, span))

        calm, before = house.calm()
        quiet = empty(named, calm), empty(loose, calm), empty(selectors, calm)
        states = house.prometheus.rules()
        trouble, after = house.troubled()
        yield Evidence(quiet[0], empty(named, trouble), quiet[1], quiet[2], before, after, states)


def test_there_is_something_to_look_at() -> None:
    named = everything()
    assert sum(name.startswith("alert/") for name in named) > 15
    assert sum(name.startswith(("overview/", "batches/", "providers/", "money/")) for name in named) > 100


def test_every_expression_has_data_under_load_but_for_the_known_ones(seen: Evidence) -> None:
    assert seen.calm == EMPTY.keys()


def test_what_is_empty_under_load_has_data_in_a_run_with_faults(seen: Evidence) -> None:
    assert seen.troubled & EMPTY.keys() == set()


def test_every_alert_has_data_before_its_threshold(seen: Evidence) -> None:
    assert seen.without_threshold == set()


def test_every_selector_of_panels_and_rules_has_data(seen: Evidence) -> None:
    assert seen.selectors == set()


def test_prometheus_evaluates_every_rule(seen: Evidence) -> None:
    assert {rule["name"]: rule.get("lastError") for rule in seen.rules if rule["health"] != "ok"} == {}
    assert len(seen.rules) == len(rules())


def test_exporter_and_workers_are_scraped(seen: Evidence) -> None:
    assert sorted((job, up) for (job, _), up in seen.before.up.items()) == [
        ("batchline", 1),
        ("batchline-workers", 1),
        ("batchline-workers", 1),
    ]


def test_the_loops_of_workers_come_round(seen: Evidence) -> None:
    assert len(seen.before.loops) == 2
    assert all(age_s < 60 for age_s in seen.before.loops.values())


@pytest.fixture(params=["before", "after"], ids=["under load", "after faults"])
def counts(seen: Evidence, request: pytest.FixtureRequest) -> Counts:
    counts: Counts = getattr(seen, request.param)
    return counts


def billed(counts: Counts, *names: str) -> dict[str, tuple[int, ...]]:
    """Return these sums of the bill by model."""
    return {row["model"]: tuple(row[name] for name in names) for row in counts.bill["models"]}


def test_settled_requests_are_those_that_the_provider_answered(counts: Counts) -> None:
    answered = {model: (int(n),) for (model, status), n in counts.settled.items() if status == "succeeded"}
    assert answered == billed(counts, "succeeded")
    assert counts.bill["double_executions"] == 0


def test_tokens_are_those_that_the_provider_counted(counts: Counts) -> None:
    def used(model: str) -> tuple[int, ...]:
        kinds = {kind: int(n) for (name, kind), n in counts.tokens.items() if name == model}
        whole = kinds["input_uncached"] + kinds["cache_read"] + kinds["cache_write"]
        return whole, kinds["cache_read"], kinds["output"]

    expected = billed(counts, "input_tokens", "cached_tokens", "output_tokens")
    assert {model: used(model) for model in expected} == expected
    assert sum(cached for _, cached, _ in expected.values()) > 0


def test_money_is_what_the_provider_charges(counts: Counts) -> None:
    expected = billed(counts, "list_nano_usd", "paid_nano_usd")
    ledger = {model: (round(counts.list_usd[model,] * 1e9), round(counts.paid_usd[model,] * 1e9)) for model in expected}
    assert ledger == expected
    assert sum(paid for _, paid in expected.values()) > 0


def test_batches_cut_are_those_that_the_provider_has(counts: Counts) -> None:
    assert {account: n for (account,), n in counts.cut.items() if account != "locked"} == counts.bill["batches_created"]


def test_no_provider_call_fails_under_load(seen: Evidence) -> None:
    assert seen.before.errors == {}


def test_provider_errors_are_the_faults_of_the_provider(seen: Evidence) -> None:
    fired: dict[tuple[str, ...], float] = {}
    for fault in seen.after.faults["fired"]:
        account, route = fault["route"].split(".", 1)
        name = (account, CALLS[route], CODES[fault["action"]])
        fired[name] = fired.get(name, 0) + fault["times"]
    assert {name: n for name, n in seen.after.errors.items() if name[0] != "locked"} == fired
    assert len(fired) == 4


def test_a_key_that_is_refused_is_counted(seen: Evidence) -> None:
    assert {code for account, _, code in seen.after.errors if account == "locked"} == {"401"}
