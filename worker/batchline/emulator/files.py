"""Files on disk: what was uploaded, and what batches produced.

One file is two: `<id>.data` and `<id>.json` (its record, msgspec of StoredFile), so that a state directory can be
opened again.
"""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

DEFAULT_LIFE_S = 30 * 86_400  # Source: developers.openai.com/api/docs/guides/batch: purpose=batch expires after 30 days


class StoredFile(msgspec.Struct, frozen=True):
    """One file's record; times in unix seconds."""

    id: str
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str

    def public(self) -> dict[str, Any]:
        """Return OpenAI's file object."""
        return {"object": "file", **msgspec.to_builtins(self), "status": "processed", "status_details": None}


class FileStore:
    """The files of one emulator, in one directory."""

    def __init__(self, directory: Path, clock: Callable[[], float], listing_lag_s: float = 0.0) -> None:
        """Open `directory`, creating it if need be, with the files that an earlier emulator left there."""
        self._directory = directory / "files"
        self._directory.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._listing_lag_s = listing_lag_s
        self._listed_at: dict[str, float] = {}
        self._foreign: set[str] = set()
        paths = self._directory.glob("file-*.json")
        records = [msgspec.json.decode(path.read_bytes(), type=StoredFile) for path in paths]
        self._files = {record.id: record for record in sorted(records, key=lambda record: record.created_at)}

    def spool_path(self) -> Path:
        """Return a new path to write to before it is known whether the file will be kept."""
        return self._directory / f"spool-{secrets.token_hex(12)}"

    def adopt(
        self,
        spooled: Path,
        filename: str,
        purpose: str,
        life_s: int = DEFAULT_LIFE_S,
        *,
        created_at: float | None = None,
        foreign: bool = False,
    ) -> StoredFile:
        """Make the file at `spooled` one of the store's and return its record; it disappears from its old path.

        `created_at` is now unless given.  A `foreign` file belongs to another application, and is listed at once.
        """
        now = self._clock()
        file_id = f"file-{secrets.token_hex(12)}"
        created = int(now if created_at is None else created_at)
        record = StoredFile(file_id, spooled.stat().st_size, created, created + life_s, filename, purpose)
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

    def get(self, file_id: str) -> StoredFile | None:
        """Return a file's record, or None when it was never there, is deleted or has expired."""
        record = self._files.get(file_id)
        if record is not None and record.expires_at <= self._clock():
            self.delete(file_id)
            return None
        return record

    def listed(self) -> list[StoredFile]:
        """Return the records of the files that list answers show by now, oldest first."""
        now = self._clock()
        ids = [file_id for file_id in list(self._files) if self._listed_at.get(file_id, now) <= now]
        records = (self.get(file_id) for file_id in ids)
        return sorted((record for record in records if record is not None), key=lambda record: record.created_at)

    def is_foreign(self, file_id: str) -> bool:
        """Return whether a file belongs to another application."""
        return file_id in self._foreign

    def delete(self, file_id: str) -> None:
        """Forget a file and remove it from disk."""
        self._listed_at.pop(file_id, None)
        if self._files.pop(file_id, None) is not None:
            self.path(file_id).unlink(missing_ok=True)
            (self._directory / f"{file_id}.json").unlink(missing_ok=True)
