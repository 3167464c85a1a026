"""Stores for the security tests: a server with an ACL file, a server that speaks TLS only, and the certificates for it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import redis
from tests.crash.waiting import until

from batchline.errors import StoreError
from batchline.local.store_process import START_S, StoreProcess

ADMIN = "admin-of-the-test"


class GuardedStore(StoreProcess):
    """A store process with further options, whose start is awaited at ``url`` once that is set."""

    def __init__(self, folder: Path, options: Sequence[str], *, binary: str | None = None) -> None:
        super().__init__(folder, binary=binary)
        self._options = list(options)

    def _command(self) -> list[str]:
        return [*super()._command(), *self._options]

    def _wait(self) -> None:
        with redis.Redis.from_url(self.url, socket_timeout=2) as client:
            if not until(lambda: self._over or _answers(client), START_S) or self._over:
                raise StoreError((self.folder / "store.log").read_text()[-2000:])

    @property
    def _over(self) -> bool:
        return self.process is None or self.process.poll() is not None


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def store_with_users(folder: Path, acl: str, *, binary: str | None = None) -> GuardedStore:
    """Return a store with the users of an ACL file, each with its own name as the password, and an administrator."""
    folder.mkdir(parents=True, exist_ok=True)
    users = [_with_password(line) for line in acl.splitlines() if line]
    file = folder / "users.acl"
    file.write_text("\n".join([*users, f"user {ADMIN} on >{ADMIN} ~* &* +@all", ""]), encoding="utf-8")
    store = GuardedStore(folder, ["--aclfile", str(file)], binary=binary)
    store.url = url_for(store, ADMIN)
    return store


def _with_password(line: str) -> str:
    word, name, rest = line.split(" ", 2)
    if name == "default":
        return line
    return f"{word} {name} #{hashlib.sha256(name.encode()).hexdigest()} {rest}"


def url_for(store: StoreProcess, user: str) -> str:
    """Return the URL with which a user of ``store_with_users`` comes in."""
    return f"redis://{user}:{user}@127.0.0.1:{store.port}/0"


class Certificates:
    """A CA and certificates of its own, made by the openssl program."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ca = folder / "ca.crt"
        self._make("ca", "-x509", "-subj", "/CN=a test's CA", "-addext", "keyUsage=critical,keyCertSign")

    def signed(self, name: str, *, host: str) -> tuple[Path, Path]:
        """Return certificate and key for a host (``IP:127.0.0.1``, ``DNS:store``), signed by the CA."""
        signer = ("-CA", str(self.ca), "-CAkey", str(self.folder / "ca.key"))
        self._make(name, "-x509", "-subj", f"/CN={name}", "-addext", f"subjectAltName={host}", *signer)
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"

    def _make(self, name: str, *how: str) -> None:
        files = ("-keyout", str(self.folder / f"{name}.key"), "-out", str(self.folder / f"{name}.crt"))
        kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        subprocess.run(["openssl", "req", *kind, *files, *how], check=True, capture_output=True)


def tls_server() -> str:
    """Return a store server that was built with TLS and finds openssl beside it; skips the test where there is none."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not here: no certificates can be made")
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found and _speaks_tls(found):
            return found
    pytest.skip("no redis-server or valkey-server with TLS on the PATH: install redis-server")


def _speaks_tls(binary: str) -> bool:
    # Without certificates no server starts with a TLS port; one without TLS says that it does not know the option.
    command = [binary, "--port", "0", "--tls-port", "1", "--logfile", ""]
    tried = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return "tls-cert-file" in tried.stdout + tried.stderr


def store_with_tls(
    folder: Path, binary: str, ca: Path, certificate: tuple[Path, Path], *, clients: str = "no"
) -> GuardedStore:
    """Return a store that answers by TLS alone; ``clients`` yes: only who shows a certificate of the CA."""
    files = {"--tls-cert-file": certificate[0], "--tls-key-file": certificate[1], "--tls-ca-cert-file": ca}
    store = GuardedStore(folder, [], binary=binary)
    store._options = ["--port", "0", "--tls-port", str(store.port), "--tls-auth-clients", clients]
    store._options += [part for name, path in files.items() for part in (name, str(path))]
    return store


def parameters(given: Mapping[str, object]) -> str:
    """Write the parameters of a URL."""
    return "&".join(f"{name}={value}" for name, value in given.items())
