"""Gemini's files on disk: uploads in progress, what was uploaded, and what batches produced.

One file is two: `<id>.data` and `<id>.json` (its record, msgspec of GeminiFile), so that a state directory can be opened
again.  Source: ai.google.dev/api/files and recorded calls of google-genai 3.4.0.
"""

import base64
import hashlib
import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

UPLOADED_LIFE_S = 48 * 3_600
GENERATED_LIFE_S = 42 * 86_400  # results are kept for 6 weeks
MAX_ID_LENGTH = 40  # a result file's id is longer, so that only its download works
_LETTERS = string.ascii_lowercase + string.digits
_BASE = "https://generativelanguage.googleapis.com"


class GeminiFile(msgspec.Struct, frozen=True):
    """One file's record; times in unix seconds, `sha256` in hex.  Batches can be made from it from `active_at` on."""

    id: str
    bytes: int
    created_at: float
    expires_at: float
    display_name: str
    mime_type: str
    sha256: str
    source: Literal["UPLOADED", "GENERATED"]
    active_at: float = 0.0

    def public(self, now: float) -> dict[str, Any]:
        """Return Google's file object."""
        created = stamp(self.created_at)
        uri = f"{_BASE}/v1beta/files/{self.id}"
        body = {
            "name": f"files/{self.id}",
            "displayName": self.display_name,
            "mimeType": self.mime_type,
            "sizeBytes": str(self.bytes),
            "createTime": created,
            "updateTime": created,
            "expirationTime": stamp(self.expires_at),
            "sha256Hash": base64.b64encode(bytes.fromhex(self.sha256)).decode(),
            "uri": uri,
            "state": "ACTIVE" if self.active_at <= now else "PROCESSING",
            "source": self.source,
        }
        return {name: value for name, value in body.items() if value}


@dataclass(slots=True)
class Upload:
    """One resumable upload: bytes arrive in pieces and become `file` when the last one has."""

    display_name: str
    mime_type: str
    wanted_id: str | None
    size: int
    spooled: Path
    received: int = 0
    file: GeminiFile | None = None


class GeminiFiles:
    """The Gemini files of one emulator, in one directory."""

    def __init__(
        self, directory: Path, clock: Callable[[], float], listing_lag_s: float = 0.0, file_delay_s: float = 0.0
    ) -> None:
        """Open `directory`, creating it if need be, with the files that an earlier emulator left there."""
        self._directory = directory / "gemini-files"
        self._directory.mkdir(parents=True, exist_ok=True)
        for left in self._directory.glob("spool-*"):
            left.unlink()
        self._clock = clock
        self._listing_lag_s = listing_lag_s
        self._file_delay_s = file_delay_s
        self._listed_at: dict[str, float] = {}
        self._foreign: set[str] = set()
        self.uploads: dict[str, Upload] = {}
        records = [msgspec.json.decode(path.read_bytes(), type=GeminiFile) for path in self._directory.glob("*.json")]
        self._files = {record.id: record for record in sorted(records, key=lambda record: record.created_at)}

    def spool_path(self) -> Path:
        """Return a new path to write to before it is known whether the file will be kept."""
        return self._directory / f"spool-{secrets.token_hex(12)}"

    def adopt(
        self,
        spooled: Path,
        file_id: str,
        display_name: str = "",
        mime_type: str = "application/jsonl",
        *,
        source: Literal["UPLOADED", "GENERATED"] = "UPLOADED",
        created_at: float | None = None,
        foreign: bool = False,
    ) -> GeminiFile:
        """Make the file at `spooled` one of the store's and return its record; it disappears from its old path.

        `created_at` is now unless given.  A `foreign` file belongs to another application, and is listed at once.
        """
        now = self._clock()
        created = now if created_at is None else created_at
        life_s = UPLOADED_LIFE_S if source == "UPLOADED" else GENERATED_LIFE_S
        active_at = created + self._file_delay_s if source == "UPLOADED" else created
        sha256 = _sha256(spooled)
        size = spooled.stat().st_size
        record = GeminiFile(
            file_id, size, created, created + life_s, display_name, mime_type, sha256, source, active_at
        )
        if foreign:
            self._foreign.add(file_id)
        elif self._listing_lag_s:
            self._listed_at[file_id] = now + self._listing_lag_s
        spooled.rename(self.path(file_id))
        (self._directory / f"{file_id}.json").write_bytes(msgspec.json.encode(record))
        self._files[file_id] = record
        return record

    def path(self, file_id: str) -> Path:
        """Return where a file's content lies; `file_id` must be one of ours."""
        return self._directory / f"{file_id}.data"

    def get(self, file_id: str) -> GeminiFile | None:
        """Return a file's record, or None when it was never there, is deleted or has expired."""
        record = self._files.get(file_id)
        if record is not None and record.expires_at <= self._clock():
            self.delete(file_id)
            return None
        return record

    def listed(self) -> list[GeminiFile]:
        """Return the uploaded files that list answers show by now, newest first."""
        now = self._clock()
        ids = [file_id for file_id in list(self._files) if self._listed_at.get(file_id, now) <= now]
        records = [record for file_id in ids if (record := self.get(file_id)) is not None]
        uploaded = [record for record in records if record.source == "UPLOADED"]
        uploaded.reverse()  # of the same time, the one that came last goes first
        return sorted(uploaded, key=lambda record: -record.created_at)

    def stored_bytes(self) -> int:
        """Return the size of all files that have not expired."""
        records = (self.get(file_id) for file_id in list(self._files))
        return sum(record.bytes for record in records if record is not None)

    def is_foreign(self, file_id: str) -> bool:
        """Return whether a file belongs to another application."""
        return file_id in self._foreign

    def delete(self, file_id: str) -> None:
        """Forget a file and remove it from disk."""
        self._listed_at.pop(file_id, None)
        if self._files.pop(file_id, None) is not None:
            self.path(file_id).unlink(missing_ok=True)
            (self._directory / f"{file_id}.json").unlink(missing_ok=True)


def new_file_id() -> str:
    """Return an id as Google gives them to uploaded files: 12 letters and digits."""
    return "".join(secrets.choice(_LETTERS) for _ in range(12))


def stamp(seconds: float) -> str:
    """Return unix seconds as Google writes times."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
