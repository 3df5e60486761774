"""The Ray that a run starts for itself: nobody else reaches it, and it goes when the run does."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from cluster.resources import Hardware
from cluster.session import connect
from ser_core.errors import UsageError
from tests.support.archive import write_archive
from tests.support.cli import (
    AS_OTHER_USER,
    SER,
    as_host,
    assert_one_line,
    clean_environment,
    finish,
    needs_two_users,
    ser,
    start,
)
from tests.support.processes import assert_none_left, launch, listeners, names_in, session_of, stop
from tests.support.run_control import num_committed, wait_for

_LEAVES = """
import atexit, subprocess, sys
from cluster.session import leave
child = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
atexit.register(print, "walked through the exit")
print(child.pid, child.stdout.readline().strip(), end="")
leave(int(sys.argv[1]))
"""


@pytest.mark.parametrize("code", [0, 3])
def test_leaving_ends_all_children_and_keeps_what_was_said(code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LEAVES, str(code)], stdout=subprocess.PIPE, text=True, check=False, timeout=60
    )
    assert done.returncode == code
    child, grandchild = map(int, done.stdout.split())
    assert_gone([child, grandchild])


_LEAVES_A_CROWD = """
import subprocess, time
from cluster.session import leave
for _ in range(4):
    subprocess.Popen(["sh", "-c", "while :; do sleep 600 & sleep 0.002; done"])
time.sleep(0.5)
leave(0)
"""


def test_leaving_ends_what_is_being_started_meanwhile() -> None:
    process = launch([sys.executable, "-c", _LEAVES_A_CROWD])
    assert process.wait(60) == 0
    assert_none_left(process)


def assert_gone(pids: list[int], timeout: float = 5) -> None:
    """None of these processes runs any more; a dead one that nobody has waited for is gone too."""

    def left() -> list[int]:
        return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]

    until = time.monotonic() + timeout
    while left() and time.monotonic() < until:
        time.sleep(0.05)
    assert not left()


#: Another user's program: Ray's store, of which workers take the code that they run.
_INTRUDES = """
import os, sys
from ray._raylet import GcsClient
# Not before: its user may not be able to read the program.
os.setgroups([]), os.setgid(65534), os.setuid(65534)
try:
    print(GcsClient(address=sys.argv[1]).internal_kv_get(b"session_name", b"session"))
except BaseException as error:
    print(type(error).__name__, error)
"""


def intrude(gcs_address: str, token: str) -> str:
    """What another user gets of a Ray with a token, known or guessed."""
    environment = clean_environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token, HOME="/nonexistent")
    command = [sys.executable, "-c", _INTRUDES, gcs_address]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    return done.stdout


def as_other_user(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*AS_OTHER_USER, *command], capture_output=True, text=True, check=False, timeout=60)


@needs_two_users
@pytest.mark.ray
def test_another_user_gets_nothing_of_its_own_ray(tmp_path: Path) -> None:
    write_archive(tmp_path / "in", 60)
    folder = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    folder.chmod(0o777)
    try:
        # Nothing can be written to this home, not by root either.
        home = "/proc/no-home"
        words = ("score", tmp_path / "in", tmp_path / "out", "--engine", "ray")
        process = start(*words, TMPDIR=str(folder), HOME=home)
        wait_for(lambda: any(name.startswith("ray::IDLE") for name in names_in(process)), process)
        gcs = next(psutil.Process(pid) for pid in session_of(process) if psutil.Process(pid).name() == "gcs_server")
        raylet = next(psutil.Process(pid) for pid in session_of(process) if psutil.Process(pid).name() == "raylet")
        (address,) = set(re.findall(r"--gcs-address=([\d.:]+)", " ".join(raylet.cmdline())))
        token = gcs.environ()["RAY_AUTH_TOKEN"]
        lines = [" ".join(psutil.Process(pid).cmdline()) for pid in session_of(process)]
        listening = listeners([psutil.Process(pid) for pid in session_of(process)])
        sessions = list(folder.glob("ser-*/ray/session_2*"))
        found = as_other_user("find", str(folder), "-mindepth", "1")
        environment = as_other_user("cat", f"/proc/{gcs.pid}/environ")
        answers = [intrude(address, guess) for guess in ("guessed", token)]
        holds_token = subprocess.run(["grep", "-rlF", token, str(folder)], capture_output=True, text=True, check=False)
        process.send_signal(signal.SIGHUP)
        answer = finish(process, timeout=60)
        assert_one_line(answer, 130, "run the same command to go on")
        assert_none_left(process)
        assert listening == {"127.0.0.1"}
        assert len(sessions) == 1
        assert [line for line in lines if token in line] == []
        assert holds_token.stdout == ""
        assert environment.returncode != 0
        # It sees that there are folders, and nothing of what is in them.
        assert all(Path(name).parent == folder for name in found.stdout.splitlines())
        assert "Permission denied" in found.stderr
        assert "session_" in answers[1], f"the attack does not even work with the token: {answers[1]}"
        assert answers[0].startswith("AuthenticationError"), answers[0]
        assert list(folder.iterdir()) == []
    finally:
        shutil.rmtree(folder)


@pytest.mark.heavy
@pytest.mark.ray
def test_its_own_ray_is_on_loopback_alone_and_goes_with_the_run_also_by_ctrl_c_in_a_script(tmp_path: Path) -> None:
    write_archive(tmp_path / "in", 60)
    output = tmp_path / "out"
    # A shell without job control: the run is in the shell's process group, which is what the terminal signals.
    command = [*SER, "score", str(tmp_path / "in"), str(output), "--engine", "ray"]
    process = launch(
        ["bash", "-c", 'trap true INT; "$@"; echo "code $?"', "bash", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    # Its servers listen, and workers run, before anything is scored.
    wait_for(lambda: any(name.startswith("ray::") for name in names_in(process)), process)
    found = listeners([psutil.Process(pid) for pid in session_of(process)])
    os.killpg(process.pid, signal.SIGINT)
    answer = finish(process, timeout=30)
    assert found == {"127.0.0.1"}
    assert "code 130" in answer.out, answer.err
    assert "run the same command to go on" in answer.err
    assert_none_left(process)


@pytest.mark.heavy
@pytest.mark.ray
def test_a_run_that_slept_for_long_and_was_taken_over_ends_with_its_line_and_code(tmp_path: Path) -> None:
    # So many that they are not all scored when the first are seen, however slow the look is.
    num_files = 400
    write_archive(tmp_path / "in", num_files)
    output = tmp_path / "out"
    command = ["score", tmp_path / "in", output, "--commit-seconds", "0.2", "--engine", "ray"]
    quick = {"SER_LOCK_BEAT_SECONDS": "0.3"}
    holder = start(*command, before=as_host("here"), **quick)
    wait_for(lambda: num_committed(output) > 0, holder)
    stop(holder)
    asleep_since = time.monotonic()
    assert num_committed(output) < num_files
    other = ser(*command, before=as_host("elsewhere"), **quick)
    assert other.code == 0, other.err
    # Longer than Ray waits for a sign of life from what it started.
    time.sleep(max(0.0, asleep_since + 60 - time.monotonic()))
    holder.send_signal(signal.SIGCONT)
    assert_one_line(finish(holder, timeout=60), 1, "newer run")
    assert_none_left(holder)


@pytest.mark.parametrize(
    "address", ["me:secret@nohost", "me:secret@[::1]:6379", "ray://me:se/cret@127.0.0.1:1", "me:se@cret@127.0.0.1:1"]
)
def test_a_password_in_an_address_is_refused_and_not_shown(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        connect(address=address, own=Hardware(cpus=1, gpus=0), verbose=True)
    assert str(caught.value) == "--address: an address of Ray has no user and no password; give host:port"
