"""TLS to the store and to the broker, by one form of URL: what is not proven by the certificate is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu.connection import Connection
from tests.security.stores import Certificates, GuardedStore, parameters, store_with_tls, tls_server

from batchline import Client, app
from batchline.errors import StoreUnreachable
from batchline.local.stack import Emulation, Stack
from batchline.settings import load_settings
from batchline.store import Store
from batchline.store.connection import broker

connect: Any = Connection
LOOPBACK = "IP:127.0.0.1"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    tls_server()
    return Certificates(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def store_of_tls(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedStore]:
    """A store that speaks TLS with a certificate for 127.0.0.1, and wants one of its clients."""
    signed = certificates.signed("store", host=LOOPBACK)
    store = store_with_tls(tmp_path_factory.mktemp("tls"), tls_server(), certificates.ca, signed, clients="yes")
    store.url = url(store, certificates)
    store.start()
    yield store
    store.kill()


def url(store: GuardedStore, certificates: Certificates, *, host: str = "127.0.0.1", **changes: Any) -> str:
    """Return a URL with the CA and a client's certificate; ``changes`` set parameters (None: leaves one out)."""
    certificate, key = certificates.signed("client", host="DNS:client")
    given = {"ssl_ca_certs": certificates.ca, "ssl_certfile": certificate, "ssl_keyfile": key} | changes
    return f"rediss://{host}:{store.port}/0?" + parameters({k: v for k, v in given.items() if v is not None})


def ping_store(address: str) -> None:
    store = Store(address)
    try:
        store.ping()
    finally:
        store.close()


def ping_broker(address: str) -> None:
    """Connect as the workers do: with what the application makes of the settings' URL."""
    plain, tls = broker(address)
    with connect(plain, ssl=tls, transport_options={"socket_connect_timeout": 5}) as connection:
        connection.channel().client.ping()


BOTH = pytest.mark.parametrize("ping", [ping_store, ping_broker])


@BOTH
def test_the_right_ca_lets_store_and_broker_in(ping: Any, store_of_tls: GuardedStore) -> None:
    ping(store_of_tls.url)


@BOTH
@pytest.mark.parametrize("case", ["another CA", "no CA", "another host name", "no client certificate", "no TLS"])
def test_what_the_certificates_do_not_prove_is_refused(
    ping: Any, case: str, store_of_tls: GuardedStore, certificates: Certificates, tmp_path: Path
) -> None:
    address: str = {
        "another CA": lambda: url(store_of_tls, certificates, ssl_ca_certs=Certificates(tmp_path / "other").ca),
        "no CA": lambda: url(store_of_tls, certificates, ssl_ca_certs=None),
        "another host name": lambda: url(store_of_tls, certificates, host="localhost"),
        "no client certificate": lambda: url(store_of_tls, certificates, ssl_certfile=None, ssl_keyfile=None),
        "no TLS": lambda: f"redis://127.0.0.1:{store_of_tls.port}/0",
    }[case]()
    with pytest.raises((StoreUnreachable, *connect("redis://").connection_errors)):
        ping(address)


@BOTH
def test_the_host_name_goes_unchecked_only_where_the_url_says_so(
    ping: Any, store_of_tls: GuardedStore, certificates: Certificates
) -> None:
    ping(url(store_of_tls, certificates, host="localhost", ssl_check_hostname="false"))


def test_a_certificate_that_is_refused_is_told_as_that(store_of_tls: GuardedStore, certificates: Certificates) -> None:
    with pytest.raises(StoreUnreachable, match="TLS certificate is not accepted"):
        ping_store(url(store_of_tls, certificates, ssl_ca_certs=None))


@pytest.mark.e2e
def test_a_worker_brings_a_request_home_over_tls_alone(
    store_of_tls: GuardedStore, certificates: Certificates, tmp_path: Path
) -> None:
    settings = {
        "BATCHLINE_REDIS_URL": "",
        "BATCHLINE_BROKER_URL": "",
        "BATCHLINE_REDIS_URL_FILE": str(tmp_path / "url"),
        "BATCHLINE_FLUSH__MAX_AGE": "0",
        "BATCHLINE_POLL__MIN_INTERVAL": "0.2",
    }
    (tmp_path / "url").write_text(store_of_tls.url, encoding="utf-8")
    with Stack(tmp_path, emulation=Emulation(latency_s=0.1), settings=settings) as stack:
        with Client(store_of_tls.url, settings=load_settings(environ={})) as client:
            ticket = client.enqueue(model="gpt-5-mini", messages=[{"role": "user", "content": "x"}])
            assert ticket.wait(timeout=60).status == "succeeded"
            clients = client.store.connection.run("CLIENT LIST")
        log = (stack.folder / "worker-0.log").read_text()
    assert "batchline-worker" in {each["name"] for each in clients}  # the broker's connection
    assert "doorbell.failed" not in log
    assert "insecure" not in log.lower()


# --- what the application makes of a URL; no server needed ---


def test_a_broker_is_checked_unless_its_url_says_otherwise() -> None:
    assert broker("rediss://u:p%40@h:1/2?ssl_ca_certs=/ca") == (
        "rediss://u:p%40@h:1/2",
        {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_ca_certs": "/ca"},
    )
    assert broker("rediss://h?ssl_cert_reqs=none")[1] == {"ssl_cert_reqs": "none", "ssl_check_hostname": True}


def test_a_broker_without_tls_keeps_its_place() -> None:
    assert broker("redis://h:1/3?health_check_interval=5") == ("redis://h:1/3", None)
    assert broker("redis://h?db=4") == ("redis://h/4", None)
    assert broker("amqp://h//") == ("amqp://h//", None)


def test_the_worker_takes_both_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHLINE_REDIS_URL", "rediss://h/1?ssl_ca_certs=/ca")
    given = app._configuration()
    assert given["broker_url"] == "rediss://h/1"
    assert given["broker_use_ssl"]["ssl_cert_reqs"] == "required"
