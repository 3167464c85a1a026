"""What the chart makes beside its pods: scaling, monitoring, network policies, and the store of a quick start."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from tests.deploy import chart
from tests.deploy.kube import Cluster
from tests.deploy.tools import ROOT

from batchline.local.store_process import server_binary

ANY = object()
TEXTS: dict[str, Any] = {"*": str}
METADATA: dict[str, Any] = {"name": str, "namespace": str, "labels": TEXTS}
SELECTOR: dict[str, Any] = {"matchLabels": TEXTS, "matchExpressions": [{"key": str, "operator": str, "values": [str]}]}
ENDPOINT: dict[str, Any] = {
    "port": str,
    "path": str,
    "interval": str,
    "scrapeTimeout": str,
    "honorLabels": bool,
    "relabelings": [ANY],
    "metricRelabelings": [ANY],
}
RULE: dict[str, Any] = {
    "alert": str,
    "record": str,
    "expr": str,
    "for": str,
    "keep_firing_for": str,
    "labels": TEXTS,
    "annotations": TEXTS,
}
SHAPES: dict[str, Any] = {
    # Source: github.com/prometheus-operator/prometheus-operator, example/prometheus-operator-crd (0.91)
    "ServiceMonitor": {"selector": SELECTOR, "endpoints": [ENDPOINT]},
    "PodMonitor": {"selector": SELECTOR, "podTargetLabels": [str], "podMetricsEndpoints": [ENDPOINT]},
    "PrometheusRule": {"groups": [{"name": str, "interval": str, "rules": [RULE]}]},
    # Source: keda.sh/docs/2.17/reference/scaledobject-spec and scalers/prometheus: metadata holds text only
    "ScaledObject": {
        "scaleTargetRef": {"name": str},
        "pollingInterval": int,
        "minReplicaCount": int,
        "maxReplicaCount": int,
        "fallback": {"failureThreshold": int, "replicas": int},
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": int}}}},
        "triggers": [{"type": str, "metricType": str, "metadata": TEXTS, "authenticationRef": {"name": str}}],
    },
}


def misfits(value: Any, shape: Any, path: str = "") -> list[str]:
    """Return the places of a value that its shape does not have."""
    if shape is ANY:
        return []
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [path]
        return [each for index, inner in enumerate(value) for each in misfits(inner, shape[0], f"{path}[{index}]")]
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return [path]
        return [
            each
            for key, inner in value.items()
            for each in misfits(inner, shape.get(key, shape.get("*")), f"{path}.{key}")
        ]
    return [] if shape is not None and type(value) is shape else [path]


@pytest.mark.parametrize("kind", sorted(chart.CUSTOM_KINDS))
def test_objects_of_other_projects_have_only_fields_that_these_know(kind: str) -> None:
    found = [each for case in chart.CASES for each in chart.of_kind(kind, chart.case(case))]
    assert found
    for each in found:
        assert misfits(each["metadata"], METADATA) == []
        assert misfits(each["spec"], SHAPES[kind]) == []


@pytest.mark.parametrize("case", chart.CASES)
def test_a_cluster_without_the_custom_kinds_is_asked_for_none(case: str) -> None:
    made = chart.objects(chart.values_file(case), present=())
    assert chart.CUSTOM_KINDS & {each["kind"] for each in made} == set()


def test_a_role_that_keda_cannot_scale_keeps_its_replicas() -> None:
    without = chart.objects(chart.values_file("keda"), present=())
    assert [each["spec"].get("replicas") for each in chart.of_kind("Deployment", without)] == [1, 2, 2]


@pytest.mark.parametrize(("case", "kind"), [("keda", "ScaledObject"), ("everything", "HorizontalPodAutoscaler")])
def test_what_is_scaled_has_no_replicas_of_the_chart(case: str, kind: str) -> None:
    made = chart.case(case)
    scaled = {each["spec"]["scaleTargetRef"]["name"] for each in chart.of_kind(kind, made)}
    workers = {pod.of["metadata"]["name"] for pod in chart.workers(made)}
    without = {each["metadata"]["name"] for each in chart.of_kind("Deployment", made) if "replicas" not in each["spec"]}
    assert scaled == workers == without


def test_keda_scales_on_what_waits_and_never_to_nothing() -> None:
    by_role = {each["metadata"]["name"]: each["spec"] for each in chart.of_kind("ScaledObject", chart.case("keda"))}
    accumulate, poll = by_role["rel-batchline-accumulate"], by_role["rel-batchline-poll"]
    assert accumulate["triggers"][0]["metadata"] == {
        "serverAddress": "http://prometheus-operated.monitoring:9090",
        "query": 'max(batchline_oldest_pending_seconds{namespace="ns",service="rel-batchline-exporter"})'
        ' or 0 * max(batchline_store_up{namespace="ns",service="rel-batchline-exporter"} == 1)',
        "threshold": "600",
        "ignoreNullValues": "false",
        "authModes": "bearer",
    }
    assert accumulate["fallback"] == {"failureThreshold": 3, "replicas": 2}
    assert 'batchline_batches{state="ended"' in poll["triggers"][0]["metadata"]["query"]
    assert poll["fallback"]["replicas"] == 4
    assert (accumulate["minReplicaCount"], poll["minReplicaCount"]) == (1, 2)


def test_the_exporter_is_one_pod_and_never_two() -> None:
    for case in chart.CASES:
        (exporter,) = [pod.of for pod in chart.own_pods(chart.case(case)) if pod.component == "exporter"]
        assert exporter["spec"]["replicas"] == 1
        assert exporter["spec"]["strategy"] == {"type": "Recreate"}


def test_prometheus_finds_the_exporter_and_every_worker() -> None:
    made = chart.case("everything")
    (service,) = [each for each in chart.of_kind("Service", made) if each["metadata"]["name"].endswith("-exporter")]
    (monitor,) = chart.of_kind("ServiceMonitor", made)
    (pod_monitor,) = chart.of_kind("PodMonitor", made)
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} == {
        port["name"] for port in service["spec"]["ports"]
    }
    assert set(pod_monitor["spec"]["selector"]["matchExpressions"][0]["values"]) == {
        pod.component for pod in chart.workers(made)
    }
    assert monitor["metadata"]["labels"]["release"] == "kube-prometheus-stack"


def test_the_label_endpoint_survives_the_scrape() -> None:
    (monitor,) = chart.of_kind("ServiceMonitor", chart.case("everything"))
    assert [endpoint["honorLabels"] for endpoint in monitor["spec"]["endpoints"]] == [True]


def rules(*more: str, tmp_path: Path) -> list[dict[str, Any]]:
    values = tmp_path / "rules.yaml"
    values.write_text(yaml.safe_dump({"prometheusRule": {"enabled": True} | yaml.safe_load(*more or ("{}",))}))
    (made,) = chart.of_kind("PrometheusRule", chart.objects(chart.values_file("minimal"), values))
    return [rule for group in made["spec"]["groups"] for rule in group["rules"]]


def test_the_rules_are_those_of_the_rule_file(tmp_path: Path) -> None:
    file = yaml.safe_load((chart.CHART / "files" / "alerts.yaml").read_text())
    assert rules(tmp_path=tmp_path) == [rule for group in file["groups"] for rule in group["rules"]]


def test_a_disabled_alert_is_gone_and_no_other(tmp_path: Path) -> None:
    every, left = rules(tmp_path=tmp_path), rules("{disabled: [BatchlineStoreDown]}", tmp_path=tmp_path)
    assert left == [rule for rule in every if rule.get("alert") != "BatchlineStoreDown"]
    assert len(left) == len(every) - 1


def test_alerts_get_labels_and_the_address_of_their_runbook(tmp_path: Path) -> None:
    for rule in rules(
        "{ruleLabels: {team: x, severity: page}, runbookBaseUrl: 'https://r.example.com/'}", tmp_path=tmp_path
    ):
        if "alert" in rule:
            assert rule["labels"] == {"team": "x", "severity": "page"}
            assert rule["annotations"]["runbook_url"] == f"https://r.example.com/{rule['alert']}.md"
        else:
            assert "team" not in rule.get("labels", {})


def test_every_dashboard_arrives_whole() -> None:
    files = {path.name: json.loads(path.read_text()) for path in (chart.CHART / "files" / "dashboards").iterdir()}
    maps = [
        each
        for each in chart.of_kind("ConfigMap", chart.case("everything"))
        if each["metadata"]["labels"].get("grafana_dashboard") == "1"
    ]
    assert {name: json.loads(text) for each in maps for name, text in each["data"].items()} == files
    assert {each["metadata"]["namespace"] for each in maps} == {"monitoring"}
    assert {each["metadata"]["annotations"]["grafana_folder"] for each in maps} == {"batchline"}


def policies(case: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each["spec"] for each in chart.of_kind("NetworkPolicy", chart.case(case))}


def blocks(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [peer["ipBlock"] for rule in spec["egress"] for peer in rule["to"] if "ipBlock" in peer]


@pytest.mark.parametrize("case", ["everything", "external"])
def test_no_policy_lets_pods_reach_the_metadata_service(case: str) -> None:
    for spec in policies(case).values():
        for block in blocks(spec):
            if block["cidr"] == "0.0.0.0/0":
                assert "169.254.169.254/32" in block["except"]
            if block["cidr"] == "::/0":
                assert "fd00:ec2::254/128" in block["except"]


def test_only_who_calls_providers_reaches_port_443() -> None:
    ports = {
        name: [port["port"] for rule in spec["egress"] for port in rule["ports"]]
        for name, spec in policies("external").items()
    }
    assert ports == {"batchline": [53, 53, 5353, 5353, 6379, 6380, 8000], "batchline-providers": [443]}
    callers = policies("external")["batchline-providers"]["podSelector"]["matchExpressions"][0]["values"]
    assert callers == ["all"]


def test_only_metrics_ports_are_open_to_others() -> None:
    spec = policies("everything")["rel-line"]
    ports = {
        port["containerPort"]
        for pod in chart.own_pods(chart.case("everything"))
        for port in pod.spec["containers"][0].get("ports", [])
    }
    assert [[port["port"] for port in rule["ports"]] for rule in spec["ingress"]] == [sorted(ports)]


def test_the_store_takes_in_only_its_own_and_the_producers() -> None:
    spec = policies("everything")["rel-line-store"]
    (rule,) = spec["ingress"]
    own, producers = rule["from"]
    assert set(own["podSelector"]["matchExpressions"][0]["values"]) == {
        pod.component for pod in chart.own_pods(chart.case("everything"))
    }
    assert producers == {"podSelector": {"matchLabels": {"app": "shop"}}}
    assert spec["egress"] == []


def test_a_store_without_a_given_secret_reads_the_one_that_is_made() -> None:
    made = chart.case("quickstart")
    (secret,) = chart.of_kind("Secret", made)
    name = secret["metadata"]["name"]
    readers = {
        pod.component
        for pod in chart.pods(made)
        if any(source.startswith(f"Secret/{name}/") for source in chart.mounted(pod).values())
    }
    assert readers == {pod.component for pod in chart.pods(made)}


def test_the_bundled_store_is_durable_and_asks_for_the_password(tmp_path: Path) -> None:
    """Start the server of this machine with the very files that the pod would have."""
    made = chart.case("quickstart")
    (secret,) = chart.of_kind("Secret", made)
    (config,) = [each for each in chart.of_kind("ConfigMap", made) if "valkey.conf" in each["data"]]
    (tmp_path / "auth.conf").write_text(secret["stringData"]["auth.conf"])
    text = (
        config["data"]["valkey.conf"].replace("/etc/valkey-auth", str(tmp_path)).replace("dir /data", f"dir {tmp_path}")
    )
    (tmp_path / "valkey.conf").write_text(text.replace("port 6379", "port 0") + f"\nunixsocket {tmp_path}/s\n")
    with subprocess.Popen(
        [server_binary(), str(tmp_path / "valkey.conf")], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            assert any("Ready to accept connections" in line for line in server.stdout)
            with (
                redis.Redis(unix_socket_path=f"{tmp_path}/s") as stranger,
                pytest.raises(redis.AuthenticationError),
            ):
                stranger.ping()
            with redis.Redis(
                unix_socket_path=f"{tmp_path}/s", password=secret["stringData"]["password"], decode_responses=True
            ) as client:
                names = ("appendonly", "appendfsync", "maxmemory-policy", "maxmemory", "save")
                found = {name: client.config_get(name)[name] for name in names}
        finally:
            server.terminate()
    assert found == {
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "maxmemory": str(1280 * 2**20),
        "save": "",
    }


def test_the_bundled_store_promises_what_the_project_s_own_configuration_promises() -> None:
    own = (ROOT / "config" / "redis.conf").read_text()
    (config,) = [each for each in chart.of_kind("ConfigMap", chart.case("quickstart")) if "valkey.conf" in each["data"]]
    place = ("bind", "port", "protected-mode", "#")
    promised = {line for line in own.splitlines() if line and not line.startswith(place)}
    assert promised - set(config["data"]["valkey.conf"].splitlines()) == set()


def test_an_upgrade_keeps_the_password_of_the_store(tmp_path: Path) -> None:
    stored = {"password": "b2xk", "url": "eA==", "auth.conf": "eA=="}
    with Cluster({"rel-batchline-store": stored}, tmp_path) as cluster:
        (secret,) = chart.of_kind("Secret", cluster.template(chart.values_file("quickstart")))
    assert secret["stringData"]["password"] == "old"
    assert secret["stringData"]["auth.conf"] == "requirepass old\n"


def test_a_first_installation_makes_a_password(tmp_path: Path) -> None:
    with Cluster({}, tmp_path) as cluster:
        (secret,) = chart.of_kind("Secret", cluster.template(chart.values_file("quickstart")))
    assert len(secret["stringData"]["password"]) == 40


def notes(*files: Path, tmp_path: Path) -> str:
    with Cluster({}, tmp_path) as cluster:
        return cluster.notes(*files)


def test_the_notes_say_how_to_look_whether_all_is_well(tmp_path: Path) -> None:
    said = notes(chart.values_file("minimal"), tmp_path=tmp_path)
    assert "helm test rel --namespace ns --logs" in said
    assert "the URL in the Secret batchline-store (key url)" in said
    assert "http://rel-batchline-exporter.ns:9464/metrics" in said
    assert "apiKeys is empty" in said


def test_the_notes_say_what_was_left_out(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("{serviceMonitor: {enabled: true}, roles: {accumulate: {enabled: false}}}")
    said = notes(chart.values_file("keda"), values, tmp_path=tmp_path)
    assert "serviceMonitor is enabled and was left out" in said
    assert "podMonitor" not in said
    assert "the role poll should be scaled by KEDA and is not" in said
    assert "no worker of this release has the role accumulate" in said
