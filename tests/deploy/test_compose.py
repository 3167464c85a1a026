"""compose.yaml and what it mounts, as far as it can be looked at without Docker: schema, paths, commands, settings."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import typer
import yaml
from jsonschema import Draft7Validator
from tests.deploy.tools import ROOT, run, tool
from typer.testing import CliRunner

from batchline.cli import build
from batchline.local.environment import EMULATOR_KEY
from batchline.local.store_process import StoreProcess, server_binary
from batchline.providers import facts_of
from batchline.settings import Settings, load_settings, names, parse_seconds
from batchline.settings.model import DEFAULT_ACCOUNTS

FILES = ("compose.yaml", "compose.override.yaml")
OURS = ("accumulate", "poll", "exporter", "emulator")
SCHEMA_PACKAGE = "dclint@3.1.0"
"""An npm package that has the Compose specification's own JSON schema in it; only the schema is taken."""
SCHEMA_PACKAGE_SHA512 = (
    "69f4c67734455172b8c82a488845bf2ce47ef5338c10384d95d0e9e7a5425b39"
    "fb243983e39d4f7148bae3418694c1e06c7289d74ac3066e0fb697016e3aa55f"
)
_VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_]+):-(?P<default>[^}$]*)\}")


def interpolated(value: Any) -> Any:
    """Return a value with the default of every variable in it, as with an empty shell."""
    if isinstance(value, dict):
        return {name: interpolated(each) for name, each in value.items()}
    if isinstance(value, list):
        return [interpolated(each) for each in value]
    return _VARIABLE.sub(lambda found: found["default"], value) if isinstance(value, str) else value


def content(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = interpolated(yaml.safe_load((ROOT / name).read_text()))
    return loaded


def services(*files: str) -> dict[str, dict[str, Any]]:
    """Return the services of both files, laid over each other as far as these files need it."""
    merged: dict[str, dict[str, Any]] = {}
    for name in files or FILES:
        for service, parts in content(name)["services"].items():
            before = merged.setdefault(service, {})
            for part, value in parts.items():
                both = isinstance(value, dict) and part in before
                before[part] = before[part] | value if both else value
    return merged


def mounts(service: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield source and target of each mount."""
    for each in service.get("volumes", ()):
        source, target, *_ = each.split(":")
        yield source, target


@pytest.fixture(scope="session")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The validator of Compose files."""
    folder = tmp_path_factory.mktemp("schema")
    done = run(tool("npm", package="npm"), "pack", "--silent", "--pack-destination", str(folder), SCHEMA_PACKAGE)
    assert done.returncode == 0, done.stderr
    (packed,) = folder.glob("*.tgz")
    assert hashlib.sha512(packed.read_bytes()).hexdigest() == SCHEMA_PACKAGE_SHA512
    with tarfile.open(packed) as package:
        member = package.extractfile("package/schemas/compose.schema.json")
        assert member is not None
        return Draft7Validator(json.loads(member.read()))


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_of_the_compose_specification(schema: Any, name: str) -> None:
    schema.validate(content(name))


def test_the_schema_refuses_what_does_not_exist(schema: Any) -> None:
    wrong = content("compose.yaml")
    wrong["services"]["store"]["readonly"] = True
    assert not schema.is_valid(wrong)


@pytest.mark.parametrize("name", FILES)
def test_every_variable_of_the_shell_has_a_plain_default(name: str) -> None:
    text = (ROOT / name).read_text()
    assert _VARIABLE.search(text)
    assert "$" not in _VARIABLE.sub("", text)


@pytest.mark.parametrize("name", FILES)
def test_no_variable_of_the_shell_looks_like_a_setting(name: str) -> None:
    # Exported for Compose, it would be one that the command line on this machine does not know.
    assert not [
        found["name"]
        for found in _VARIABLE.finditer((ROOT / name).read_text())
        if found["name"].startswith(names.PREFIX)
    ]


@pytest.mark.parametrize("service", services())
def test_every_path_that_is_mounted_exists(service: str) -> None:
    for source, _ in mounts(services()[service]):
        if source.startswith("."):
            assert (ROOT / source).exists(), source
        else:
            assert source in content("compose.yaml")["volumes"]


def test_the_volumes_are_all_used() -> None:
    used = {source for service in services().values() for source, _ in mounts(service)}
    assert content("compose.yaml")["volumes"].keys() <= used


@pytest.mark.parametrize("service", OURS)
def test_every_setting_exists(service: str) -> None:
    known = {*names.variables(Settings, DEFAULT_ACCOUNTS), *names.NO_SETTINGS}
    given = {name for name in services()[service].get("environment", ()) if name.startswith(names.PREFIX)}
    assert given <= known


def settings_of(service: dict[str, Any], folder: Path = ROOT) -> Settings:
    """Load the settings as the service's container would, its mounts being those of ``folder``."""
    inside = {target: str(folder / source) for source, target in mounts(service)}
    return load_settings({name: inside.get(value, value) for name, value in service["environment"].items()})


@pytest.mark.parametrize("files", [("compose.yaml",), FILES])
@pytest.mark.parametrize("service", ["accumulate", "poll", "exporter"])
def test_the_settings_can_be_loaded(service: str, files: tuple[str, ...]) -> None:
    settings = settings_of(services(*files)[service])
    assert settings.redis_url == settings.broker_url == "redis://store:6379/0"
    assert set(settings.accounts) == {"openai", "anthropic", "gemini"}
    emulated = len(files) > 1 and service != "exporter"
    assert settings.accounts["openai"].base_url == ("http://emulator:8090/v1" if emulated else None)
    assert facts_of(settings.accounts["openai"]).price_provider == "openai"
    assert settings.worker_port == (None if service == "exporter" else 9465)


@pytest.mark.parametrize("service", ["accumulate", "poll", "exporter"])
def test_the_settings_file_of_this_folder_counts(service: str, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/batchline.yaml").write_text(
        "{redis_url: 'redis://elsewhere', accounts: {mine: {provider: openai, max_open_batches: 7}}, flush: {max_requests: 9}}"
    )
    settings = settings_of(services()[service], tmp_path)
    assert settings.redis_url == "redis://store:6379/0"
    assert settings.accounts["mine"].max_open_batches == 7
    assert settings.flush.max_requests == 9


@pytest.mark.parametrize("service", ["accumulate", "poll", "exporter"])
def test_the_settings_file_is_mounted_for_reading_only(service: str) -> None:
    assert "./config/batchline.yaml:/etc/batchline/batchline.yaml:ro" in services()[service]["volumes"]
    assert services()[service]["environment"]["BATCHLINE_CONFIG"] == "/etc/batchline/batchline.yaml"


@pytest.mark.parametrize("files", [("compose.yaml",), FILES])
def test_the_exporter_is_given_nothing_of_the_providers(files: tuple[str, ...]) -> None:
    assert set(services(*files)["exporter"]["environment"]) == {
        "BATCHLINE_CONFIG",
        "BATCHLINE_REDIS_URL",
        "BATCHLINE_LOG_LEVEL",
        "BATCHLINE_EXPORTER_PORT",
    }


@pytest.mark.parametrize("service", OURS)
def test_the_command_line_knows_every_command(service: str) -> None:
    command, *arguments = services()[service]["command"]
    done = CliRunner().invoke(build(), [command, "--help"])
    assert done.exit_code == 0, done.output
    for option in (each for each in arguments if each.startswith("--")):
        assert option in done.output


@pytest.mark.parametrize("service", ["accumulate", "poll"])
def test_every_role_has_workers_of_its_own(service: str) -> None:
    assert services()[service]["command"] == ["worker", "--only", service]


@pytest.mark.parametrize("service", services())
def test_every_service_is_confined(service: str) -> None:
    given = services()[service]
    assert given["read_only"] is True
    assert given["cap_drop"] == ["ALL"]
    assert given["security_opt"] == ["no-new-privileges:true"]
    assert given["restart"] == "unless-stopped"


@pytest.mark.parametrize("service", services())
def test_every_service_tells_whether_it_is_healthy(service: str) -> None:
    check = services()[service]["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert parse_seconds(check["timeout"]) >= 5


@pytest.mark.parametrize("service", services())
def test_ports_are_open_to_this_machine_only(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in services()[service].get("ports", ()))


@pytest.mark.parametrize("service", ["accumulate", "poll"])
def test_a_worker_has_time_for_its_longest_step(service: str) -> None:
    settings = Settings()
    longest = max(settings.create_timeout, settings.shutdown_grace)
    assert parse_seconds(services()[service]["stop_grace_period"]) >= longest + 60


@pytest.mark.parametrize("service", ["accumulate", "poll"])
def test_the_spool_has_room_for_a_batch_in_each_of_a_workers_steps(service: str) -> None:
    (tmp,) = services()[service]["tmpfs"]
    gib = re.fullmatch(r"/tmp:mode=1777,size=(\d+)g", tmp)
    assert gib is not None
    commands = typer.main.get_command(build())
    assert isinstance(commands, typer.core.TyperGroup)
    (steps,) = [int(str(each.default)) for each in commands.commands["worker"].params if each.name == "concurrency"]
    # Twice: while its rows are put in order they are in two files.
    assert int(gib[1]) * 2**30 >= 2 * steps * Settings().flush.max_bytes


def test_dependencies_are_services_that_are_waited_for_until_healthy() -> None:
    known = services()
    waits = [wait for service in known.values() for wait in service.get("depends_on", {}).items()]
    assert len(waits) >= 6
    for name, wait in waits:
        assert name in known
        assert wait == {"condition": "service_healthy"}


def test_our_own_targets_exist_in_the_dockerfile() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    arguments = set(re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    for service in OURS:
        built = services()[service]["build"]
        assert built["target"] in targets
        assert set(built["args"]) <= arguments


def test_by_default_no_key_of_the_shell_reaches_anything() -> None:
    for service in ("accumulate", "poll"):
        environment = services()[service]["environment"]
        assert {environment[f"{name}_API_KEY"] for name in ("OPENAI", "ANTHROPIC", "GEMINI")} == {EMULATOR_KEY}
        assert environment["GOOGLE_API_KEY"] == ""
        assert environment["GOOGLE_GEMINI_BASE_URL"] == environment["ANTHROPIC_BASE_URL"]
        assert environment["OPENAI_BASE_URL"] == "http://emulator:8090/v1"
        assert environment["ANTHROPIC_BASE_URL"] == "http://emulator:8090"


def test_the_first_file_alone_passes_keys_of_the_shell_on_and_holds_none() -> None:
    for service in ("accumulate", "poll"):
        environment = services("compose.yaml")[service]["environment"]
        assert {environment[f"{name}_API_KEY"] for name in ("OPENAI", "ANTHROPIC", "GEMINI", "GOOGLE")} == {""}
    assert "emulator" not in services("compose.yaml")


def test_the_store_keeps_what_it_acknowledged() -> None:
    store = services()["store"]
    assert ("./config/redis.conf", "/etc/store/redis.conf") in list(mounts(store))
    assert store["command"][0] == "/etc/store/redis.conf"
    lines = (ROOT / "config/redis.conf").read_text().splitlines()
    assert {"appendonly yes", "appendfsync always", "maxmemory-policy noeviction"} <= set(lines)
    assert not {"--appendonly", "--appendfsync", "--maxmemory-policy", "--save"} & set(store["command"])
    assert "/data" in dict(map(reversed, mounts(store)))  # type: ignore[arg-type]


def test_a_store_started_with_its_command_is_what_doctor_asks_for(tmp_path: Path) -> None:
    store = StoreOfCompose(tmp_path / "data")
    store.start()
    try:
        with redis.Redis(port=store.port) as client:
            kept = client.config_get("*")
    finally:
        store.stop()
    wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "maxmemory": str(2**30)}
    assert {name: kept[name] for name in wanted} == wanted
    assert (kept["save"], kept["dir"], kept["protected-mode"]) == ("", str(tmp_path / "data"), "no")


class StoreOfCompose(StoreProcess):
    """A store by the command of compose.yaml, but for its address and folders."""

    def _command(self) -> list[str]:
        inside = {"/etc/store/redis.conf": str(ROOT / "config/redis.conf"), "/data": str(self.folder), "*": "127.0.0.1"}
        options = [inside.get(each, each) for each in services()["store"]["command"]]
        return [server_binary(), *options, "--port", str(self.port)]


def test_prometheus_accepts_its_configuration_and_rules(tmp_path: Path) -> None:
    # Laid out as the mounts of compose.yaml have it.
    for source, target in mounts(services()["prometheus"]):
        if source.startswith("."):
            place = tmp_path / Path(target).relative_to("/etc/prometheus")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes((ROOT / source).read_bytes())
    promtool = tool("promtool", package="prometheus")
    done = run(promtool, "check", "config", str(tmp_path / "prometheus.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"SUCCESS: [1-9]\d* rules? found", done.stdout + done.stderr)


def test_prometheus_scrapes_exporter_and_every_worker() -> None:
    exporter, workers = content("config/prometheus.yaml")["scrape_configs"]
    port = services()["exporter"]["environment"]["BATCHLINE_EXPORTER_PORT"]
    assert exporter["static_configs"] == [{"targets": [f"exporter:{port}"]}]
    (found,) = workers["dns_sd_configs"]
    assert found["names"] == [name for name in services() if "worker" in services()[name].get("command", ())]
    assert {str(found["port"])} == {services()[name]["environment"]["BATCHLINE_WORKER_PORT"] for name in found["names"]}


def test_grafana_finds_its_data_source_and_the_dashboards() -> None:
    (source,) = content("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    (provider,) = content("grafana/provisioning/dashboards/batchline.yaml")["providers"]
    targets = dict(mounts(services()["grafana"]))
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    assert targets["./grafana/dashboards"] == provider["options"]["path"]
    assert targets["./grafana/provisioning"] == "/etc/grafana/provisioning"
    assert len(list((ROOT / "grafana/dashboards").glob("*.json"))) >= 4


def test_grafana_reckons_with_the_interval_of_the_scrapes() -> None:
    (source,) = content("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert source["jsonData"]["timeInterval"] == content("config/prometheus.yaml")["global"]["scrape_interval"]


def test_grafana_has_no_user_with_a_known_password() -> None:
    environment = services()["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert not [name for name in environment if "PASSWORD" in name]
