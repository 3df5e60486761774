"""The README is true: its commands run, its code reads what they left; every link of the documents leads somewhere."""

import json
import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

import duckdb
import pytest
import soundfile
import typer

from jobs.cli import app
from tests.support.audio_factory import write_ravdess
from tests.support.cli import ROOT, Answer, ser, ser_here

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


def blocks(language: str) -> list[str]:
    """The README's code blocks of one language, "" for those that name none."""
    return [code for name, code in _BLOCK.findall((ROOT / "README.md").read_text()) if name == language]


def commands(language: str) -> list[list[str]]:
    lines = [shlex.split(line, comments=True) for block in blocks(language) for line in block.splitlines()]
    return [line for line in lines if line]


def run_commands(folder: Path, lines: list[list[str]], ser: Callable[..., Answer]) -> None:
    for program, *arguments in lines:
        assert program == "ser"
        answer = ser(*arguments, cwd=folder, as_typed=True, XDG_CACHE_HOME=str(folder / "cache"))
        assert answer.code == 0, f"ser {shlex.join(arguments)}\n{answer.err}"
        assert answer.out.strip()


def is_of_training(line: list[str]) -> bool:
    """Whether a command makes the model of one's own, or needs it."""
    return "my-model" in line


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the README's commands have been run, one after the other, but for those of the training.

    Of the examples there are a few, and the beginning of the call: test_examples.py scores them all.
    """
    folder = tmp_path_factory.mktemp("readme")
    (folder / "examples").mkdir()
    for clip in ("angry-man.flac", "sad-woman.flac", "neutral-man.flac"):
        (folder / "examples" / clip).symlink_to(ROOT / "examples" / clip)
    call_TC, rate_hz = soundfile.read(ROOT / "examples" / "call.flac", frames=8 * 16_000)
    soundfile.write(folder / "examples" / "call.flac", call_TC, rate_hz)
    found = commands("bash")
    assert {arguments[0] for _, *arguments in found} == {
        "score", "verify", "search", "predict", "models", "corpus", "train", "evaluate",
    }  # fmt: skip
    write_ravdess(folder / "speech")
    first, *others = [line for line in found if not is_of_training(line)]
    run_commands(folder, [first], ser)
    run_commands(folder, others, ser_here)
    return folder


def test_the_commands_run_and_leave_what_the_readme_draws(place: Path) -> None:
    assert list(place.glob("results/predictions/emotion=*/*.parquet"))
    assert list(place.glob("results/files/status=scored/*.parquet"))
    assert '"complete"' in (place / "results" / "run.json").read_text()


@pytest.mark.heavy
def test_the_model_trained_is_right_about_new_speakers(place: Path) -> None:
    # All thirty epochs, on a slow machine that has other tests to run.
    lines = [line for line in commands("bash") if is_of_training(line)]
    # Nobody speaks in the clips of `write_ravdess`.
    run_commands(place, [[*line, "--speech", "all"] for line in lines], partial(ser, timeout=900))
    report = json.loads((place / "my-model" / "report.json").read_text())
    assert report["test"]["overall"]["accuracy"]["value"] > 0.9
    evaluation = json.loads((place / "my-evaluation" / "evaluation.json").read_text())
    assert evaluation["overall"]["accuracy"]["value"] > 0.9
    assert "<html" in (place / "my-evaluation" / "evaluation.html").read_text()
    assert list(place.glob("my-results/predictions/emotion=*/*.parquet"))


def test_the_lines_of_the_training_are_ones_that_ser_takes() -> None:
    lines = [line for line in commands("bash") if is_of_training(line)]
    assert [verb for _, verb, *_ in lines] == ["train", "evaluate", "score"]
    group = typer.main.get_command(app)
    for _, verb, *arguments in lines:
        command = group.get_command(None, verb)  # type: ignore[attr-defined]
        assert "my-model" in str(command.make_context(verb, arguments).params)


def test_the_sql_finds_rows(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    [query] = blocks("sql")
    found = duckdb.sql(query)
    assert found is not None
    assert found.columns == ["path", "start_seconds", "emotion", "confidence", "speech_share"]
    assert found.fetchall()


def test_the_python_runs(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(place)
    read, asked = blocks("python")
    exec(f"{read}\n{asked}", {})
    said = capsys.readouterr().out
    assert "emotion" in said
    channels = [line.split() for line in said.splitlines()[-2:]]
    assert [(line[0], line[3]) for line in channels] == [("0", "2"), ("1", "2")]


def test_the_submit_line_is_one_that_ser_takes() -> None:
    """Jobs are really submitted in test_submit.py."""
    [arguments] = [rest for program, *rest in commands("") if program == "ser"]
    group = typer.main.get_command(app)
    for verb in ("submit", "score"):
        assert arguments[0] == verb
        context = group.get_command(None, verb).make_context(verb, arguments[1:])  # type: ignore[attr-defined]
        arguments = [context.params.get("verb"), *(context.params.get("arguments") or ())]


def test_the_tests_that_contributors_are_told_of_exist() -> None:
    there = "\n".join(file.read_text() for file in (ROOT / "tests").rglob("*.py"))
    text = (ROOT / "docs" / "contributing.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", text))
    assert len(named) > 20
    assert {name for name in named if f"def {name}(" not in there} == set()
    files = set(re.findall(r"`((?:tests|ser_core|jobs|configs|docs)/[\w/.]+\.\w+)`", text))
    assert {path for path in files if not (ROOT / path).exists()} == set()


def test_the_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / "README.md").read_text()
    named = {rest[0] for program, *rest in commands("") if program == "make"}
    inline = {target for line in re.findall(r"`make ([\w -]+)`", text) for target in line.split()}
    assert named
    assert named | inline <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in _LINK.findall(document.read_text()):
        if "://" in link:
            continue
        path, _, heading = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not heading or heading in headings(target), link


def headings(document: Path) -> set[str]:
    """The names by which the document's headings can be linked to."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
