"""Settings: defaults, over them the file, over it the environment; every slip is told where it was made."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from batchline.errors import UsageError
from batchline.settings import ModelPattern, Settings, load_settings, parse_bytes, parse_seconds
from batchline.store import Store

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "config" / "batchline.yaml"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty directory, where no default file is."""
    monkeypatch.chdir(tmp_path)


def problems(environ: dict[str, str] | None = None, text: str = "") -> list[str]:
    """Return the lines of the error that these settings give."""
    with pytest.raises(UsageError) as caught:
        load(environ, text)
    return str(caught.value).splitlines()


def load(environ: dict[str, str] | None = None, text: str = "") -> Settings:
    if not text:
        return load_settings(environ or {})
    file = Path("s.yaml")
    file.write_text(text, encoding="utf-8")
    return load_settings(environ or {}, file)


# --- defaults and layers ---


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = load()
    assert settings.redis_url == settings.broker_url == "redis://127.0.0.1:6379/0"
    assert settings.flush.model_dump() == {
        "max_requests": 50_000,
        "max_bytes": 180 * 2**20,
        "max_tokens": None,
        "max_age": 60,
    }
    assert (settings.poll.min_interval, settings.poll.max_interval) == (10, 900)
    assert (settings.retry.max_attempts, settings.lease_seconds, settings.reply_ttl) == (3, 30, 604_800)
    assert settings.limits.model_dump() == {"max_body_bytes": 8 * 2**20, "max_lanes": 10_000}
    assert settings.id_window.model_dump() == {"chosen": 86_400, "generated": 600}
    assert sorted(settings.accounts) == ["anthropic", "gemini", "openai"]


def test_the_shipped_file_equals_the_defaults() -> None:
    assert load_settings({}, SHIPPED).model_dump() == load().model_dump() == Settings().model_dump()


def test_the_shipped_file_names_every_setting() -> None:
    def missing(model: type[BaseModel], values: dict[str, Any]) -> set[str]:
        return set(model.model_fields) - values.keys()

    content = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    assert not missing(Settings, content)
    for name in ("flush", "poll", "retry", "cache", "id_window", "limits"):
        assert not missing(type(getattr(load(), name)), content[name])
    for name, account in load().accounts.items():
        assert not missing(type(account), content["accounts"][name])


def test_the_shipped_file_leaves_the_sdks_variables_in_force() -> None:
    settings = load_settings({"OPENAI_BASE_URL": "http://127.0.0.1:8700/v1"}, SHIPPED)
    assert settings.accounts["openai"].base_url == "http://127.0.0.1:8700/v1"


def test_the_environment_wins_over_the_file() -> None:
    settings = load({"BATCHLINE_FLUSH__MAX_AGE": "90s"}, "flush: {max_age: 5m, max_requests: 7}")
    assert (settings.flush.max_age, settings.flush.max_requests) == (90, 7)


def test_batchline_config_names_the_file() -> None:
    Path("other.yaml").write_text("tick_interval: 5", encoding="utf-8")
    assert load({"BATCHLINE_CONFIG": "other.yaml"}).tick_interval == 5


def test_the_default_file_is_read_where_it_exists() -> None:
    Path("config").mkdir()
    Path("config/batchline.yaml").write_text("tick_interval: 5", encoding="utf-8")
    assert load().tick_interval == 5


def test_an_empty_variable_or_file_sets_nothing() -> None:
    assert load({"BATCHLINE_FLUSH__MAX_TOKENS": "", "BATCHLINE_CONFIG": ""}, "# nothing\n") == load()


def test_the_broker_is_the_store_unless_it_is_set() -> None:
    assert load({"BATCHLINE_REDIS_URL": "redis://store:1/2"}).broker_url == "redis://store:1/2"
    assert load({"BATCHLINE_REDIS_URL": "redis://store:1/2"}, "broker_url: null").broker_url == "redis://store:1/2"
    assert load({"BATCHLINE_BROKER_URL": "amqp://b"}).broker_url == "amqp://b"


def test_lists_are_given_as_json_in_the_environment() -> None:
    settings = load({"BATCHLINE_LANES": '[{"match": "openai:*", "flush": {"max_age": "5m"}}]'})
    assert settings.flush_for("openai:chat:m").max_age == 300


# --- accounts ---


def test_an_accounts_base_url_comes_from_the_setting_before_the_sdks_variable() -> None:
    sdk = {"OPENAI_BASE_URL": "http://sdk", "ANTHROPIC_BASE_URL": "http://sdk-a"}
    assert load(sdk).accounts["openai"].base_url == "http://sdk"
    assert load(sdk).accounts["anthropic"].base_url == "http://sdk-a"
    in_file = "accounts: {openai: {base_url: 'http://file'}}"
    assert load(sdk, in_file).accounts["openai"].base_url == "http://file"
    ours = sdk | {"BATCHLINE_ACCOUNTS__OPENAI__BASE_URL": "http://ours"}
    assert load(ours, in_file).accounts["openai"].base_url == "http://ours"


def test_a_change_to_a_default_account_keeps_the_rest_of_it() -> None:
    account = load({}, "accounts: {openai: {max_open_batches: 3}}").accounts["openai"]
    assert (account.provider, account.api_key_env, account.max_open_batches) == ("openai", "OPENAI_API_KEY", 3)


def test_further_accounts_come_from_the_file_or_the_environment() -> None:
    in_file = "accounts: {my-second: {provider: openai, api_key_env: SECOND}}"
    settings = load(
        {
            "BATCHLINE_ACCOUNTS__MY_SECOND__FLUSH__MAX_AGE": "5m",
            "BATCHLINE_ACCOUNTS__THIRD__PROVIDER": "anthropic",
        },
        in_file,
    )
    assert settings.accounts["my-second"].flush.max_age == 300
    assert settings.accounts["third"].provider == "anthropic"


def test_creates_per_hour_follow_the_provider_unless_set() -> None:
    assert load().accounts["openai"].creates_per_hour == 2000
    assert load().accounts["anthropic"].creates_per_hour is None
    assert load({}, "accounts: {openai: {creates_per_hour: null}}").accounts["openai"].creates_per_hour is None


def test_an_unknown_provider_is_told_with_the_known_ones() -> None:
    (line,) = problems({}, "accounts:\n  x:\n    provider: openay\n")
    assert line.startswith("s.yaml:3: accounts.x.provider:")
    assert "'openai', 'anthropic' or 'gemini'" in line


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ("provider: openai, preset: azur", "s.yaml:3: accounts.x.preset: "),
        ("provider: anthropic, preset: azure", "s.yaml:2: accounts.x: preset and completion_window are of OpenAI-"),
        (
            "provider: gemini, completion_window: 24h",
            "s.yaml:2: accounts.x: preset and completion_window are of OpenAI-",
        ),
        ("provider: openai, completion_window: soon", "s.yaml:3: accounts.x.completion_window: "),
        (
            "provider: openai, preset: azure, base_url: 'http://x', completion_window: 48h",
            "s.yaml:2: accounts.x: completion_window '48h' is",
        ),
        (
            "provider: openai, preset: groq, base_url: 'http://x', completion_window: 8d",
            "s.yaml:2: accounts.x: completion_window '8d' is",
        ),
        (
            "provider: openai, preset: vllm, base_url: 'http://x', completion_window: 417d",
            "s.yaml:2: accounts.x: completion_window '417d' is",
        ),
    ],
)
def test_what_a_service_does_not_offer_is_told_with_its_line(fields: str, says: str) -> None:
    (line,) = problems({}, f"accounts:\n  x:\n    {{{fields}}}\n")
    assert line.startswith(says)


def test_an_unknown_preset_is_told_with_the_known_ones_and_a_window_with_those_that_are_offered() -> None:
    (preset,) = problems({}, "accounts:\n  x:\n    provider: openai\n    preset: azur\n")
    assert preset.startswith("s.yaml:4: ")
    assert "'azure', 'groq' or 'vllm'" in preset
    (window,) = problems(
        {}, "accounts: {x: {provider: openai, preset: groq, base_url: 'http://x', completion_window: 8d}}"
    )
    assert window.endswith("is none that groq offers: 24h to 168h")


def test_whose_prices_count_is_of_compatible_services() -> None:
    text = "accounts: {x: {provider: openai, base_url: 'http://x', price_as: anthropic}}"
    assert load({}, text).accounts["x"].price_as == "anthropic"
    (line,) = problems({}, "accounts: {x: {provider: gemini, price_as: google}}")
    assert line.endswith("price_as is of OpenAI-compatible services (provider: openai)")


def test_without_a_preset_any_window_goes() -> None:
    text = "accounts: {x: {provider: openai, base_url: 'http://x', completion_window: 3d}}"
    assert load({}, text).accounts["x"].completion_window == "3d"


def test_a_misspelt_account_in_the_environment_is_told_with_the_right_one() -> None:
    (line,) = problems({"BATCHLINE_ACCOUNTS__OPENIA__BASE_URL": "http://x"})
    assert line.startswith("BATCHLINE_ACCOUNTS__OPENIA__BASE_URL")
    assert line.endswith("did you mean openai?")


def test_a_key_is_read_from_its_variable_or_its_file_which_wins() -> None:
    account = load().accounts["openai"]
    assert account.read_key("openai", {"OPENAI_API_KEY": " sk-1\n"}) == "sk-1"
    Path("key").write_text("sk-2\n", encoding="utf-8")
    with_file = load({"BATCHLINE_ACCOUNTS__OPENAI__API_KEY_FILE": "key"}).accounts["openai"]
    assert with_file.read_key("openai", {"OPENAI_API_KEY": "sk-1"}) == "sk-2"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ("api_key_env: MY_KEY", "set environment variable MY_KEY"),
        ("api_key_file: missing", "cannot read its API key from file missing"),
        ("provider: openai", "set api_key_env or api_key_file"),
    ],
)
def test_a_missing_key_is_told_with_what_to_set(fields: str, says: str) -> None:
    account = load(
        {}, f"accounts:\n  x:\n    provider: openai\n    {fields.replace('provider: openai', '')}\n"
    ).accounts["x"]
    with pytest.raises(UsageError, match=says) as caught:
        account.read_key("x", {})
    assert "account x" in str(caught.value)


def test_a_key_with_strange_characters_is_refused_and_not_shown() -> None:
    with pytest.raises(UsageError) as caught:
        load().accounts["openai"].read_key("openai", {"OPENAI_API_KEY": "sk-\nSECRET"})
    assert "SECRET" not in str(caught.value)


def test_no_secret_is_in_the_settings_text() -> None:
    settings = load({"BATCHLINE_REDIS_URL": "redis://:SECRET@h/0", "OPENAI_API_KEY": "SECRET"})
    assert "SECRET" not in repr(settings)
    assert "SECRET" not in str(settings)


# --- URLs in files ---


def url_file(text: str, name: str = "url") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def test_the_stores_url_can_stand_in_a_file_and_the_broker_follows() -> None:
    settings = load({"BATCHLINE_REDIS_URL_FILE": url_file("redis://:pw@store:1/2\n")})
    assert settings.redis_url == settings.broker_url == "redis://:pw@store:1/2"


def test_the_brokers_url_can_stand_in_a_file_of_its_own() -> None:
    settings = load({"BATCHLINE_BROKER_URL_FILE": url_file("redis://b/1"), "BATCHLINE_REDIS_URL": "redis://s/0"})
    assert (settings.redis_url, settings.broker_url) == ("redis://s/0", "redis://b/1")


def test_the_settings_file_can_name_the_urls_file() -> None:
    assert load({}, f"redis_url_file: {url_file('redis://s/3')}\nbroker_url: null\n").broker_url == "redis://s/3"


@pytest.mark.parametrize("setting", ["redis_url", "broker_url"])
def test_a_url_and_its_file_are_not_given_both(setting: str) -> None:
    name = f"BATCHLINE_{setting.upper()}"
    environ = {name: "redis://:SECRET@a", f"{name}_FILE": url_file("redis://:SECRET@b")}
    says = f"{setting}_file: {setting} is set as well; give the URL or the file that holds it, not both"
    assert problems(environ) == [f"{name}_FILE: {says}"]
    assert problems({}, f"{setting}: redis://:SECRET@a\n{setting}_file: url\n") == [f"s.yaml:2: {says}"]


def test_of_a_url_and_its_file_the_environments_one_wins() -> None:
    environ = {"BATCHLINE_REDIS_URL_FILE": url_file("redis://env/1")}
    assert load(environ, "redis_url: redis://file/1").redis_url == "redis://env/1"
    settings = load({"BATCHLINE_REDIS_URL": "redis://env/2"}, "redis_url_file: url")
    assert (settings.redis_url, settings.redis_url_file) == ("redis://env/2", None)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "redis_url_file: cannot read the file url: No such file or directory"),
        (b"", "redis_url_file: the file url is empty"),
        (b" \n", "redis_url_file: the file url is empty"),
        (b"redis://:SECRET@a\nredis://:SECRET@b", "redis_url_file: the file url holds more than a URL"),
        (b"redis://" + b"SECRET" * 1000, "redis_url_file: the file url holds more than a URL"),
        (b"\xffSECRET", "redis_url_file: cannot read the file url: it is not text"),
        (b"http://:SECRET@h", "redis_url: a store's URL begins with redis://, rediss:// or unix://"),
    ],
)
def test_a_bad_url_file_is_told_and_its_content_is_not_shown(content: bytes | None, says: str) -> None:
    if content is not None:
        Path("url").write_bytes(content)
    assert problems({"BATCHLINE_REDIS_URL_FILE": "url"}) == [f"BATCHLINE_REDIS_URL_FILE: {says}"]
    assert problems({}, "redis_url_file: url") == [f"s.yaml:1: {says}"]


# --- slips ---


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("BATCHLINE_FLUSH__MAX_AG", "BATCHLINE_FLUSH__MAX_AGE"),
        ("BATCHLINE_FLUSH_MAX_AGE", "BATCHLINE_FLUSH__MAX_AGE"),
        ("BATCHLINE_REDIS_ULR", "BATCHLINE_REDIS_URL"),
        ("BATCHLINE_CONFG", "BATCHLINE_CONFIG"),
        ("BATCHLINE_EXPORTR_PORT", "BATCHLINE_EXPORTER_PORT"),
        ("BATCHLINE_ACCOUNTS__OPENAI__BASEURL", "BATCHLINE_ACCOUNTS__OPENAI__BASE_URL"),
        ("BATCHLINE_ACCOUNTS__OPENAI__FLUSH__MAXAGE", "BATCHLINE_ACCOUNTS__OPENAI__FLUSH__MAX_AGE"),
    ],
)
def test_an_unknown_variable_is_told_with_the_nearest_right_one(name: str, meant: str) -> None:
    assert problems({name: "1"}) == [f"{name}: there is no such setting; did you mean {meant}?"]


def test_an_unknown_key_is_told_with_its_line_and_the_nearest_right_one() -> None:
    text = "flush:\n  max_age: 5\n  max_bites: 3\nlanes:\n  - match: x\n    flush: {max_reqests: 3}\nlease_second: 3\n"
    assert sorted(problems({}, text)) == [
        "s.yaml:3: flush.max_bites: there is no such setting; did you mean max_bytes?",
        "s.yaml:6: lanes[0].flush.max_reqests: there is no such setting; did you mean max_requests?",
        "s.yaml:7: lease_second: there is no such setting; did you mean lease_seconds?",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BATCHLINE_SERVICE_HOST", "10.0.0.1"),
        ("BATCHLINE_EXPORTER_SERVICE_HOST", "10.0.0.1"),
        ("BATCHLINE_EXPORTER_SERVICE_PORT", "9464"),
        ("BATCHLINE_EXPORTER_SERVICE_PORT_METRICS", "9464"),
        ("BATCHLINE_PORT", "tcp://10.0.0.1:9464"),
        ("BATCHLINE_EXPORTER_PORT", "tcp://10.0.0.1:9464"),
        ("BATCHLINE_EXPORTER_PORT_9464_TCP", "tcp://10.0.0.1:9464"),
        ("BATCHLINE_EXPORTER_PORT_9464_TCP_ADDR", "10.0.0.1"),
        ("BATCHLINE_EXPORTER_PORT_9464_TCP_PROTO", "tcp"),
        ("BATCHLINE_MY_STORE_PORT_53_UDP_PORT", "53"),
    ],
)
def test_what_kubernetes_injects_is_passed_over(name: str, value: str) -> None:
    assert load({name: value}) == load()


def test_a_real_exporter_port_is_taken_beside_what_kubernetes_injects() -> None:
    injected = {"BATCHLINE_EXPORTER_PORT_9464_TCP": "tcp://10.0.0.1:9464"}
    assert load(injected | {"BATCHLINE_EXPORTER_PORT": "9000"}).exporter_port == 9000


def test_variables_of_others_are_none_of_ours() -> None:
    assert load({"BATCHLINER": "x", "PATH": "/bin", "batchline_flush": "x"}) == load()


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"BATCHLINE_FLUSH__MAX_AGE": "5 weeks"}, "BATCHLINE_FLUSH__MAX_AGE: flush.max_age: '5 weeks' is not a time"),
        (
            {"BATCHLINE_FLUSH__MAX_BYTES": "5 pages"},
            "BATCHLINE_FLUSH__MAX_BYTES: flush.max_bytes: '5 pages' is not a size",
        ),
        ({"BATCHLINE_FLUSH__MAX_REQUESTS": "0"}, "BATCHLINE_FLUSH__MAX_REQUESTS: flush.max_requests: "),
        ({"BATCHLINE_LOG_FORMAT": "xml"}, "BATCHLINE_LOG_FORMAT: log_format: "),
        ({"BATCHLINE_POLL__MIN_INTERVAL": "1h"}, "BATCHLINE_POLL__MIN_INTERVAL: poll: min_interval is longer"),
        ({"BATCHLINE_LANES": "[{]"}, "BATCHLINE_LANES: the value is not JSON"),
        ({"BATCHLINE_LANES": '[{"match": ""}]'}, "BATCHLINE_LANES: lanes[0].match: "),
        ({"BATCHLINE_ACCOUNTS__OPENAI__BASE_URL": "ftp://x"}, "BATCHLINE_ACCOUNTS__OPENAI__BASE_URL: "),
        ({"BATCHLINE_CONFIG": "nowhere.yaml"}, "nowhere.yaml: the settings file cannot be read"),
    ],
)
def test_a_bad_value_is_told_with_its_variable(environ: dict[str, str], says: str) -> None:
    (line,) = problems(environ)
    assert line.startswith(says)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1", "s.yaml:1: not YAML"),
        ("- 1", "s.yaml:1: a settings file holds keys and values"),
        ("flush:\n  max_age: 1\n  max_age: 2", "s.yaml:3: flush.max_age stands there twice, first in line 2"),
        ("flush: 5", "s.yaml:1: flush: "),
        ("flush:\n  max_age: often", "s.yaml:2: flush.max_age: 'often' is not a time"),
        ("lanes:\n  - match: x\n  - flush: {}", "s.yaml:3: lanes[1].match: "),
        ("poll:\n  min_interval: 1h", "s.yaml:1: poll: min_interval is longer"),
    ],
)
def test_a_bad_value_is_told_with_its_line(text: str, says: str) -> None:
    (line,) = problems({}, text)
    assert line.startswith(says)


def test_all_slips_are_told_at_once() -> None:
    assert len(problems({"BATCHLINE_X": "1", "BATCHLINE_FLUSH__MAX_AGE": "x"}, "y: 1")) == 3


def test_a_wrong_store_url_is_not_shown() -> None:
    (line,) = problems({"BATCHLINE_REDIS_URL": "http://:SECRET@h"})
    assert "SECRET" not in line


@pytest.mark.parametrize("setting", ["redis_url", "broker_url"])
@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://:SECRET@h/0?SECRET=1", "a store's URL has a parameter that is not known; known are db, username, "),
        ("redis://:SECRET@h/0?retry=3", "a store's URL has a parameter that is not known"),
        ("redis://:12?SECRET@h/0", "a store's URL has a parameter that is not known"),
        ("redis://:12#SECRET@h/0", "a store's URL has no part after a #"),
        ("redis://:12/SECRET@h/0", "the path of a store's URL is the number of a database"),
        ("redis://h/SECRET", "the path of a store's URL is the number of a database"),
        ("redis://:SE/CRET@h/0", "a store's URL has a number as its port"),
        ("redis://h?db=SECRET", "the parameter db of a store's URL is a whole number"),
        ("unix:///run/x.sock?db=", "the parameter db of a store's URL is a whole number"),
        ("redis://h?protocol=2", "the parameter protocol of a store's URL is 3"),
        ("redis://h?socket_timeout=0", "the parameter socket_timeout of a store's URL is a number of seconds"),
        ("redis://h?health_check_interval=1.5", "the parameter health_check_interval of a store's URL is a whole"),
        ("redis://h?max_connections=0", "the parameter max_connections of a store's URL is a whole number from 1"),
        ("redis://h?client_name=a%20b", "the parameter client_name of a store's URL is text without spaces"),
        ("redis://h?ssl_ca_certs=/ca", "the parameter ssl_ca_certs is for URLs that begin with rediss://"),
        ("rediss://h?ssl_ca_certs=", "the parameter ssl_ca_certs of a store's URL is some text"),
        ("rediss://h?ssl_cert_reqs=CERT_NONE", "the parameter ssl_cert_reqs of a store's URL is none, optional or"),
        ("rediss://h?ssl_check_hostname=SECRET", "the parameter ssl_check_hostname of a store's URL is true or false"),
        ("rediss://h?ssl_min_version=12", "the parameter ssl_min_version of a store's URL is 771 (TLS 1.2) or 772"),
    ],
)
def test_a_url_that_the_store_would_stumble_over_is_told_and_not_shown(setting: str, url: str, says: str) -> None:
    name = f"BATCHLINE_{setting.upper()}"
    (line,) = problems({name: url})
    assert line.startswith(f"{name}: {setting}: {says}")
    assert "SECRET" not in line


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h/",
        "redis://u:p%2F%3F%23@[::1]:1/15?socket_timeout=2.5&socket_connect_timeout=1&health_check_interval=0",
        "redis://h?db=4&username=u&password=p&client_name=c-1&protocol=3&max_connections=9",
        "rediss://h/0?ssl_ca_certs=/a&ssl_ca_path=/b&ssl_certfile=/c&ssl_keyfile=/d&ssl_password=e",
        "rediss://h/0?ssl_ciphers=HIGH&ssl_cert_reqs=required&ssl_check_hostname=true&ssl_min_version=772",
        "unix://u:p@/run/x.sock?db=1",
    ],
)
def test_every_parameter_that_is_known_is_taken_by_the_store(url: str) -> None:
    Store(load({"BATCHLINE_REDIS_URL": url}).redis_url).close()


@pytest.mark.parametrize("url", ["redis://:SECRET@h?bogus=1", "redis://h?db=SECRET", "redis://h:SECRET", "SECRET"])
def test_a_wrong_url_that_is_no_setting_is_told_before_anything_is_sent(url: str) -> None:
    with pytest.raises(UsageError, match="the store's URL is not right") as caught:
        Store(url)
    assert "SECRET" not in str(caught.value)


def test_two_wrong_urls_are_two_lines() -> None:
    environ = {"BATCHLINE_REDIS_URL": "redis://h/x", "BATCHLINE_BROKER_URL": "redis://h/y"}
    assert [line.split(":")[0] for line in problems(environ)] == list(environ)


@pytest.mark.parametrize("name", ["sk-proj-SECRET", "SECRET KEY", "1SECRET", "SECRET\n", "SÉCRET-é"])
def test_a_key_in_the_place_of_its_variables_name_is_refused_and_not_shown(name: str) -> None:
    (line,) = problems({"BATCHLINE_ACCOUNTS__OPENAI__API_KEY_ENV": name})
    assert line.startswith("BATCHLINE_ACCOUNTS__OPENAI__API_KEY_ENV: accounts.openai.api_key_env: it is the name of")
    assert "CRET" not in line
    (line,) = problems({}, yaml.safe_dump({"accounts": {"openai": {"api_key_env": name}}}))
    assert line.startswith("s.yaml:3: accounts.openai.api_key_env: it is the name of the environment variable")
    assert "CRET" not in line


def test_the_ledger_of_a_day_is_kept_for_a_day_at_the_least() -> None:
    (line,) = problems({"BATCHLINE_LEDGER_KEPT": "23h"})
    assert line.startswith("BATCHLINE_LEDGER_KEPT: ledger_kept: the ledger of a day is kept for at least a day (1d)")
    assert load({"BATCHLINE_LEDGER_KEPT": "1d"}).ledger_kept == 86_400


# --- per account, lane and model ---

LAYERS = """
flush: {max_age: 10, max_requests: 100, max_tokens: 7}
retry: {max_attempts: 2}
accounts: {openai: {flush: {max_age: 20, max_tokens: null}}}
lanes:
  - {match: "openai:chat:*", flush: {max_age: 30}}
  - {match: "*:gpt-5-mini", flush: {max_age: 40}, retry: {max_attempts: 9}}
"""


def test_a_lanes_rules_are_the_general_ones_changed_by_account_and_patterns_in_order() -> None:
    settings = load({}, LAYERS)
    ages = {
        lane: settings.flush_for(lane).max_age
        for lane in ("anthropic:messages:m", "openai:embeddings:m", "openai:chat:m", "openai:chat:gpt-5-mini")
    }
    assert list(ages.values()) == [10, 20, 30, 40]
    assert settings.flush_for("openai:chat:gpt-5-mini").max_requests == 100
    assert settings.retry_for("openai:chat:m").max_attempts == 2
    assert settings.retry_for("openai:chat:gpt-5-mini").max_attempts == 9


def test_a_limit_can_be_taken_back_for_an_account() -> None:
    settings = load({}, LAYERS)
    assert settings.flush_for("anthropic:messages:m").max_tokens == 7
    assert settings.flush_for("openai:chat:m").max_tokens is None


@pytest.mark.parametrize(
    ("model", "route"),
    [
        ("claude-haiku-4-5", ("anthropic", "messages")),
        ("text-embedding-3-small", ("openai", "embeddings")),
        ("gpt-5-mini", ("openai", "chat")),
        ("o3-mini", ("openai", "chat")),
        ("omni-moderation-latest", ("openai", "moderations")),
        ("gpt-3.5-turbo-instruct", ("openai", "completions")),
    ],
)
def test_a_model_alone_picks_account_and_endpoint(model: str, route: tuple[str, str]) -> None:
    assert load().route_model(model) == route


def test_the_users_patterns_go_first() -> None:
    settings = load({}, "models: [{match: 'gpt-5*', account: openai, endpoint: responses}]")
    assert settings.route_model("gpt-5-mini") == ("openai", "responses")
    assert settings.route_model("gpt-4o") == ("openai", "chat")


def test_a_model_without_an_account_is_a_clear_error() -> None:
    with pytest.raises(UsageError, match="no account is known for the model 'llama-4'"):
        load().route_model("llama-4")
    settings = Settings(models=(ModelPattern(match="llama-*", account="vllm", endpoint="chat"),))
    with pytest.raises(UsageError, match="account 'vllm', which is not among"):
        settings.route_model("llama-4")


# --- units and laziness ---


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("6h", 21_600), ("1d", 86_400), ("1.5h", 5400), ("7", 7), (0.5, 0.5)],
)
def test_times_are_seconds_or_text(text: object, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("value", ["", "h", "-5", "5 y", "1h30m", "nan", "inf", None, True, float("nan"), "\u0665s"])
def test_what_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_seconds(value)


@pytest.mark.parametrize(
    ("text", "size"),
    [("64MiB", 64 * 2**20), ("64MB", 64 * 10**6), ("8KiB", 8192), ("2 GB", 2 * 10**9), ("12", 12), ("12B", 12), (5, 5)],
)
def test_sizes_are_bytes_or_text(text: object, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("value", ["", "MiB", "-5", "5 iB", "5TB", 1.5, None, True])
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_bytes(value)


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().tick_interval = 5


def test_importing_reads_no_environment() -> None:
    code = "import batchline.settings"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"BATCHLINE_X": "1", "BATCHLINE_FLUSH__MAX_AGE": "x"}, check=False
    )
    assert done.returncode == 0


def test_settings_built_by_hand_read_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHLINE_TICK_INTERVAL", "99")
    assert Settings().tick_interval == 1
