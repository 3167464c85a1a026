"""Everything that one emulator remembers."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from batchline.emulator.bill import Bill
from batchline.emulator.faults import Fates
from batchline.emulator.files import FileStore
from batchline.emulator.gemini_store import GeminiFiles
from batchline.emulator.jobs import Job, Jobs
from batchline.emulator.options import Options
from batchline.emulator.transport_faults import TransportFaults


class Emulator:
    """The state behind the HTTP routes: files, jobs, faults and the bill. Files alone outlive it, in `state_dir`."""

    def __init__(self, options: Options, clock: Callable[[], float]) -> None:
        """Open the state directory (or make a temporary one); `clock` gives unix seconds."""
        self.options = options
        self.clock = clock
        self._own_dir = options.state_dir is None
        self._dir = options.state_dir or Path(tempfile.mkdtemp(prefix="batchline-emulator-"))
        self.scratch = self._dir / "unpublished"  # inputs and results of batches that have not been published
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        self.files = FileStore(self._dir, clock, options.listing_lag_s)
        self.gemini_files = GeminiFiles(self._dir, clock, options.listing_lag_s, options.gemini_file_delay_s)
        self.bill = Bill()
        self.fates = Fates(options)
        self.transport_faults = TransportFaults(options)
        self.jobs = Jobs(options, clock)

    def now(self) -> int:
        """Return the clock's time in whole seconds."""
        return int(self.clock())

    def cancel(self, job: Job) -> None:
        """Cancel a batch that has not ended, and count it if it is none of another application."""
        if job.state != "cancelling" and not job.foreign:
            self.bill.batches_cancelled[job.provider] += 1
        self.jobs.cancel(job)

    def note_touch(self, job: Job, action: str) -> None:
        """Put it on the bill when somebody tries `action` on a batch of another application."""
        if job.foreign:
            self.bill.violate(job.provider, action, job.id)

    def settle(self) -> None:
        """Do all that is due at the clock's time and wait for it (for tests with a clock of their own)."""
        self.jobs.advance()
        self.jobs.idle()
        self.jobs.advance()

    def close(self) -> None:
        """Stop the work and remove what is not to be kept."""
        self.jobs.close()
        shutil.rmtree(self._dir if self._own_dir else self.scratch, ignore_errors=True)
