"""Runs the `ser` command as a person does, and reads what it left behind."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

SER = [str(Path(sys.executable).with_name("ser"))]
ROOT = Path(__file__).parent.parent
#: In front of a command: what root may read and others may not, it may not either.
AS_PLAIN_USER = [
    "setpriv",
    "--bounding-set=-dac_override,-dac_read_search",
    "--inh-caps=-dac_override,-dac_read_search",
]


@dataclass(frozen=True)
class Answer:
    """What a command returned."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        """The JSON object that is the last line of standard output."""
        data: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return data


def clean_environment(**extra: str) -> dict[str, str]:
    """This process's environment without what would lead to another Ray or another lock."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SER_LOCK_"))}
    return kept | extra


def start(*arguments: str | Path, cwd: Path = ROOT, before: Sequence[str] = (), **extra: str) -> subprocess.Popen[str]:
    """Start `ser` in a process group of its own; `before` is a command that starts it."""
    return subprocess.Popen(
        [*before, *SER, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(**extra),
        start_new_session=True,
        cwd=cwd,
    )


def finish(process: subprocess.Popen[str], timeout: float = 240) -> Answer:
    out, err = process.communicate(timeout=timeout)
    return Answer(process.returncode, out, err)


def ser(
    *arguments: str | Path, timeout: float = 240, cwd: Path = ROOT, before: Sequence[str] = (), **extra: str
) -> Answer:
    """Run `ser` to its end."""
    return finish(start(*arguments, cwd=cwd, before=before, **extra), timeout)


def predictions(output: str | Path, options: dict[str, str] | None = None) -> pa.Table:
    """The predictions as the Delta log has them, in order of their key."""
    return _sorted(DeltaTable(f"{output}/predictions", storage_options=options), "window_index")


def files(output: str | Path, options: dict[str, str] | None = None) -> pa.Table:
    """The files table as the Delta log has it, in order of its key."""
    return _sorted(DeltaTable(f"{output}/files", storage_options=options))


def _sorted(table: DeltaTable, *more: str) -> pa.Table:
    rows = pa.table(table.to_pyarrow_table())
    return rows.sort_by([(name, "ascending") for name in ("path", "channel", *more)])


def assert_one_line(answer: Answer, code: int, *words: str) -> None:
    """The command ended with `code` and one line, no traceback, that holds every one of `words`."""
    assert answer.code == code, answer.err
    assert "Traceback" not in answer.err
    line = answer.err.strip().splitlines()[-1]
    assert line.startswith("ser: ")
    for word in words:
        assert word in line, line
