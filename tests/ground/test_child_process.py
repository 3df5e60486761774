"""Processes of Python that die with the one that started them, whatever they are at."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.support.processes import first_line, launch

_SOON_SECONDS = 10

#: Starts a process whose imports do not end, says its number, and waits.
_PARENT = """
import socket, sys, time
sys.path.insert(0, sys.argv[1])
from ser_core.child_process import start_python
ours, theirs = socket.socketpair()
child = start_python("slow_to_import", theirs)
assert ours.recv(9) == b"importing"
print(child.pid, flush=True)
time.sleep(3600)
"""
_SLOW_TO_IMPORT = """
import socket, sys, time
socket.socket(fileno=int(sys.argv[1])).send(b"importing")
time.sleep(3600)
"""


def test_a_process_dies_with_its_parent_also_in_the_midst_of_its_imports(tmp_path: Path) -> None:
    (tmp_path / "slow_to_import.py").write_text(_SLOW_TO_IMPORT)
    parent = launch([sys.executable, "-c", _PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(first_line(parent)))
    parent.kill()
    parent.wait()
    assert child in psutil.wait_procs([child], timeout=_SOON_SECONDS)[0]


def test_a_process_whose_parent_is_gone_before_it_begins_ends() -> None:
    code = "from ser_core.child_process import die_with_parent; die_with_parent(); import time; time.sleep(3600)"
    # Its standard input has ended from the start.
    ended = subprocess.run([sys.executable, "-c", code], input=b"", timeout=_SOON_SECONDS, check=False)
    assert ended.returncode == -signal.SIGKILL
