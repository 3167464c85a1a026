"""``batchline config``: what counts here is shown, and no secret, wherever one may stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cli.kit import Command

from batchline.settings import Settings
from batchline.settings.redact import redacted_url

CANARY = "canary-77"
STORE = (
    f"rediss://{CANARY}-user:{CANARY}@store.example:6380/2?ssl_ca_certs=/ca.crt&ssl_password={CANARY}&password={CANARY}"
)
BASE = f"https://{CANARY}:{CANARY}@proxy.example/v1?api-key={CANARY}#{CANARY}"


@pytest.fixture
def secrets(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """A command line with a secret in every place that can hold one."""
    (tmp_path / "key").write_text(f"{CANARY}-key", encoding="utf-8")
    (tmp_path / "url").write_text(STORE, encoding="utf-8")
    monkeypatch.delenv("BATCHLINE_REDIS_URL")
    for name, value in {
        "BATCHLINE_REDIS_URL_FILE": "url",
        "BATCHLINE_BROKER_URL": STORE,
        "OPENAI_API_KEY": f"{CANARY}-openai",
        "OPENAI_BASE_URL": BASE,
        "BATCHLINE_ACCOUNTS__SECOND__PROVIDER": "anthropic",
        "BATCHLINE_ACCOUNTS__SECOND__API_KEY_FILE": "key",
        "BATCHLINE_ACCOUNTS__SECOND__BASE_URL": BASE,
    }.items():
        monkeypatch.setenv(name, value)
    return command


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_no_secret_is_shown(form: str, secrets: Command) -> None:
    done = secrets("config", "show", "--format", form)
    assert done.code == 0
    assert CANARY not in done.out + done.err
    assert "store.example:6380/2" in done.out


def test_no_secret_is_shown_where_a_setting_is_wrong(secrets: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHLINE_REDIS_URL", STORE)
    monkeypatch.setenv("BATCHLINE_ACCOUNTS__SECOND__BASE_URL", f"ftp://{CANARY}")
    for what in ("show", "check"):
        done = secrets("config", what)
        assert done.code == 2
        assert len(done.err.splitlines()) == 2
        assert CANARY not in done.out + done.err


def test_of_a_key_is_shown_whether_it_is_set_and_where(secrets: Command) -> None:
    accounts = json.loads(secrets("config", "show", "--format", "json").out)["accounts"]
    assert {name: account["api_key"] for name, account in accounts.items()} == {
        "openai": "set, from the variable OPENAI_API_KEY",
        "anthropic": "not set",
        "gemini": "not set",
        "second": "set, from the file key",
    }


def test_both_forms_show_every_setting(command: Command) -> None:
    as_yaml: Any = yaml.safe_load(command("config", "show").out)
    assert as_yaml == json.loads(command("config", "show", "--format", "json").out)
    assert list(as_yaml) == list(Settings.model_fields)


def test_what_counts_here_is_shown(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHLINE_FLUSH__MAX_AGE", "5m")
    assert yaml.safe_load(command("config", "show").out)["flush"]["max_age"] == 300


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0?canary-77=1", "redis://127.0.0.1:1?db=canary-77"])
@pytest.mark.parametrize(
    "arguments", [("config", "check"), ("config", "show"), ("status",), ("exporter", "--port", "0"), ("worker",)]
)
def test_a_store_url_with_a_wrong_parameter_is_bad_usage(
    arguments: tuple[str, ...], url: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHLINE_REDIS_URL", url)
    done = command(*arguments)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert done.err.startswith("batchline: BATCHLINE_REDIS_URL: redis_url: ")
    assert CANARY not in done.err


def test_a_key_in_the_place_of_its_variables_name_is_bad_usage(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHLINE_ACCOUNTS__OPENAI__API_KEY_ENV", f"sk-proj-{CANARY}")
    for what in ("show", "check"):
        done = command("config", what)
        assert (done.code, done.out) == (2, "")
        assert "BATCHLINE_ACCOUNTS__OPENAI__API_KEY_ENV" in done.err
        assert CANARY not in done.err


def test_right_settings_are_told_as_right(command: Command) -> None:
    assert command("config", "check") == (0, "the settings are right\n", "")


def test_every_wrong_setting_is_a_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHLINE_FLUSH__MAX_AGE", "often")
    monkeypatch.setenv("BATCHLINE_FLUSH__MAX_AG", "5")
    done = command("config", "check")
    assert done.code == 2
    assert len(done.err.splitlines()) == 2


def test_a_key_file_that_is_not_there_is_wrong(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHLINE_ACCOUNTS__OPENAI__API_KEY_FILE", "nowhere")
    done = command("config", "check")
    assert done.code == 2
    assert "account openai: cannot read its API key from file nowhere" in done.err


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://:p@h:1/0", "redis://***:***@h:1/0"),
        ("redis://u@h", "redis://***@h"),
        ("redis://u:p@ss@h/1", "redis://***:***@h/1"),
        ("unix://u:p@/run/x.sock?db=1", "unix://***:***@/run/x.sock?db=1"),
        ("rediss://h/0?ssl_ca_certs=/ca.crt&token=p", "rediss://h/0?ssl_ca_certs=/ca.crt&token=***"),
        ("sentinel://:p@a:1;sentinel://:p@b:1", "***"),
        ("redis://:p/w@h:1/0", "***"),
        ("redis://[::1", "***"),
        ("p", "***"),
        ("redis://user:123?456@host/0", "***"),
        ("redis://:123#456@host/0", "***"),
        ("redis://:123/456@host/0", "***"),
        ("redis://h/0?db=hunter2&protocol=hunter2", "redis://h/0?db=***&protocol=***"),
        ("redis://h/0?socket_timeout=hunter2", "redis://h/0?socket_timeout=***"),
        ("redis://h/0?db=3&socket_timeout=2.5", "redis://h/0?db=3&socket_timeout=2.5"),
    ],
)
def test_a_url_shows_where_and_not_who(url: str, seen: str) -> None:
    assert redacted_url(url) == seen
