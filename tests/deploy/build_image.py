"""Build the image with buildah where no registry and no daemon can be had: on a Debian made by debootstrap.

    python -m tests.deploy.build_image [folder]

The Dockerfile is built as it is. What this machine needs to reach packages (apt's and pip's settings, certificates) comes
in by this script, from the settings of the machine itself. Root is needed.
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.tools import ROOT

SUITE = "trixie"
"""The Debian of the Dockerfile's own default base, with the same minor version of Python."""
BASE = "localhost/base:latest"
PRODUCTION = "localhost/batchline:latest"
DEMO = "localhost/batchline:demo"
VERSION, REVISION = "1.2.3-test", "0123abc"
_SETTINGS_OF_PIP = ("index-url", "extra-index-url", "proxy", "timeout")


@dataclass(frozen=True, slots=True)
class Storage:
    """Where images and containers are kept while they are looked at; nothing of it outlives ``folder``."""

    folder: Path
    driver: str

    def options(self) -> list[str]:
        """Return the options by which buildah and podman find it."""
        places = {"--root": "images", "--runroot": "run"}
        where = [part for option, name in places.items() for part in (option, str(self.folder / name))]
        return [*where, "--storage-driver", self.driver]


class BuildFailed(Exception):
    """A command of the build failed; the message has the end of what it said."""


def build(folder: Path) -> Storage:
    """Build the base, the image and its demo in ``folder``, which must be empty. Raises BuildFailed."""
    storage = Storage(folder, driver(folder))
    _base(storage)
    for target, tag in (("demo", DEMO), ("production", PRODUCTION)):
        _image(storage, target, tag)
    return storage


def remove(storage: Storage) -> None:
    """Remove the storage with all that is in it; nothing may run from it any more."""
    # The driver leaves its own folder mounted, and a build that failed its container's.
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        place = line.split()[1]
        if Path(place).is_relative_to(storage.folder):
            subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)
    shutil.rmtree(storage.folder)


def driver(folder: Path) -> str:
    """Return overlay where this machine has it on this file system, else the slow one that works anywhere."""
    trial = Storage(folder, "overlay")
    works = subprocess.run(["buildah", *trial.options(), "info"], capture_output=True, check=False).returncode == 0
    return "overlay" if works else "vfs"


def _base(storage: Storage) -> None:
    container = _buildah(storage, "from", "scratch").strip()
    root = Path(_buildah(storage, "mount", container).strip())
    _run("debootstrap", "--variant=minbase", "--include=python3,python3-venv", SUITE, str(root), *_mirror())
    (root / "etc/apt/apt.conf.d/99-this-machine").write_text(_apt_settings())
    for left in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(root / left)
    _buildah(storage, "umount", container)
    _buildah(storage, "commit", "--quiet", "--rm", container, BASE)


def _image(storage: Storage, target: str, tag: str) -> None:
    arguments = {"BASE_IMAGE": BASE, "VERSION": VERSION, "REVISION": REVISION}
    _buildah(
        storage,
        *("build", "--isolation", "chroot", "--layers", "--pull-never", "--format", "docker"),
        *(part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")),
        *(part for volume in _pip_settings(storage.folder) for part in ("--volume", volume)),
        *("--target", target, "--tag", tag, "--file", str(ROOT / "Dockerfile"), str(ROOT)),
    )


def _mirror() -> list[str]:
    """Return the address from which this machine takes Debian's packages; nothing: debootstrap's own default."""
    sites = _run("apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages").split()
    return [site for site in sites if site.rstrip("/").endswith("/debian")][:1]


def _apt_settings() -> str:
    lines = _run("apt-config", "dump", "Acquire").splitlines()
    return "\n".join(line for line in lines if not line.startswith("Acquire::IndexTargets")) + "\n"


def _pip_settings(folder: Path) -> list[str]:
    """Write a pip.conf of what reaches packages from here; return it and its certificates as volumes."""
    place, inside = folder / "pip", "/run/build-machine"
    place.mkdir(exist_ok=True)
    found: dict[str, str] = {}
    for line in _run(sys.executable, "-m", "pip", "config", "list").splitlines():
        name, _, value = line.partition("=")
        found[name.rpartition(".")[2]] = value.strip("'")
    # Folders of this machine are not seen from inside.
    wanted = {name: found[name] for name in _SETTINGS_OF_PIP if name in found and "file:" not in found[name]}
    certificates = found.get("cert") or os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    if certificates:
        shutil.copy(certificates, place / "ca.crt")
        wanted["cert"] = f"{inside}/ca.crt"
    lines = ["[global]", *(f"{name} = {value}" for name, value in wanted.items())]
    (place / "pip.conf").write_text("\n".join(lines) + "\n")
    return [f"{place}:{inside}:ro", f"{place}/pip.conf:/etc/pip.conf:ro"]


def _buildah(storage: Storage, *command: str) -> str:
    return _run("buildah", *storage.options(), *command)


def _run(*command: str) -> str:
    environment = os.environ | {"PATH": os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
        raise BuildFailed(f"{' '.join(command)}\nended with exit code {done.returncode} and said at its end:\n{said}")
    return done.stdout


def main(arguments: Sequence[str]) -> None:
    """Build into the named folder, or into a new one, and tell how the result is run."""
    folder = Path(arguments[0]) if arguments else Path(tempfile.mkdtemp(prefix="batchline-image-"))
    folder.mkdir(parents=True, exist_ok=True)
    storage = build(folder)
    sys.stdout.write(" ".join(["podman", *storage.options(), "images"]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
