"""The chart's values: all documented, none unknown, and wrong ones refused with words that help."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.deploy import chart

SCHEMA: dict[str, Any] = yaml.safe_load((chart.CHART / "values.schema.json").read_text(encoding="utf-8"))

OPEN = {"volumes", "mounts"}
"""Definitions of Kubernetes's own objects, of which the schema names only what the chart itself needs."""


def schemas(value: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every schema of the document with the path to it."""
    if isinstance(value, dict):
        yield name, value
        for key, inner in value.items():
            yield from schemas(inner, f"{name}/{key}")


def test_every_value_has_a_comment() -> None:
    values = list(chart.documented_values())
    assert len(values) > 100
    assert [value.path for value in values if len(value.comment) < 5] == []


def test_every_value_is_documented() -> None:
    def leaves(value: Any, path: str) -> Iterator[str]:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                yield from leaves(inner, f"{path}.{key}" if path else key)
        else:
            yield path

    documented = {value.path for value in chart.documented_values()}
    defaults = yaml.safe_load((chart.CHART / "values.yaml").read_text(encoding="utf-8"))
    assert [
        path
        for path in leaves(defaults, "")
        if not any(path == each or path.startswith(f"{each}.") for each in documented)
    ] == []


def test_the_readme_has_the_table_of_values() -> None:
    readme = (chart.CHART / "README.md").read_text(encoding="utf-8")
    assert readme == chart.with_table(readme), "run: python -m tests.deploy.chart"


def test_the_schema_knows_no_value_that_has_no_default() -> None:
    defaults = yaml.safe_load((chart.CHART / "values.yaml").read_text(encoding="utf-8"))

    def missing(schema: dict[str, Any], values: Any, path: str) -> Iterator[str]:
        if "$ref" in schema:
            return
        for key, inner in schema.get("properties", {}).items():
            if not isinstance(values, dict) or key not in values:
                yield f"{path}{key}"
            else:
                yield from missing(inner, values[key], f"{path}{key}.")

    own = {"global"} | {f"exporter.{key}" for key in defaults["pod"]}
    assert set(missing(SCHEMA, defaults, "")) - own == set()


def test_the_schema_refuses_what_it_does_not_name() -> None:
    loose = [
        name
        for name, schema in schemas(SCHEMA)
        if "properties" in schema
        and schema.get("additionalProperties") is not False
        and not OPEN & set(name.split("/"))
    ]
    assert loose == []


def test_a_part_of_another_chart_may_be_given_globals(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("{global: {region: eu}}")
    assert chart.objects(chart.values_file("minimal"), values)


WRONG = {
    # what a slip, or a wish that cannot be met, looks like; a part of what is said of it
    "a value that does not exist": ("{replicas: 3}", "Additional property replicas is not allowed"),
    "a slip in a role": ("{roles: {poll: {replica: 3}}}", "roles.poll: Additional property replica is not allowed"),
    "a role that is none": ("{roles: {poll: {only: [pol]}}}", "roles.poll.only.0 must be one of"),
    "a role without work": ("{roles: {more: {enabled: true}}}", "roles.more: only is required"),
    "a role that serves nothing": ("{roles: {poll: {only: []}}}", "Array must have at least 1 items"),
    "a role's name that is taken": ("{roles: {exporter: {enabled: true, only: [poll]}}}", "exporter"),
    "a role's name that is no name": ("{roles: {Poll_2: {enabled: true, only: [poll]}}}", "Poll_2"),
    "replicas as text": ("{worker: {replicas: two}}", "worker.replicas: Invalid type"),
    "scaling to nothing": ("{worker: {autoscaling: {minReplicas: 0}}}", "Must be greater than or equal to 1"),
    "scaling of one role to nothing": ("{roles: {poll: {autoscaling: {minReplicas: 0}}}}", "minReplicas: Must be"),
    "falling back to nothing": ("{worker: {autoscaling: {keda: {fallbackReplicas: 0}}}}", "fallbackReplicas: Must be"),
    "an unknown way to scale": ("{worker: {autoscaling: {type: vpa}}}", "worker.autoscaling.type must be one of"),
    "scaling by KEDA without Prometheus": ("{worker: {autoscaling: {type: keda}}}", "keda.serverAddress: set the"),
    "less at most than at least": (
        "{roles: {poll: {autoscaling: {minReplicas: 9}}}}",
        "roles.poll.autoscaling: minReplicas is more",
    ),
    "scaling a role by nothing": (
        "{roles: {more: {enabled: true, only: [poll], autoscaling: {type: hpa}}}}",
        "roles.more.autoscaling.metric.name: set",
    ),
    "a budget that lets nobody go": ("{worker: {pdb: {maxUnavailable: 0}}}", "worker.pdb.maxUnavailable"),
    "a budget of no percent": ("{worker: {pdb: {maxUnavailable: 0%}}}", "worker.pdb.maxUnavailable"),
    "no image": ("{image: {repository: ''}}", "image.repository: set where your image"),
    "a tag in the repository": ("{image: {repository: 'example.com/batchline:1'}}", "image.repository"),
    "a digest that is none": ("{image: {digest: 'sha256:abc'}}", "image.digest: Does not match pattern"),
    "an unknown pull policy": ("{image: {pullPolicy: always}}", "image.pullPolicy must be one of"),
    "no store": ("{store: {existingSecret: ''}}", "store: set existingSecret"),
    "two stores": ("{store: {bundled: {enabled: true}}}", "store: existingSecret and bundled.enabled are both set"),
    "a Secret's name that is none": ("{store: {existingSecret: 'My Secret'}}", "store.existingSecret"),
    "a URL in place of a Secret": ("{store: {existingSecret: 'redis://:p@h:6379'}}", "store.existingSecret"),
    "a tiny store": ("{store: {bundled: {memoryMiB: 16}}}", "Must be greater than or equal to 128"),
    "the store's URL in the settings": ("{config: {redis_url: 'redis://:p@h'}}", "config.redis_url: a ConfigMap is no"),
    "the broker's URL in the settings": ("{config: {broker_url: 'redis://:p@h'}}", "broker.existingSecret"),
    "a port in the settings": ("{config: {worker_port: 9000}}", "config.worker_port: the chart sets it"),
    "a setting that is no time": ("{config: {shutdown_grace: soon}}", 'config.shutdown_grace: "soon" is not a time'),
    "a grace period that is too short": ("{worker: {terminationGracePeriodSeconds: 60}}", "may take 145 s to end"),
    "a grace period that the settings outgrew": (
        "{config: {create_timeout: 10m}, worker: {terminationGracePeriodSeconds: 300}}",
        "may take 625 s to end",
    ),
    "a key of an unknown account": (
        "{apiKeys: {azure: {existingSecret: s, key: k}}}",
        "apiKeys.azure: there is no such account; set config.accounts.azure.provider",
    ),
    "a key in two places": (
        "{apiKeys: {openai: {existingSecret: s, key: k}}, config: {accounts: {openai: {api_key_env: KEY}}}}",
        "apiKeys.openai: config.accounts.openai names another key",
    ),
    "a key without its Secret": ("{apiKeys: {openai: {key: k}}}", "existingSecret is required"),
    "an API key itself": ("{apiKeys: {openai: sk-secret}}", "apiKeys.openai: Invalid type"),
    "the chart's own variable": (
        "{pod: {extraEnv: [{name: BATCHLINE_SHUTDOWN_GRACE, value: 5m}]}}",
        "extraEnv: BATCHLINE_SHUTDOWN_GRACE is the chart's own; set config.shutdown_grace",
    ),
    "the store's URL as a variable": (
        "{exporter: {extraEnv: [{name: BATCHLINE_REDIS_URL, value: x}]}}",
        "exporter.extraEnv: BATCHLINE_REDIS_URL is the chart's own; set store.existingSecret",
    ),
    "a volume of the chart's name": ("{pod: {extraVolumes: [{name: tmp, emptyDir: {}}]}}", "pod.extraVolumes.0.name"),
    "a label of the chart's own": (
        "{pod: {podLabels: {app.kubernetes.io/component: x}}}",
        "pod.podLabels",
    ),
    "a weaker security context": ("{securityContext: {privileged: true}}", "Additional property privileged"),
    "root": ("{securityContext: {runAsUser: 0}}", "securityContext.runAsUser: Must be greater than or equal to 1"),
    "an alert that does not exist": (
        "{prometheusRule: {enabled: true, disabled: [BatchlineTooGood]}}",
        "prometheusRule.disabled: there is no alert BatchlineTooGood",
    ),
    "a runbook without a scheme": ("{prometheusRule: {runbookBaseUrl: wiki/x}}", "prometheusRule.runbookBaseUrl"),
    "a port that is none": ("{networkPolicy: {storePorts: [70000]}}", "networkPolicy.storePorts.0"),
    "a peer without a rule": ("{networkPolicy: {metricsFrom: [{}]}}", "networkPolicy.metricsFrom.0"),
    "names from nowhere": ("{networkPolicy: {dnsTo: []}}", "networkPolicy.dnsTo"),
    "names on no port": ("{networkPolicy: {dnsPorts: []}}", "networkPolicy.dnsPorts"),
    "a /tmp beyond what the pod may have": (
        "{roles: {poll: {tmpSize: 20Gi}}}",
        "roles.poll: tmpSize is 20Gi, and resources.limits.ephemeral-storage only 5Gi",
    ),
    "a /tmp of the exporter beyond its limit": ("{exporter: {tmpSize: 257Mi}}", "exporter: tmpSize is 257Mi"),
    "a /tmp beyond a limit in other units": (
        "{pod: {tmpSize: 1Gi, resources: {limits: {ephemeral-storage: 1000M}}}}",
        "tmpSize is 1Gi, and resources.limits.ephemeral-storage only 1000M",
    ),
    "a /tmp in bytes beyond a limit": ("{pod: {tmpSize: 6000000000}}", "tmpSize is 6e+09, and resources.limits"),
    "a spool on the read-only root": (
        "{config: {spool_dir: /spool}}",
        "config.spool_dir: /spool is neither under /tmp nor under a mountPath that can be written, of roles.accumulate",
    ),
    "a spool that the test does not have": (
        (
            "{config: {spool_dir: /spool}, roles: {accumulate: {extraVolumes: [{name: s, emptyDir: {}}], "
            "extraVolumeMounts: [{name: s, mountPath: /spool}]}}}"
        ),
        "of pod.extraVolumeMounts (the helm test looks at it, too, unless doctor.enabled is false)",
    ),
    "a spool that is only called like /tmp": ("{config: {spool_dir: /tmpfs}}", "config.spool_dir: /tmpfs is neither"),
    "a spool by variable": (
        "{pod: {extraEnv: [{name: BATCHLINE_SPOOL_DIR, value: /spool}]}}",
        "config.spool_dir: /spool is neither",
    ),
    "a spool on a mount that cannot be written": (
        (
            "{config: {spool_dir: /spool}, pod: {extraVolumes: [{name: s, emptyDir: {}}], "
            "extraVolumeMounts: [{name: s, mountPath: /spool, readOnly: true}]}}"
        ),
        "config.spool_dir: /spool is neither",
    ),
    "more steps than the spool has room for": (
        "{worker: {concurrency: 12}}",
        "roles.accumulate: tmpSize is 4Gi, and 12 steps (concurrency) of up to 180 MiB",
    ),
    "batches of Gemini larger than the spool": (
        "{config: {accounts: {gemini: {flush: {max_bytes: 1GB}}}}}",
        "may have 7630 MiB of rows there, each batch twice while it is put in order",
    ),
    "batches of a lane larger than the spool": (
        "{config: {lanes: [{match: '*', flush: {max_bytes: 1073741824}}]}}",
        "set tmpSize: 8192Mi or more",
    ),
    "a smaller /tmp than the spool needs": (
        "{roles: {accumulate: {tmpSize: 1439Mi}}}",
        "roles.accumulate: tmpSize is 1439Mi",
    ),
    "a user who cannot read the Secrets": ("{securityContext: {fsGroup: null}}", "could not read them"),
    "a name that is none": ("{fullnameOverride: 9lives}", "fullnameOverride: Does not match pattern"),
    "a part of a name that is none": ("{nameOverride: My.Line}", "nameOverride: Does not match pattern"),
    "a volume too small for a rewrite": (
        "{store: {existingSecret: '', bundled: {enabled: true, memoryMiB: 4096}}}",
        "store.bundled.persistence.size: 8Gi is less than four times maxmemory (2560 MiB",
    ),
    "a volume too small in other units": (
        "{store: {existingSecret: '', bundled: {enabled: true, persistence: {size: 5119Mi}}}}",
        "set 5120Mi or more",
    ),
}


@pytest.mark.parametrize(("values", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_value_is_refused_in_words_that_help(values: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(values)
    done = chart.template(chart.values_file("minimal"), file)
    assert done.returncode != 0
    assert said in done.stderr


RIGHT = {
    # what is just within the bounds that the cases above are beyond
    "a /tmp as large as its limit": "{pod: {tmpSize: 5Gi}}",
    "a /tmp without a limit": "{pod: {tmpSize: 50Gi, resources: {limits: {ephemeral-storage: null}}}}",
    "a key of each account that needs no settings": (
        "{apiKeys: {openai: {existingSecret: s, key: o}, anthropic: {existingSecret: s, key: a}, gemini: {existingSecret: s, key: g}}}"
    ),
    "a /tmp with just the room of the spool": "{pod: {tmpSize: 1440Mi}}",
    "a /tmp with just this room in bytes": "{pod: {tmpSize: 1509949440}}",
    "more steps of who spools nothing": "{roles: {poll: {concurrency: 50}}}",
    "more steps with smaller batches": "{worker: {concurrency: 12}, config: {flush: {max_bytes: 100 MB}}}",
    "large batches on a volume": (
        "{config: {spool_dir: /spool, flush: {max_bytes: 1GiB}}, pod: {extraVolumes: [{name: s, emptyDir: {}}], "
        "extraVolumeMounts: [{name: s, mountPath: /spool}]}}"
    ),
    "large batches on a volume under /tmp": (
        "{config: {spool_dir: /tmp/spool, flush: {max_bytes: 1GiB}}, pod: {extraVolumes: [{name: s, emptyDir: {}}], "
        "extraVolumeMounts: [{name: s, mountPath: /tmp/spool}]}}"
    ),
    "a spool under /tmp": "{config: {spool_dir: /tmp/spool}}",
    "a spool on a volume": (
        "{config: {spool_dir: /data/spool}, pod: {extraVolumes: [{name: s, emptyDir: {}}], "
        "extraVolumeMounts: [{name: s, mountPath: /data/}]}}"
    ),
    "a spool of the one role that writes there": (
        "{config: {spool_dir: /spool}, doctor: {enabled: false}, roles: {accumulate: {"
        "extraVolumes: [{name: s, emptyDir: {}}], extraVolumeMounts: [{name: s, mountPath: /spool}]}}}"
    ),
    "a volume of four times maxmemory": (
        "{store: {existingSecret: '', bundled: {enabled: true, persistence: {size: 5Gi}}}}"
    ),
}


@pytest.mark.parametrize("values", RIGHT.values(), ids=RIGHT.keys())
def test_what_is_within_bounds_is_taken(values: str, tmp_path: Path) -> None:
    file = tmp_path / "right.yaml"
    file.write_text(values)
    assert chart.objects(chart.values_file("minimal"), file)


@pytest.mark.parametrize(
    ("url", "port"),
    [("http://vllm:8000/v1", 8000), ("http://vllm/v1", 80), ("https://[fd00::1]:8443/v1", 8443), ("HTTP://a", 80)],
)
def test_a_base_url_that_the_network_policy_would_cut_off_is_refused(url: str, port: int, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    values: dict[str, Any] = {
        "config": {"accounts": {"mine": {"provider": "openai", "base_url": url}}},
        "networkPolicy": {"enabled": True},
    }
    file.write_text(yaml.safe_dump(values))
    done = chart.template(chart.values_file("minimal"), file)
    assert f"config.accounts.mine.base_url is on port {port}, which the policy does not open" in done.stderr
    values["networkPolicy"]["extraEgress"] = [{"ports": [{"port": port, "protocol": "TCP"}]}]
    file.write_text(yaml.safe_dump(values))
    assert chart.objects(chart.values_file("minimal"), file)


@pytest.mark.parametrize(
    ("rules", "opens"),
    [
        ("[{to: [{namespaceSelector: {}}]}]", True),
        ("[{ports: [{port: 7000, endPort: 9000}]}]", True),
        ("[{ports: [{port: web}]}]", True),
        ("[{ports: [{protocol: TCP}]}]", True),
        ("[{ports: [{port: 8000, protocol: UDP}]}]", False),
        ("[{ports: [{port: 8001}]}, {ports: [{port: 443}]}]", False),
    ],
)
def test_any_rule_that_has_the_port_opens_it(rules: str, opens: bool, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(
        "{config: {accounts: {mine: {provider: openai, base_url: 'http://h:8000'}}}, "
        f"networkPolicy: {{enabled: true, extraEgress: {rules}}}}}"
    )
    assert (chart.template(chart.values_file("minimal"), file).returncode == 0) is opens


@pytest.mark.parametrize("url", ["https://llm.example.com/v1", "https://llm.example.com:443", "http://h:443", "null"])
def test_a_base_url_on_port_443_needs_no_rule(url: str, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(
        f"{{config: {{accounts: {{mine: {{provider: openai, base_url: {url}}}}}}}, networkPolicy: {{enabled: true}}}}"
    )
    assert chart.objects(chart.values_file("minimal"), file)


@pytest.mark.parametrize("release", ["123", "team.batchline", "9-batchline"])
def test_a_release_whose_name_no_service_can_have_is_refused(release: str, tmp_path: Path) -> None:
    where = (str(chart.CHART), "--values", str(chart.values_file("minimal")))
    done = chart.helm("template", release, *where)
    assert done.returncode != 0
    assert "is none for a Service" in done.stderr
    assert "set fullnameOverride" in done.stderr
    file = tmp_path / "values.yaml"
    file.write_text("{fullnameOverride: batchline}")
    assert chart.helm("template", release, *where, "--values", str(file)).returncode == 0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("25", 160), ("25s", 160), ("1.5m", 225), ("'1 h'", 3735), ("0.2", 136), ("1D", 86535)],
)
def test_times_are_read_as_batchline_reads_them(value: str, seconds: int, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(f"{{config: {{shutdown_grace: {value}}}}}")
    for pod in chart.workers(chart.objects(chart.values_file("minimal"), file)):
        assert pod.spec["terminationGracePeriodSeconds"] == seconds
