"""Details of the chart's objects that only show in a cluster: names that look like numbers, labels, strategies, queries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.deploy import chart
from tests.deploy.kube import Cluster
from tests.deploy.tools import run, tool


def made(values: str, folder: Path, *, under: str = "minimal") -> list[chart.Object]:
    """Return what a case with these values over it makes."""
    file = folder / "values.yaml"
    file.write_text(values)
    return chart.objects(chart.values_file(under), file)


@pytest.mark.parametrize("where", ["worker", "exporter", "roles: {poll"])
def test_recreate_comes_without_the_numbers_of_a_rolling_update(where: str, tmp_path: Path) -> None:
    values = f"{{{where}: {{strategy: {{type: Recreate}}}}{'}' * where.count('{')}}}"
    strategies = [each["spec"]["strategy"] for each in chart.of_kind("Deployment", made(values, tmp_path))]
    assert {"type": "Recreate"} in strategies
    assert not [each for each in strategies if each["type"] == "Recreate" and "rollingUpdate" in each]


def test_a_rolling_update_keeps_its_numbers() -> None:
    for pod in chart.workers(chart.case("minimal")):
        assert pod.of["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


SERIES = {
    "waiting": 'batchline_oldest_pending_seconds{namespace="ns",service="rel-batchline-exporter",lane="a"}',
    "ended": 'batchline_batches{namespace="ns",service="rel-batchline-exporter",state="ended",lane="a"}',
    "up": 'batchline_store_up{namespace="ns",service="rel-batchline-exporter",pod="p"}',
    "other": 'batchline_store_up{namespace="ns",service="other-batchline-exporter",pod="p"}',
}
SEEN: dict[str, tuple[dict[str, int], float | None]] = {
    "rel-batchline-accumulate work": ({"waiting": 700, "up": 1}, 700),
    "rel-batchline-accumulate none yet": ({"up": 1}, 0),
    "rel-batchline-accumulate store away": ({"up": 0, "other": 1}, None),
    "rel-batchline-poll work": ({"ended": 5, "up": 1}, 5),
    "rel-batchline-poll none yet": ({"up": 1}, 0),
    "rel-batchline-poll store away": ({"up": 0, "other": 1}, None),
}


@pytest.mark.parametrize("name", SEEN)
def test_prometheus_answers_the_scaler_unless_the_store_is_away(name: str, tmp_path: Path) -> None:
    series, value = SEEN[name]
    (scaled,) = [
        each
        for each in chart.of_kind("ScaledObject", chart.case("keda"))
        if each["metadata"]["name"] == name.split(maxsplit=1)[0]
    ]
    asked = {
        "expr": scaled["spec"]["triggers"][0]["metadata"]["query"],
        "eval_time": "1m",
        "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
    }
    inputs = [{"series": SERIES[each], "values": f"{count}+0x5"} for each, count in series.items()]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"tests": [{"input_series": inputs, "promql_expr_test": [asked]}]}))
    done = run(tool("promtool", package="prometheus"), "test", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_scaler_never_falls_back_to_nothing(tmp_path: Path) -> None:
    scaled = chart.of_kind("ScaledObject", made("{worker: {replicas: 0}}", tmp_path, under="keda"))
    assert sorted(each["spec"]["fallback"]["replicas"] for each in scaled) == [1, 4]


def egress(values: str, folder: Path) -> list[dict[str, Any]]:
    """Return the general policy's rules out."""
    policies = chart.of_kind("NetworkPolicy", made(values, folder))
    (policy,) = [each for each in policies if each["metadata"]["name"] == "rel-batchline"]
    rules: list[dict[str, Any]] = policy["spec"]["egress"]
    return rules


def test_names_are_asked_for_on_every_given_port(tmp_path: Path) -> None:
    names, *_ = egress("{networkPolicy: {enabled: true, dnsPorts: [53, 1053]}}", tmp_path)
    assert [(each["port"], each["protocol"]) for each in names["ports"]] == [
        (53, "UDP"),
        (53, "TCP"),
        (1053, "UDP"),
        (1053, "TCP"),
    ]


def test_a_store_whose_place_is_not_said_may_be_a_pod(tmp_path: Path) -> None:
    _, store = egress("{networkPolicy: {enabled: true}}", tmp_path)
    assert {"namespaceSelector": {}} in store["to"]
    assert [peer["ipBlock"]["cidr"] for peer in store["to"] if "ipBlock" in peer] == ["0.0.0.0/0", "::/0"]


def test_a_store_whose_place_is_said_is_nowhere_else(tmp_path: Path) -> None:
    _, store = egress("{networkPolicy: {enabled: true, storeTo: [{ipBlock: {cidr: 10.0.0.0/24}}]}}", tmp_path)
    assert store["to"] == [{"ipBlock": {"cidr": "10.0.0.0/24"}}]


def not_texts(value: Any, path: str = "") -> Iterator[str]:
    """Yield the places of names, keys and labels that are no text."""
    if isinstance(value, list):
        for each in value:
            yield from not_texts(each, path)
    if isinstance(value, dict):
        for key, inner in value.items():
            here = f"{path}/{key}"
            named = key in {"namespace", "secretName", "name", "key", "serviceName", "serviceAccountName", "image"}
            labels = path.rpartition("/")[2] in {"labels", "annotations", "matchLabels"}
            if ((named and not isinstance(inner, dict)) or labels or "kubernetes.io" in str(key)) and not isinstance(
                inner, str
            ):
                yield here
            yield from not_texts(inner, here)


NUMBERS = """
fullnameOverride: "null"
store: {existingSecret: "123", key: "1", tls: {existingSecret: "5", key: "6"}}
broker: {existingSecret: "2", key: "yes"}
apiKeys: {openai: {existingSecret: "123", key: "1"}, "7": {existingSecret: k, key: "on"}}
config: {accounts: {"7": {provider: openai}}}
roles: {"on": {enabled: true, only: [poll]}, "null": {enabled: true, only: [poll]}}
pod: {priorityClassName: "1", tmpSize: 2000000000}
commonLabels: {a: "1"}
serviceAccount: {name: "12"}
dashboards: {enabled: true, namespace: "9", label: "1", folderAnnotation: "2"}
networkPolicy: {enabled: true}
serviceMonitor: {enabled: true}
podMonitor: {enabled: true}
prometheusRule: {enabled: true}
"""


@pytest.mark.parametrize("case", ["minimal", "everything"])
def test_names_that_look_like_something_else_stay_text(case: str, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(
        NUMBERS if case == "minimal" else "{fullnameOverride: 'true', store: {bundled: {auth: {existingSecret: ''}}}}"
    )
    kinds = [part for kind in chart.PRESENT for part in ("--api-versions", kind)]
    values = ("--values", str(chart.values_file(case)), "--values", str(file))
    done = chart.helm("template", "123", str(chart.CHART), "--namespace", "456", *values, *kinds)
    assert done.returncode == 0, done.stderr
    objects = [each for each in yaml.safe_load_all(done.stdout) if each]
    assert {each["metadata"]["namespace"] for each in objects} <= {"456", "9", "monitoring"}
    assert [each for found in objects for each in not_texts(found)] == []


class Strict(yaml.SafeLoader):
    """Refuses a mapping with the same key twice, as Kubernetes does with strict checks of fields."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return super().construct_mapping(node, deep)


LABELLED = """
commonLabels: {team: all, grafana_dashboard: "0"}
pod: {podLabels: {team: own}}
serviceMonitor: {enabled: true, labels: {team: own}}
podMonitor: {enabled: true, labels: {team: own}}
prometheusRule: {enabled: true, labels: {team: own}}
dashboards: {enabled: true, labels: {team: own, grafana_dashboard: "2"}}
"""


def test_an_object_s_own_labels_win_and_none_comes_twice(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(LABELLED)
    done = chart.template(chart.values_file("minimal"), file)
    assert done.returncode == 0, done.stderr
    objects = [each for each in yaml.load_all(done.stdout, Strict) if each]
    own = {"ServiceMonitor", "PodMonitor", "PrometheusRule", "Pod"}
    for each in objects:
        labels = each["metadata"]["labels"]
        dashboard = "-dashboard-" in each["metadata"]["name"]
        assert labels["team"] == ("own" if dashboard or each["kind"] in own else "all")
        assert labels["grafana_dashboard"] == ("1" if dashboard else "0")
    assert {pod.metadata["labels"]["team"] for pod in chart.own_pods(objects)} == {"own"}


def test_without_workers_there_is_nothing_to_scrape_of_them(tmp_path: Path) -> None:
    values = "{podMonitor: {enabled: true}, roles: {accumulate: {enabled: false}, poll: {enabled: false}}}"
    assert chart.of_kind("PodMonitor", made(values, tmp_path)) == []


def test_the_notes_lead_to_a_url_that_every_namespace_can_use(tmp_path: Path) -> None:
    with Cluster({}, tmp_path) as cluster:
        said = cluster.notes(chart.values_file("quickstart"))
    assert "kubectl get secret rel-batchline-store --namespace ns" in said
    assert "rel-batchline-store.ns:6379" in said
