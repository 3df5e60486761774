import json
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from ser_core.score_config import ScoreConfig
from tests.support.cli import ROOT, SER, assert_one_line, files, ser, ser_here


def test_help_imports_nothing_heavy() -> None:
    answer = ser("--help", PYTHONPROFILEIMPORTTIME="1")
    assert answer.code == 0
    for verb in ("score", "predict", "models", "submit"):
        assert verb in answer.out
    imported = {line.rsplit("|", 1)[-1].strip() for line in answer.err.splitlines() if line.startswith("import time:")}
    assert "typer" in imported
    assert not imported & {"torch", "torchvision", "ray", "pyarrow", "librosa", "s3fs", "deltalake", "numpy"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["score", "{tmp}/nowhere", "{tmp}/out"], 1, ["nowhere", "does not exist"]),
        (["score", "{tmp}", "{tmp}/out"], 1, ["holds no file"]),
        (["score", "ftp://host/dir", "{tmp}/out"], 2, ["ftp://"]),
        (["score", "{tmp}", "{tmp}/out", "--model", "nosuch"], 1, ["nosuch", "compact"]),
        (["score", "{tmp}", "{tmp}/out", "--window-seconds", "0"], 2, ["--window-seconds", "0.1"]),
        (["score", "{tmp}", "{tmp}/out", "--cpus", "some"], 2, ["--cpus cannot be 'some'; it takes a whole number"]),
        (["score", "{tmp}", "{tmp}/out", "--cpus", "1_0"], 2, ["--cpus cannot be '1_0'; it takes a whole number"]),
        (
            ["score", "{tmp}", "{tmp}/out", "--commit-seconds", "nan"],
            2,
            ["cannot be nan; it takes a number from 0.001"],
        ),
        (
            ["score", "{tmp}", "{tmp}/out", "--channels", "x"],
            2,
            ["'--channels': 'x' is not", "; see 'ser score --help'"],
        ),
        (
            ["score", "examples", "{tmp}/out", "--gpus", "99"],
            2,
            ["--gpus 99: usable GPUs of this machine: ", "; give fewer"],
        ),
        (["score", "{tmp}", "{tmp}/out", "--model", "compac"], 1, ["did you mean 'compact'?"]),
        (["score", "{tmp}", "{tmp}/out", "--model"], 2, ["requires an argument; see 'ser score --help'"]),
        (["scor"], 2, ["No such command 'scor'. Did you mean 'score', 'corpus'? See 'ser --help'"]),
        (["models", "~/nosuch"], 1, ["'{home}/nosuch'"]),
        (["evaluate", "~/nosuch", "{tmp}/a.parquet", "{tmp}/out"], 1, ["'{home}/nosuch'"]),
        (["evaluate", "compact", "a", "b", "--seed", "x"], 2, ["--seed cannot be 'x'; it takes a whole number"]),
        (
            ["train", "a", "{tmp}/out", "--config", "configs/score.yaml"],
            2,
            ["unknown setting 'model'", "; unknown too: "],
        ),
        (["score", "{tmp}", "{tmp}/out", "--model", "~/nosuch"], 1, ["'{home}/nosuch'"]),
        (["score", "{tmp}", "{tmp}/out", "--config=~/none.yaml"], 2, ["{home}/none.yaml"]),
        (["predict", "examples/calm-woman.flac", "--model", "~/nosuch"], 1, ["'{home}/nosuch'"]),
        (
            ["train", "{tmp}/none.parquet", "{tmp}/out", "--test-share", "1"],
            2,
            ["--test-share cannot be 1; it takes", "below 1"],
        ),
        (["train", "{tmp}/none.parquet", "{tmp}/out", "--epochs", "0"], 2, ["--epochs"]),
        (["score", "{tmp}", "{tmp}/out", "--config", "{tmp}/none.yaml"], 2, ["none.yaml"]),
        (["score", "{tmp}", "{tmp}/out", "--restart", "--dry-run"], 2, ["--dry-run"]),
        (["score", "{tmp}", "{tmp}/out", "--channels", "both"], 2, ["channels", "mix"]),
        (["score", "{tmp}"], 2, ["Missing argument 'OUTPUT'; see"]),
        (["nosuch"], 2, ["nosuch"]),
        (["models", "nosuch"], 1, ["nosuch", "compact"]),
        (["submit", "--address", "http://10.0.0.1:8265", "score", "/a", "/b"], 2, ["/a", "s3://"]),
    ],
)
def test_a_persons_mistake_gets_one_line(tmp_path: Path, arguments: list[str], code: int, words: list[str]) -> None:
    answer = ser_here(*[argument.format(tmp=tmp_path) for argument in arguments])
    assert_one_line(answer, code, *[word.format(home=Path.home()) for word in words])
    assert not (tmp_path / "out" / "predictions").exists()


def test_an_address_where_nobody_listens_gets_one_line(tmp_path: Path) -> None:
    answer = ser("score", "examples", tmp_path / "out", "--address", "127.0.0.1:9")
    assert_one_line(answer, 2, "127.0.0.1:9", "no Ray cluster answers")
    assert not (tmp_path / "out" / "predictions").exists()


def test_an_option_says_what_its_field_says() -> None:
    words = " ".join(ser_here("score", "--help").out.split())
    for name, field in ScoreConfig.model_fields.items():
        assert f"--{name.replace('_', '-')}" in words
        assert str(field.description) in words.replace("- ", "-")
    assert "[default: 300.0] [0.001<=x<=10000000]" in words
    assert "[default: 0.2] [0<=x<1]" in " ".join(ser_here("train", "--help").out.split())


def test_every_verb_is_described_whole() -> None:
    verbs = ser_here("--help").out.partition("Commands:\n")[2].splitlines()
    assert len(verbs) == 10
    assert all(line.endswith(".") and not line.endswith("..") for line in verbs)


def test_the_version_is_the_packages() -> None:
    answer = ser_here("--version")
    assert (answer.code, answer.out) == (0, f"ser {version('ser')}\n")


def test_a_shell_completes_verbs_options_and_values() -> None:
    # What --show-completion prints, for bash whichever shell is found above these tests.
    script = ser(_SER_COMPLETE="source_bash").out
    assert "_ser_completion" in script
    found = {}
    models = {"predict --model com": ["compact"], "models w": ["whisper-bilstm"]}
    for words in ("ev", "score --chan", "score --channels e", *models):
        line = f'COMP_WORDS=(ser {words}); COMP_CWORD={len(words.split())}; _ser_completion "{SER[0]}"'
        shell = subprocess.run(
            ["bash", "-c", f'{script}\n{line}; echo "${{COMPREPLY[*]}}"'], capture_output=True, text=True, check=True
        )
        found[words] = shell.stdout.split()
    assert found == {"ev": ["evaluate"], "score --chan": ["--channels"], "score --channels e": ["each"], **models}


def test_alone_it_shows_its_help() -> None:
    answer = ser()
    assert answer.code == 0
    assert answer.out == ser("--help").out
    assert answer.err == ""


def test_a_files_settings_hold_unless_an_option_says_otherwise(tmp_path: Path) -> None:
    """Too many failures stop a run that another goes on with; --quiet says nothing; --no-prune undoes a file's."""
    (tmp_path / "in").mkdir()
    for name in ("calm-woman.flac", "angry-man.flac"):
        shutil.copy(ROOT / "examples" / name, tmp_path / "in")
    (tmp_path / "in" / "words.wav").write_text("no sound")
    config = tmp_path / "score.yaml"
    config.write_text("model: compact\nprune: true\nmax_failure_rate: 0.2\ncpus: 1\n")
    command = ("score", tmp_path / "in", tmp_path / "out", "--config", config)

    stopped = ser_here(*command)
    assert_one_line(stopped, 1, "1 of 3 files failed (33.3%)", "--max-failure-rate 0.2", "run again to go on")
    assert "weights under" in stopped.err
    assert record(tmp_path)["state"] == "stopped"

    quiet = ser_here(*command, "--max-failure-rate", "0.5", "--quiet")
    assert quiet.code == 3
    assert quiet.err == ""
    assert quiet.out.startswith("3 files: 2 scored, 0 partial, 1 failed; 3 unchanged")
    assert record(tmp_path)["state"] == "complete"
    used = record(tmp_path)["config"]
    assert (used["prune"], used["cpus"], used["max_failure_rate"]) == (True, 1, 0.5)

    (tmp_path / "in" / "calm-woman.flac").unlink()
    for option, num_rows in (("--no-prune", 3), ("--quiet", 2)):
        assert ser_here(*command, "--max-failure-rate", "0.5", option).code == 3
        assert files(tmp_path / "out").num_rows == num_rows


def record(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / "out" / "run.json").read_text())
    return data


def test_an_output_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_bytes(b"")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    for more in ([], ["--restart"]):
        assert_one_line(ser_here("score", tmp_path / "in", tmp_path / "out", *more), 1, "was not made by ser")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_models_lists_what_is_bundled_with_its_licence() -> None:
    answer = ser_here("models", "--output-mode", "json")
    assert answer.code == 0
    assert "compact" in answer.out
    assert "CC BY-NC-SA 4.0" in answer.out


def test_a_models_card_is_shown() -> None:
    answer = ser_here("models", "compact")
    assert answer.code == 0
    assert "RAVDESS" in answer.out
    assert "temperature" in answer.out
