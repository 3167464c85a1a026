"""What the tests of the chart share: renderings, what is in them, and the table of values in the chart's README.

``python -m tests.deploy.chart`` writes that table anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, NamedTuple

import yaml
from tests.deploy.tools import ROOT, run, tool

CHART = ROOT / "helm" / "batchline"
CASES = ("minimal", "quickstart", "external", "keda", "everything")
PRESENT = (
    "monitoring.coreos.com/v1/ServiceMonitor",
    "monitoring.coreos.com/v1/PodMonitor",
    "monitoring.coreos.com/v1/PrometheusRule",
    "keda.sh/v1alpha1/ScaledObject",
)
CUSTOM_KINDS = {name.rpartition("/")[2] for name in PRESENT}

Object = dict[str, Any]


class Pod(NamedTuple):
    """A pod template (or pod) of a rendering: of which object it is, its metadata and its spec."""

    of: Object
    metadata: Object
    spec: Object

    @property
    def component(self) -> str:
        """What the pod is: a role, exporter, doctor or store."""
        return str(self.metadata["labels"]["app.kubernetes.io/component"])


def values_file(case: str) -> Path:
    """Return the value file of a case."""
    return CHART / "ci" / f"{case}-values.yaml"


def helm(*arguments: str) -> CompletedProcess[str]:
    """Run helm."""
    return run(tool("helm", package="helm-binary"), *arguments)


def template(*files: Path, present: tuple[str, ...] = PRESENT) -> CompletedProcess[str]:
    """Render the chart with value files, for a cluster that has the custom kinds ``present``."""
    return _template(files, tuple(file.read_text(encoding="utf-8") for file in files), present)


@cache
def _template(files: tuple[Path, ...], _: tuple[str, ...], present: tuple[str, ...]) -> CompletedProcess[str]:
    kinds = [part for kind in present for part in ("--api-versions", kind)]
    values = [part for file in files for part in ("--values", str(file))]
    return helm("template", "rel", str(CHART), "--namespace", "ns", *values, *kinds)


def objects(*files: Path, present: tuple[str, ...] = PRESENT) -> list[Object]:
    """Return what a rendering makes; fails with helm's own words."""
    done = template(*files, present=present)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def case(name: str) -> list[Object]:
    """Return what a case makes."""
    return objects(values_file(name))


def of_kind(kind: str, among: list[Object]) -> list[Object]:
    """Return the objects of a kind."""
    return [each for each in among if each["kind"] == kind]


def pods(among: list[Object]) -> list[Pod]:
    """Return every pod that a rendering brings, also of the test."""
    found = [Pod(each, each["metadata"], each["spec"]) for each in of_kind("Pod", among)]
    for each in among:
        if "template" in each.get("spec", {}):
            inner = each["spec"]["template"]
            found.append(Pod(each, inner["metadata"], inner["spec"]))
    return found


def own_pods(among: list[Object]) -> list[Pod]:
    """Return the pods that run batchline's image."""
    return [pod for pod in pods(among) if pod.component != "store"]


def workers(among: list[Object]) -> list[Pod]:
    """Return the pods of worker roles."""
    return [pod for pod in own_pods(among) if pod.component not in {"exporter", "doctor"}]


def mounted(pod: Pod) -> dict[str, str]:
    """Return the files that Secrets and ConfigMaps bring into a pod's first container, and ``kind/name/key`` of each."""
    found: dict[str, str] = {}
    volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
    for mount in pod.spec["containers"][0]["volumeMounts"]:
        volume = volumes.get(mount["name"], {})
        sources = (
            [{"secret": volume["secret"]}] if "secret" in volume else volume.get("projected", {}).get("sources", [])
        )
        for source in sources:
            name = source["secret"].get("secretName") or source["secret"]["name"]
            for item in source["secret"]["items"]:
                found[f"{mount['mountPath']}/{item['path']}"] = f"Secret/{name}/{item['key']}"
        if mount["mountPath"] == "/etc/batchline/config":
            key = "batchline.yaml"
            found[f"{mount['mountPath']}/{key}"] = f"ConfigMap/{volume['configMap']['name']}/{key}"
    return found


class Value(NamedTuple):
    """A value of the chart: its path, its default as written, and what its comment says."""

    path: str
    default: str
    comment: str


def documented_values() -> Iterator[Value]:
    """Yield the values of values.yaml in order, each with the comment above or beside it."""
    above: list[str] = []
    path: list[tuple[int, str]] = []
    for line in (CHART / "values.yaml").read_text(encoding="utf-8").splitlines():
        found = re.match(r"^( *)([A-Za-z][\w-]*):(?: +(.*))?$", line)
        if line.strip().startswith("#"):
            above.append(line.strip().removeprefix("#").strip())
        elif found is None:
            above = []
        else:
            indent, key, rest = len(found[1]), found[2], found[3] or ""
            path = [part for part in path if part[0] < indent] + [(indent, key)]
            default, _, beside = rest.partition(" # ")
            if default:
                yield Value(".".join(part for _, part in path), default.strip(), " ".join([*above, beside]).strip())
            above = []


_BEGIN = re.compile(r"(<!-- values: .* -->\n).*(<!-- end of values -->)", re.DOTALL)


def with_table(readme: str) -> str:
    """Return the README with its table of values as values.yaml has it."""
    rows = [f"| `{value.path}` | `{_cell(value.default)}` | {_cell(value.comment)} |" for value in documented_values()]
    table = "\n".join(["", "| value | default | what it is |", "|---|---|---|", *rows, "", ""])
    return _BEGIN.sub(lambda found: found[1] + table + found[2], readme)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def main() -> None:
    """Write the table of values into the chart's README."""
    readme = CHART / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
