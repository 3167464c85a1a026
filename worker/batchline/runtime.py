"""The composition root of a worker process: settings, store and providers, built once per process at first use."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable

from batchline.engine.context import Context
from batchline.errors import KeyRefused, UsageError
from batchline.providers import make_provider
from batchline.providers.protocol import AccountAccess, Provider
from batchline.providers.watched import Watched
from batchline.settings import Account, Settings, load_settings
from batchline.store import Store

_built: dict[int, Context] = {}
_lock = threading.Lock()


def context() -> Context:
    """Return this process's context; a forked child builds its own, since connections do not survive a fork."""
    pid = os.getpid()
    with _lock:
        if pid not in _built:
            _built.clear()
            _built[pid] = build(load_settings())
        return _built[pid]


def build(settings: Settings) -> Context:
    """Build a context on the wall clock and real dice."""
    return Context(
        settings=settings,
        store=Store(
            settings.redis_url,
            lease_s=settings.lease_seconds,
            reply_ttl_s=settings.reply_ttl,
            replicas=settings.durability.replicas,
            durable_within_s=settings.durability.timeout,
            files_kept_s=settings.files_kept,
        ),
        provider=providers(settings),
        clock=now_ms,
        dice=random.SystemRandom(),
        worker=f"{socket.gethostname()}:{os.getpid()}",
    )


def now_ms() -> int:
    """Return the wall clock, unix ms."""
    return time.time_ns() // 1_000_000


def providers(settings: Settings) -> Callable[[str], Provider]:
    """Return a look-up of providers by account name; each is made once, at its first use."""
    made: dict[str, Provider] = {}
    lock = threading.Lock()

    def provider(name: str) -> Provider:
        with lock:
            if name not in made:
                account = settings.accounts[name]
                made[name] = Watched(make_provider(account.provider, _access(name, account)), name)
            return made[name]

    return provider


def _access(name: str, account: Account) -> AccountAccess:
    def key() -> str:
        try:
            return account.read_key(name)
        except UsageError as error:
            raise KeyRefused(str(error), account=name, call="key", code="no_key") from error

    return AccountAccess(name=name, key=key, base_url=account.base_url)
