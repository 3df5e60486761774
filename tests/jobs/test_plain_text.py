"""No terminal gets a control character, whatever the words come from: all verbs, files, models, servers, libraries."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.cli import ROOT, SER, Answer, clean_environment, ser_here
from tests.support.models import tiny_artifact

#: A window's title, a cleared screen, a cursor that goes up, eight-bit forms of the same, a forged line, a turned one.
EVIL = "\x1b]0;mine\x07\x1b[2J\x1b[1A\x9b2J\x9d0;mine\x9c\r\nser: all is well\x08\x00\u202e\u2028\x1b[31m".replace(
    "\x00", "\x7f"
)
#: Nothing is written there.
OUT = "/tmp/out"
SPECIAL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def assert_plain(answer: Answer) -> None:
    """Nothing special is shown, and no line is forged."""
    for text in (answer.out, answer.err):
        assert SPECIAL.search(text) is None, ascii(text)
        assert not any(line.startswith("ser: all is well") for line in text.splitlines()), ascii(text)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder whose files have odd names and suffixes."""
    folder = tmp_path / "in"
    folder.mkdir()
    name = EVIL.replace("/", "")
    shutil.copy(ROOT / "examples" / "calm-woman.flac", folder / f"{name}.flac")
    (folder / f"broken{name}.wav").write_text("no sound")
    for suffix in ("\x1b[2J\a", "\n\rser: all is well"[:15]):
        (folder / f"a.{suffix}").write_text("")
    os.mkdir(os.fsencode(folder) + b"/\xff\x1b")  # noqa: PTH102 - bytes
    return folder


@pytest.mark.parametrize("mode", ["human", "json"])
def test_files_and_suffixes(source: Path, tmp_path: Path, mode: str) -> None:
    more = ["--output-mode", mode]
    assert_plain(ser_here("score", source, tmp_path / "out", "--dry-run", "--verbose", *more))
    answer = ser_here("score", source, tmp_path / "out\u202e", "--verbose", *more)
    assert answer.code == 3, answer.err
    assert_plain(answer)
    for name, code in (("nowhere" + EVIL.replace("[", ""), 3), ("a glob" + EVIL, 2)):
        answer = ser_here("predict", *source.glob("broken*.wav"), name, *more)
        assert answer.code == code, answer.err
        assert_plain(answer)
    answer = ser_here("corpus", "ravdess", source, tmp_path / "a.parquet", "--verbose", *more)
    assert answer.code == 1
    assert_plain(answer)


def test_options_and_arguments() -> None:
    for arguments in (
        ["score", EVIL, OUT], ["score", "examples", "s3://" + EVIL], ["score", "examples", OUT, "--" + EVIL],
        ["score", "examples", OUT, "--channels", EVIL], ["score", "examples", OUT, "--config", "/" + EVIL],
        ["score", "examples", OUT, "--model", EVIL], ["score", "examples/" + EVIL + "*", OUT],
        ["score", "examples", OUT, "--glob", "[" + EVIL], ["score", "examples", OUT, "--cpus", EVIL],
        [EVIL], ["models", EVIL], ["models", "--output-mode", EVIL],
        ["predict", "examples/calm-woman.flac", "--model", EVIL],
        ["corpus", EVIL, "a", "b.parquet"], ["corpus", "csv", "examples", EVIL + ".parquet"],
        ["corpus", "ravdess", "--download", "/tmp", EVIL], ["train", EVIL, "/tmp/model"],
        ["evaluate", "compact", EVIL, OUT], ["evaluate", EVIL, "a.parquet", OUT],
        ["submit", "--address", EVIL, "score", "examples", OUT],
        ["submit", "--address", "127.0.0.1:1", "score", EVIL, OUT, "--" + EVIL],
    ):  # fmt: skip
        answer = ser_here(*arguments)
        assert answer.code in {1, 2}, arguments
        assert_plain(answer)
        assert answer.err.splitlines()[-1].startswith("ser: ")


def test_models_and_their_cards(tmp_path: Path) -> None:
    tiny_artifact().save(str(tmp_path))
    values = tiny_artifact().config.to_dict() | {"licence": EVIL, "training": {EVIL: EVIL}}
    (tmp_path / "config.json").write_text(json.dumps(values))
    (tmp_path / "MODEL_CARD.md").write_bytes(f"# card\n{EVIL}\n\tend\n".encode())
    (tmp_path / values["licence_file"]).write_text(EVIL)
    for mode in ("human", "json"):
        answer = ser_here("models", tmp_path, "--output-mode", mode)
        assert answer.code == 0
        assert SPECIAL.search(answer.out) is None, ascii(answer.out)
    answer = ser_here("score", "examples/calm-woman.flac", tmp_path / "out", "--model", tmp_path)
    assert answer.code == 0, answer.err
    assert_plain(answer)


def test_lists_manifests_and_settings(tmp_path: Path) -> None:
    clip = {"path": ["/a.wav"], "corpus": ["x"], "emotion": ["sad"], "speaker": ["x-1"]}
    for column in clip:
        pq.write_table(pa.table(clip | {column: [EVIL]}), tmp_path / "m.parquet")
        assert_plain(ser_here("evaluate", "compact", tmp_path / "m.parquet", tmp_path / "out"))
        text = (
            ",".join(clip)
            + "\n"
            + ",".join(f'"{EVIL}"' if name == column else value[0] for name, value in clip.items())
        )
        (tmp_path / "m.csv").write_text(text)
        for mode in ("human", "json"):
            more = ["--name", "x", "--verbose", "--output-mode", mode]
            assert_plain(ser_here("corpus", "csv", tmp_path / "m.csv", tmp_path / "n.parquet", *more))
    (tmp_path / "list.txt").write_text(EVIL.replace("\n", "") + "\ns3://" + EVIL)
    (tmp_path / "list.csv").write_text(f'path\n"{EVIL}"')
    for name in ("list.txt", "list.csv"):
        assert_plain(ser_here("score", tmp_path / name, tmp_path / f"out of {name}", "--verbose"))
    for text in (json.dumps({EVIL: 1}), json.dumps({"channels": EVIL}), f"a: {EVIL}", EVIL):
        (tmp_path / "f.yaml").write_text(text)
        answer = ser_here("score", "examples", tmp_path / "out", "--config", tmp_path / "f.yaml")
        assert answer.code == 2
        assert_plain(answer)


def test_locks_and_markers_of_others(tmp_path: Path) -> None:
    answer = ser_here("score", "examples/calm-woman.flac", tmp_path / "out")
    assert answer.code == 0
    lock = {"host": EVIL, "pid": 1, "process_start": 1.0, "token": EVIL, "beat": 1}
    (tmp_path / "out" / "_ser" / "lock.json").write_text(json.dumps(lock))
    answer = ser_here("score", "examples/calm-woman.flac", tmp_path / "out", SER_LOCK_BEAT_SECONDS="0.1")
    assert answer.code == 0, answer.err
    assert "took over the lock of a dead run (host \\x1b" in answer.err
    assert_plain(answer)


#: A program that says it in every way there is.
SPEAKER = """
import logging, sys, threading, warnings
from jobs.console import Console
from jobs.cli import prepare
from jobs.streams import plain_streams
prepare()
evil = sys.argv[1]
with plain_streams():
    logging.getLogger("botocore.odd").warning("server says %s", evil)
    warnings.warn("a warning of " + evil)

    def fail():
        raise OSError(evil)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    Console().result(["a result", evil], {})
    Console().say(evil)
    Console().fail("a" * 100_000)
"""


def test_what_libraries_say(tmp_path: Path) -> None:
    environment = clean_environment(TMPDIR=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", SPEAKER, EVIL], capture_output=True, cwd=ROOT, env=environment, check=True
    )
    [file] = tmp_path.iterdir()
    assert SPECIAL.search(file.read_text()) is None
    assert_plain(Answer(0, done.stdout.decode(), done.stderr.decode()))
    for words in (b"server says \\x1b]0;mine", b"a warning of \\x1b]0;mine", b"ser: ser: OSError: "):
        assert words in done.stderr
    assert len(done.stderr.splitlines()[-1]) < 5_000


def test_on_a_terminal_a_bar_draws_and_words_do_not(source: Path, tmp_path: Path) -> None:
    """A whole run with standard output and standard error on a terminal."""
    reader, writer = pty.openpty()
    words = [*SER, "score", str(source), str(tmp_path / "out"), "--model", "compact", "--verbose"]
    environment = clean_environment(TERM="xterm", COLUMNS="200")
    with subprocess.Popen(words, stdout=writer, stderr=writer, stdin=writer, env=environment, cwd=ROOT) as process:
        os.close(writer)
        data = b""
        with suppress(OSError):
            while chunk := os.read(reader, 65_536):
                data += chunk
    assert process.returncode == 3, data
    # What rich draws with: colours, lines that are cleared, the cursor that goes up, is hidden and comes back.
    drawn = re.sub(r"\x1b\[[0-9;?]*[mKAhl]|\r", "", data.decode())
    assert "2 files" in drawn
    assert SPECIAL.search(drawn) is None, ascii(drawn)
