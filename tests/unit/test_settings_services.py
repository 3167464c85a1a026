"""What an account cannot have at the service it leads to is told when settings are loaded, and never found out by a refusal."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from batchline.errors import UsageError
from batchline.providers import PROVIDERS, facts
from batchline.providers.presets import PRESETS
from batchline.providers.protocol import Options
from batchline.settings import Settings, load_settings
from batchline.settings.account import PresetName
from batchline.settings.services import ADDRESSES, ENDPOINTS, EXPIRIES_S, WINDOWS_H

ELSEWHERE = "base_url: 'http://service.example/v1'"


def load(tmp_path: Path, fields: str, environ: dict[str, str] | None = None) -> Settings:
    file = tmp_path / "s.yaml"
    file.write_text(f"accounts:\n  x: {{provider: {fields}}}\n", encoding="utf-8")
    return load_settings(environ or {}, file)


def problem(tmp_path: Path, fields: str, environ: dict[str, str] | None = None) -> str:
    """Return the one line of the error that an account gives, without the file's name."""
    with pytest.raises(UsageError) as caught:
        load(tmp_path, fields, environ)
    (line,) = str(caught.value).splitlines()
    return line.removeprefix(f"{tmp_path}/")


# --- addresses ---


@pytest.mark.parametrize("preset", get_args(PresetName))
@pytest.mark.parametrize("address", ["", ", base_url: 'https://api.openai.com/v1'", ", base_url: null"])
def test_a_preset_without_its_services_address_is_refused_and_leads_nobodys_key_to_openai(
    tmp_path: Path, preset: str, address: str
) -> None:
    line = problem(tmp_path, f"openai, preset: {preset}, api_key_env: KEY{address}")
    assert line.startswith(f"s.yaml:2: accounts.x: preset {preset} needs the service's own base_url, e.g. http")
    assert load(tmp_path, f"openai, preset: {preset}, {ELSEWHERE}").accounts["x"].preset == preset


def test_a_presets_address_may_come_from_the_environment(tmp_path: Path) -> None:
    environ = {"BATCHLINE_ACCOUNTS__X__BASE_URL": "https://api.groq.com/openai/v1"}
    assert load(tmp_path, "openai, preset: groq", environ).accounts["x"].base_url == environ.popitem()[1]


# --- windows ---


@pytest.mark.parametrize(
    "address", ["", ", base_url: 'https://api.openai.com/v1'", ", base_url: 'https://eu.api.openai.com/v1'"]
)
def test_openai_takes_no_window_but_a_day(tmp_path: Path, address: str) -> None:
    line = problem(tmp_path, f"openai, completion_window: 7d{address}")
    assert line == "s.yaml:2: accounts.x: completion_window '7d' is none that openai offers: 24h"
    for day in ("24h", "1d"):
        assert load(tmp_path, f"openai, completion_window: {day}{address}").accounts["x"].completion_window == day


def test_a_service_of_which_nothing_is_known_may_offer_any_window(tmp_path: Path) -> None:
    account = load(tmp_path, f"openai, completion_window: 3d, {ELSEWHERE}").accounts["x"]
    assert (account.completion_window, account.service) == ("3d", None)


# --- expiry of files ---


@pytest.mark.parametrize(
    ("fields", "service"),
    [("anthropic", "anthropic"), ("gemini", "gemini"), (f"openai, preset: groq, {ELSEWHERE}", "groq")],
)
def test_an_expiry_of_files_is_refused_where_it_would_do_nothing(tmp_path: Path, fields: str, service: str) -> None:
    line = problem(tmp_path, f"{fields}, files_expire: 3d")
    assert (
        line == f"s.yaml:2: accounts.x: files_expire does nothing at {service}, which takes no such wish: leave it out"
    )


@pytest.mark.parametrize("asked", ["1h", "13d"])
def test_an_expiry_of_files_that_is_shorter_than_the_services_is_refused(tmp_path: Path, asked: str) -> None:
    line = problem(tmp_path, f"openai, preset: azure, {ELSEWHERE}, files_expire: {asked}")
    assert line == "s.yaml:2: accounts.x: files_expire is none that azure takes: 14d to 30d"


@pytest.mark.parametrize("asked", ["59m", "31d"])
def test_nobody_takes_an_expiry_of_less_than_an_hour_or_more_than_30_days(tmp_path: Path, asked: str) -> None:
    assert problem(tmp_path, f"openai, files_expire: {asked}").startswith("s.yaml:2: accounts.x.files_expire: ")


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ("openai", "1h"),
        ("openai", "30d"),
        (f"openai, preset: azure, {ELSEWHERE}", "14d"),
        (f"openai, preset: vllm, {ELSEWHERE}", "1h"),
        (f"openai, {ELSEWHERE}", "1h"),
    ],
)
def test_an_expiry_of_files_is_taken_where_the_service_takes_it(tmp_path: Path, fields: str, asked: str) -> None:
    assert load(tmp_path, f"{fields}, files_expire: {asked}").accounts["x"].files_expire


# --- numbers ---


@pytest.mark.parametrize(
    "setting",
    ["max_open_batches: true", "max_batch_requests: yes", "creates_per_hour: on", "budgets: [{tokens: true}]"],
)
def test_true_is_no_number(tmp_path: Path, setting: str) -> None:
    assert problem(tmp_path, f"openai, {setting}").endswith(": it is a number, not true or false")


def test_a_number_in_a_variable_is_one(tmp_path: Path) -> None:
    assert (
        load(tmp_path, "openai", {"BATCHLINE_ACCOUNTS__X__MAX_OPEN_BATCHES": "7"}).accounts["x"].max_open_batches == 7
    )


# --- what the settings know is what the providers know ---


@pytest.mark.parametrize("preset", [None, *get_args(PresetName)])
def test_windows_expiries_and_endpoints_are_those_of_the_presets(preset: str | None) -> None:
    name = preset or "openai"
    assert tuple(facts("openai", Options(preset=preset)).endpoints) == ENDPOINTS[name]
    assert WINDOWS_H[name] == PRESETS[name].windows_h
    assert (name in EXPIRIES_S) == PRESETS[name].expiries
    assert not PRESETS[name].expiries or EXPIRIES_S[name][0] == PRESETS[name].shortest_expiry_s
    assert preset is None or ADDRESSES[preset].startswith("http")


@pytest.mark.parametrize("kind", PROVIDERS)
def test_endpoints_are_those_of_the_providers(kind: str) -> None:
    assert set(ENDPOINTS[kind]) == set(facts(kind).endpoints)
