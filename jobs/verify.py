"""`ser verify`: is an output whole? One line for each thing that is wrong, with what to do."""

from dataclasses import asdict

from jobs.console import Console
from ser_core.storage import Location
from ser_core.tables import Verified, verify


def run_verify(output: str, console: Console) -> int:
    """Look at all of an output, without scoring anything; 0 if it is whole, else 1."""
    location = Location.parse(output)
    with console.progress() as progress:
        verified = verify(
            location,
            lambda done, total: progress.update(done, total, f"read {done / 1e6:.0f} of {total / 1e6:.0f} MB"),
        )
    console.result(
        _lines(location, verified), {"output": str(location), "is_whole": not verified.findings, **asdict(verified)}
    )
    return 1 if verified.findings else 0


def _lines(location: Location, verified: Verified) -> list[str]:
    lines = [
        f"{location.join(finding.table) if finding.table else location}: {finding}" for finding in verified.findings
    ]
    lines += verified.notes
    state = {None: "no record of it", "running": "a run is on, or was killed"}.get(verified.state, verified.state)
    counts = f"{verified.files} files, {verified.windows} windows in {verified.parts} parts"
    orphans = f", {verified.orphans} Parquet files that no table names" if verified.orphans else ""
    num_kinds = len(verified.findings)
    verdict = f"{num_kinds} {'kind' if num_kinds == 1 else 'kinds'} of damage" if num_kinds else "whole"
    return [*lines, f"{location}: {verdict}; run {verified.run} ({state}), {counts}{orphans}"]
