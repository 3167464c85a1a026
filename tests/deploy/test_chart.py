"""What the chart makes of its value files: valid for three versions of Kubernetes, restricted, and agreeing with the settings."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import typer
import yaml
from tests.deploy import chart
from tests.deploy.tools import ROOT, run, tool

from batchline.cli import build
from batchline.cli.processes import ROLES, roles
from batchline.settings import Settings, load_settings
from batchline.settings.model import DEFAULT_ACCOUNTS
from batchline.settings.names import NO_SETTINGS, variables
from batchline.settings.units import parse_bytes

KUBERNETES = ("1.29", "1.33", "1.37")
PORTS = {"exporter": 9464}
WORKER_PORT = 9465


@pytest.fixture(params=chart.CASES)
def made(request: pytest.FixtureRequest) -> list[chart.Object]:
    return chart.case(request.param)


def settings_of(
    pod: chart.Pod, among: list[chart.Object], root: Path, env_from: Mapping[str, str] = MappingProxyType({})
) -> Settings:
    """Load the settings as the pod's container would: its variables, with its mounted files under ``root``.

    ``env_from`` is what ``envFrom`` brings; of a name in both Kubernetes takes what ``env`` has.
    """
    for place, source in chart.mounted(pod).items():
        file = root / place.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        kind, name, key = source.split("/")
        if kind == "ConfigMap":
            (config,) = [each for each in chart.of_kind(kind, among) if each["metadata"]["name"] == name]
            file.write_text(config["data"][key])
        else:
            file.write_text(f"redis://:secret@{name}.{key}:6379/0\n")
    environ = dict(env_from) | {each["name"]: each["value"] for each in pod.spec["containers"][0]["env"]}
    return load_settings(
        {name: value.replace("/etc/batchline", f"{root}/etc/batchline") for name, value in environ.items()}
    )


@pytest.mark.parametrize("case", chart.CASES)
def test_helm_lints_every_value_file(case: str) -> None:
    done = chart.helm("lint", "--strict", str(chart.CHART), "--values", str(chart.values_file(case)))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_value_file_is_a_case() -> None:
    assert {path.name for path in (chart.CHART / "ci").iterdir()} == {f"{case}-values.yaml" for case in chart.CASES}


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_field_of_every_object(version: str, tmp_path: Path) -> None:
    for case in chart.CASES:
        (tmp_path / f"{case}.yaml").write_text(yaml.safe_dump_all(chart.case(case)))
    done = run(
        tool("kubernetes-validate", package="kubernetes-validate"),
        *("--strict", "-k", version, *(str(path) for path in sorted(tmp_path.iterdir()))),
    )
    lines = (done.stdout + done.stderr).splitlines()
    unknown = [line for line in lines if "Couldn't find schema for kind" in line]
    wrong = [line for line in lines if not re.match(r"INFO .* passed ", line) and line not in unknown]
    assert wrong == []
    assert {re.findall(r"for kind (\w+)", line)[0] for line in unknown} == chart.CUSTOM_KINDS
    assert len(lines) == sum(len(chart.case(case)) for case in chart.CASES)


def test_the_oldest_version_checked_is_the_oldest_that_the_chart_allows() -> None:
    meta = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())
    assert meta["kubeVersion"] == f">={KUBERNETES[0]}.0-0"


def test_chart_and_project_have_one_version() -> None:
    meta = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (meta["version"], meta["appVersion"]) == (version, version)


def test_no_two_objects_of_a_rendering_share_a_name(made: list[chart.Object]) -> None:
    names = [(each["kind"], each["metadata"]["name"], each["metadata"]["namespace"]) for each in made]
    assert len(names) == len(set(names))


def test_every_variable_of_ours_is_a_setting(made: list[chart.Object]) -> None:
    known = {*variables(Settings, DEFAULT_ACCOUNTS), *NO_SETTINGS}
    used = {each["name"] for pod in chart.own_pods(made) for each in pod.spec["containers"][0]["env"]}
    assert {name for name in used if name.startswith("BATCHLINE_")} - known == set()


def test_the_settings_load_in_every_pod(made: list[chart.Object], tmp_path: Path) -> None:
    for pod in chart.own_pods(made):
        settings = settings_of(pod, made, tmp_path / pod.component)
        assert settings.redis_url.startswith("redis://:secret@")


def test_the_values_under_config_are_the_settings(tmp_path: Path) -> None:
    made = chart.case("external")
    (worker,) = chart.workers(made)
    settings = settings_of(worker, made, tmp_path)
    assert settings.flush.max_age == 300
    assert settings.flush.max_bytes == 188_743_680
    assert settings.flush_for("openai:chat:gpt-5-mini").max_age == 900
    assert settings.accounts["my-vllm"].max_open_batches == 4
    assert settings.broker_url == "redis://:secret@batchline-broker.url:6379/0"
    assert settings.redis_url == "redis://:secret@batchline-store.worker-url:6379/0"


def test_budgets_prices_and_accounts_of_services_come_through(tmp_path: Path) -> None:
    made = chart.case("everything")
    settings = settings_of(chart.workers(made)[0], made, tmp_path)
    gemini, groq = settings.accounts["gemini"], settings.accounts["groq"]
    assert [(each.match, each.tokens, each.requests, each.shared) for each in gemini.budgets or ()] == [
        ("*pro*", 500_000_000, None, False),
        ("*", None, 1_000, True),
    ]
    assert (groq.preset, groq.completion_window, groq.max_batch_bytes) == ("groq", "7d", 50_000_000)
    assert gemini.inline
    assert settings.accounts["openai"].files_expire == 14 * 86_400
    assert settings.cache_for("anthropic:messages:claude-haiku-4-5").anthropic_ttl == "1h"
    assert settings.prices[0].input == Decimal("0.59")


def test_every_account_that_exists_without_being_named_can_be_given_a_key(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(
        yaml.safe_dump({"apiKeys": {name: {"existingSecret": "s", "key": name} for name in DEFAULT_ACCOUNTS}})
    )
    made = chart.objects(chart.values_file("minimal"), file)
    accounts = settings_of(chart.workers(made)[0], made, tmp_path).accounts
    assert {name: account.api_key_file is not None for name, account in accounts.items()} == dict.fromkeys(
        DEFAULT_ACCOUNTS, True
    )


def test_the_chart_reckons_with_the_size_at_which_batches_are_cut() -> None:
    text = (chart.CHART / "templates" / "_check.tpl").read_text(encoding="utf-8")
    assert [parse_bytes(found) for found in re.findall(r'"max_bytes" \| default "([^"]+)"', text)] == [
        Settings().flush.max_bytes
    ]


def test_the_exporter_may_have_a_user_of_its_own(tmp_path: Path) -> None:
    made = chart.case("external")
    (exporter,) = [pod for pod in chart.own_pods(made) if pod.component == "exporter"]
    assert settings_of(exporter, made, tmp_path).redis_url == "redis://:secret@batchline-store.exporter-url:6379/0"


def test_every_api_key_is_a_mounted_file_where_it_is_used(made: list[chart.Object], tmp_path: Path) -> None:
    for pod in chart.own_pods(made):
        files = {
            str(account.api_key_file)
            for account in settings_of(pod, made, tmp_path / pod.component).accounts.values()
            if account.api_key_file
        }
        mounted = {place for place in chart.mounted(pod) if place.startswith("/etc/batchline/keys/")}
        assert mounted == (set() if pod.component == "exporter" else files)


def test_no_secret_is_a_variable_of_the_chart(made: list[chart.Object]) -> None:
    for pod in chart.pods(made):
        for container in pod.spec["containers"]:
            for variable in container.get("env", []):
                assert "valueFrom" not in variable
                assert "redis" not in variable["value"]


def test_a_generated_password_is_in_its_secret_and_nowhere_else() -> None:
    made = chart.case("quickstart")
    (secret,) = chart.of_kind("Secret", made)
    password = secret["stringData"]["password"]
    assert re.fullmatch(r"[A-Za-z0-9]{40}", password)
    assert secret["stringData"]["url"] == f"redis://:{password}@rel-batchline-store.ns:6379/0"
    assert password not in str([each for each in made if each is not secret])


def test_every_container_is_restricted(made: list[chart.Object]) -> None:
    for pod in chart.pods(made):
        assert pod.spec["automountServiceAccountToken"] is False
        assert pod.spec["enableServiceLinks"] is False
        assert pod.spec["securityContext"]["runAsNonRoot"] is True
        assert pod.spec["securityContext"]["runAsUser"] >= 100
        assert pod.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "initContainers" not in pod.spec
        for container in pod.spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_every_container_has_resources_and_a_bounded_tmp(made: list[chart.Object]) -> None:
    for pod in chart.pods(made):
        (container,) = pod.spec["containers"]
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]
        (volume,) = [each for each in pod.spec["volumes"] if each["name"] == "tmp"]
        assert volume["emptyDir"]["sizeLimit"]
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


def test_probes_ask_the_port_that_the_process_serves(made: list[chart.Object], tmp_path: Path) -> None:
    for pod in chart.own_pods(made):
        (container,) = pod.spec["containers"]
        probes = {name: probe["httpGet"] for name, probe in container.items() if name.endswith("Probe")}
        if pod.component == "doctor":
            assert probes == {}
            continue
        settings = settings_of(pod, made, tmp_path / pod.component)
        port = settings.exporter_port if pod.component == "exporter" else settings.worker_port
        assert port == PORTS.get(pod.component, WORKER_PORT)
        assert container["ports"] == [{"name": "metrics", "containerPort": port, "protocol": "TCP"}]
        assert probes == {
            "startupProbe": {"path": "/livez", "port": "metrics"},
            "livenessProbe": {"path": "/livez", "port": "metrics"},
            "readinessProbe": {"path": "/readyz", "port": "metrics"},
        }


def test_a_worker_is_given_more_time_to_end_than_it_takes(made: list[chart.Object], tmp_path: Path) -> None:
    for pod in chart.workers(made):
        settings = settings_of(pod, made, tmp_path / pod.component)
        longest = settings.shutdown_grace + settings.create_timeout
        assert pod.spec["terminationGracePeriodSeconds"] >= longest + 10


def test_sources_of_variables_cannot_move_what_the_chart_reckons_with(made: list[chart.Object], tmp_path: Path) -> None:
    behind_its_back = {
        "BATCHLINE_SHUTDOWN_GRACE": "9h",
        "BATCHLINE_CREATE_TIMEOUT": "9h",
        "BATCHLINE_REDIS_URL": "redis://elsewhere",
        "BATCHLINE_BROKER_URL": "redis://elsewhere",
        "BATCHLINE_BROKER_URL_FILE": "/nowhere",
    }
    for pod in chart.workers(made):
        root = tmp_path / pod.component
        assert settings_of(pod, made, root, behind_its_back) == settings_of(pod, made, root)


def test_only_who_talks_to_the_broker_is_given_its_url(tmp_path: Path) -> None:
    made = chart.case("external")
    for pod in chart.own_pods(made):
        mounted = {source for source in chart.mounted(pod).values() if "broker" in source}
        settings = settings_of(pod, made, tmp_path / pod.component)
        if pod.component == "exporter":
            assert mounted == set()
            assert "broker" not in str(pod.spec["volumes"])
            assert settings.broker_url == settings.redis_url
        else:
            assert mounted == {"Secret/batchline-broker/url"}
            assert settings.broker_url == "redis://:secret@batchline-broker.url:6379/0"


def test_every_role_is_served(made: list[chart.Object]) -> None:
    served = [pod.spec["containers"][0]["args"] for pod in chart.workers(made)]
    assert {args[:2] == ["worker", "--only"] for args in served} == {True}
    assert {role for args in served for role in args[2].split(",")} == set(ROLES)


def test_the_roles_that_may_be_named_are_those_of_the_command_line() -> None:
    schema = yaml.safe_load((chart.CHART / "values.schema.json").read_text())
    assert schema["definitions"]["role"]["properties"]["only"]["items"]["enum"] == list(ROLES)


def test_helm_test_runs_doctor() -> None:
    for case, args in (("minimal", ["doctor"]), ("everything", ["doctor", "--providers"])):
        (pod,) = chart.of_kind("Pod", chart.case(case))
        assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
        assert pod["spec"]["containers"][0]["args"] == args
        assert pod["spec"]["restartPolicy"] == "Never"


def selectors(among: list[chart.Object]) -> dict[str, Any]:
    return {
        each["metadata"]["name"]: each["spec"]["selector"]["matchLabels"]
        for kind in ("Deployment", "StatefulSet")
        for each in chart.of_kind(kind, among)
    }


def test_no_upgrade_changes_what_a_deployment_selects_by(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("{image: {tag: v9}, commonLabels: {a: b}, pod: {podLabels: {c: d}}, worker: {replicas: 5}}")
    file = chart.values_file("quickstart")
    before, after = selectors(chart.objects(file)), selectors(chart.objects(file, other))
    assert before == after
    for labels in before.values():
        assert set(labels) == {f"app.kubernetes.io/{part}" for part in ("name", "instance", "component")}


def test_every_selector_finds_the_pods_it_means(made: list[chart.Object]) -> None:
    for each in made:
        if each["kind"] in {"Deployment", "StatefulSet"}:
            labels = each["spec"]["template"]["metadata"]["labels"]
            assert each["spec"]["selector"]["matchLabels"].items() <= labels.items()
        if each["kind"] in {"Service", "PodDisruptionBudget"}:
            selector = each["spec"]["selector"]
            wanted = selector.get("matchLabels", selector)
            assert [pod for pod in chart.pods(made) if wanted.items() <= pod.metadata["labels"].items()] != []


def test_a_changed_setting_brings_new_pods_and_the_same_settings_do_not(tmp_path: Path) -> None:
    other, same = tmp_path / "other.yaml", tmp_path / "same.yaml"
    other.write_text("{config: {reply_ttl: 1d}}")
    same.write_text("{worker: {replicas: 7}}")
    file = chart.values_file("minimal")

    def checksums(*files: Path) -> set[str]:
        return {pod.metadata["annotations"]["checksum/config"] for pod in chart.workers(chart.objects(*files))}

    assert checksums(file) == checksums(file, same)
    assert checksums(file).isdisjoint(checksums(file, other))


def test_a_role_may_have_everything_for_itself() -> None:
    (poll,) = [pod for pod in chart.workers(chart.case("everything")) if pod.component == "poll"]
    (container,) = poll.spec["containers"]
    assert container["args"][-2:] == ["--concurrency", "8"]
    assert container["resources"]["requests"]["memory"] == "512Mi"
    assert container["resources"]["requests"]["cpu"] == "100m"
    assert {"name": "BATCHLINE_POLL__MAX_INTERVAL", "value": "10m"} in container["env"]
    assert "BATCHLINE_LOG_LEVEL" not in {each["name"] for each in container["env"]}


def test_the_general_options_reach_every_pod_of_ours() -> None:
    for pod in chart.own_pods(chart.case("everything")):
        (container,) = pod.spec["containers"]
        assert pod.metadata["labels"]["cost"] == "llm"
        assert pod.spec["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
        assert pod.spec["tolerations"] == [{"key": "spot", "operator": "Exists"}]
        assert "podAntiAffinity" in pod.spec["affinity"]
        assert pod.spec["priorityClassName"] == "important"
        assert pod.spec["imagePullSecrets"] == [{"name": "registry"}]
        assert [each["topologyKey"] for each in pod.spec["topologySpreadConstraints"]] == [
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        ]
        for each in pod.spec["topologySpreadConstraints"]:
            assert each["labelSelector"]["matchLabels"].items() <= pod.metadata["labels"].items()
        assert container["envFrom"][0] == {"secretRef": {"name": "more"}}
        assert {"name": "spool", "mountPath": "/spool"} in container["volumeMounts"]
        assert container["image"] == "registry.example.com/batchline:0.1.0-slim"


def test_a_digest_wins_over_the_tag() -> None:
    (worker,) = chart.workers(chart.case("external"))
    image = worker.spec["containers"][0]["image"]
    assert image == "registry.example.com:5000/team/batchline@sha256:" + 64 * "0"


def test_the_platform_may_choose_the_user(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("{securityContext: {runAsUser: null, fsGroup: null}}")
    for pod in chart.own_pods(chart.objects(chart.values_file("minimal"), values)):
        assert set(pod.spec["securityContext"]) == {"runAsNonRoot", "seccompProfile"}


def test_the_chart_runs_the_image_as_the_image_is_made() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert 'ENTRYPOINT ["tini", "--", "batchline"]' in lines
    for pod in chart.own_pods(chart.case("minimal")):
        security = pod.spec["securityContext"]
        assert f"USER {security['runAsUser']}:{security['runAsGroup']}" in lines
        assert "command" not in pod.spec["containers"][0]


def test_roles_are_scaled_by_metrics_that_the_exporter_has() -> None:
    files = [ROOT / "worker" / "batchline" / name for name in ("metrics.py", "exporter.py")]
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    given = yaml.safe_load((chart.CHART / "values.yaml").read_text(encoding="utf-8"))["roles"].values()
    queries = [role["autoscaling"]["query"] for role in given]
    asked = {name for query in queries for name in re.findall(r"\bbatchline_\w+", query)}
    assert asked == {role["autoscaling"]["metric"]["name"] for role in given} | {"batchline_store_up"}
    assert asked - set(re.findall(r'"(batchline_\w+)"', source)) == set()


def test_the_command_line_takes_the_arguments_of_every_pod(made: list[chart.Object]) -> None:
    commands = typer.main.get_command(build())
    assert isinstance(commands, typer.core.TyperGroup)
    for pod in chart.own_pods(made):
        name, *arguments = pod.spec["containers"][0]["args"]
        parameters = commands.commands[name].make_context(name, arguments).params
        if name == "worker":
            assert roles(parameters["only"]) == parameters["only"].split(",")
