"""The table of the soak: what was asked, what befell whom, and what came of it."""

from __future__ import annotations

from collections import Counter

from gsm8k import read_bill
from soak_checks import Evidence
from soak_emulator import call
from soak_trouble import Trouble

from batchline.local.stack import Stack


def print_table(stack: Stack, trouble: Trouble, found: Evidence) -> None:
    fired = Counter[str]()
    for row in call(f"{stack.emulator_url}/_emulator/faults")["fired"]:
        fired[row["action"]] += row["times"]
    bill, books, counts = found.bill, found.books, found.events
    waste = {lane: causes for lane, causes in found.waste.items() if causes}
    rows: dict[str, object] = {
        "requests accepted": len(books.accepted),
        "  perhaps accepted (raw, not acknowledged)": len(books.doubtful),
        "  enqueued again by the client": books.repeats,
        **trouble.made,
        **{f"store connections {kind}": n for kind, n in trouble.proxies[0].counts.items()},
        **{f"provider connections {kind}": n for kind, n in trouble.proxies[1].counts.items()},
        "provider faults fired": f"{fired.total()}  {dict(sorted(fired.items()))}",
        "batches at the providers": f"{sum(bill['batches_created'].values())}  {bill['batches_created']}",
        "  cancelled": sum(bill["batches_cancelled"].values()),
        "creates of unknown end": counts["batch.ambiguous"],
        "  adopted / absent / disowned / duplicate": " / ".join(
            str(counts[name]) for name in ("adopted", "batch.absent", "batch.disowned", "batch.duplicate")
        ),
        "requests sent again": counts["retried"],
        "leases lost": counts["lease.lost"],
        "store trouble seen": counts["store.trouble"],
        "executed / charged / different": f"{bill['executions']} / {bill['charges']} / {bill['messages']}",
        "billed / booked as paid (nano-USD)": " / ".join(
            str(sum(each.get("paid_nano", 0) for each in sums.values()))
            for sums in (dict(read_bill(bill)), found.booked)
        ),
        "waste by cause (nano-USD)": waste or "none",
    }
    for name, value in rows.items():
        print(f"  {name:<44} {value}")
