"""A stand-in for a cluster: just enough of the Kubernetes API for helm to look up Secrets, on a port of this machine."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import yaml
from tests.deploy import chart

_KINDS = {
    "v1": ["ConfigMap", "Secret", "Service", "ServiceAccount", "Pod"],
    "apps/v1": ["Deployment", "StatefulSet"],
    "policy/v1": ["PodDisruptionBudget"],
}
"""What this cluster has: the kinds of the smaller value files, and none of other projects."""


def _resources(version: str) -> dict[str, Any]:
    resources = [
        {"name": f"{kind.lower()}s", "namespaced": True, "kind": kind, "verbs": ["get"]} for kind in _KINDS[version]
    ]
    return {"kind": "APIResourceList", "groupVersion": version, "resources": resources}


def _group(version: str) -> dict[str, Any]:
    named = {"groupVersion": version, "version": version.partition("/")[2]}
    return {"name": version.partition("/")[0], "versions": [named], "preferredVersion": named}


_STATIC: dict[str, dict[str, Any]] = {
    "/version": {"major": "1", "minor": "33", "gitVersion": "v1.33.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": _resources("v1"),
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(each) for each in _KINDS if "/" in each]},
    **{f"/apis/{version}": _resources(version) for version in _KINDS if "/" in version},
}
_SECRETS = "/api/v1/namespaces/ns/secrets/"


class Cluster:
    """A cluster whose namespace ``ns`` holds Secrets, given by name with their base64 data; it is asked, never written to."""

    def __init__(self, secrets: dict[str, dict[str, str]], folder: Path) -> None:
        self._secrets = secrets
        self._kubeconfig = folder / "kubeconfig"

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self._secrets))
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{self._server.server_port}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "ns"}}
        self._kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "c",
                    "clusters": [cluster],
                    "contexts": [context],
                    "users": [{"name": "u", "user": {}}],
                }
            )
        )
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def template(self, *files: Path) -> list[chart.Object]:
        """Return what an installation or upgrade would make in this cluster."""
        return [each for each in yaml.safe_load_all(self._helm("template", files, "--dry-run=server")) if each]

    def notes(self, *files: Path) -> str:
        """Return what an installation would say at its end."""
        return self._helm("install", files, "--dry-run=server", "--disable-openapi-validation").partition("NOTES:")[2]

    def _helm(self, verb: str, files: tuple[Path, ...], *options: str) -> str:
        values = [part for file in files for part in ("--values", str(file))]
        where = ("--namespace", "ns", "--kubeconfig", str(self._kubeconfig))
        done = chart.helm(verb, "rel", str(chart.CHART), *where, *values, *options)
        assert done.returncode == 0, done.stderr
        return done.stdout


def _handler(secrets: dict[str, dict[str, str]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            name = path.removeprefix(_SECRETS)
            if path in _STATIC:
                self._answer(200, _STATIC[path])
            elif name in secrets:
                metadata = {"name": name, "namespace": "ns"}
                self._answer(200, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": secrets[name]})
            elif path == _SECRETS.removesuffix("/"):
                self._answer(200, {"apiVersion": "v1", "kind": "SecretList", "items": []})
            else:
                self._answer(
                    404, {"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
                )

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def _answer(self, code: int, body: dict[str, Any]) -> None:
            payload = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

    return Handler
