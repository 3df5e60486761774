import pytest

from jobs.console import Console
from jobs.train import TrainProgress
from ser_core.training.events import EpochDone, EpochRecord, FoldBegan, FoldDone, Preparing, StepDone
from tests.support.clock import Clock


def record(number: int) -> EpochRecord:
    return EpochRecord(number=number, loss=0.5, learning_rate=0.1, validation_accuracy=0.25, validation_uar=0.75)


def report_everything(console: Console, clock: Clock) -> None:
    with console.progress() as bar:
        progress = TrainProgress(console, bar)
        progress.update(Preparing("features", 1, 2))
        progress.update(FoldBegan(0, 2, 3, (record(1),)))
        progress.update(StepDone(2, 1, 10, 0.6))
        clock.now += 30
        progress.update(EpochDone(0, record(2), 30.0))
        progress.update(FoldBegan(0, 2, 3, (record(1), record(2))))
        clock.now += 90
        progress.update(EpochDone(0, record(3), 90.0))
        progress.update(FoldDone(0))


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    report_everything(Console(), Clock.set_up(monkeypatch))
    assert capsys.readouterr().err.splitlines() == [
        "going on after epoch 1",
        "fold 1/2, epoch 2/3: loss 0.5000, accuracy 25.0%, UAR 75.0% on the validation clips, 30.0 s, 30 s left",
        "workers were lost; others take over",
        "going on after epoch 2",
        "fold 1/2, epoch 3/3: loss 0.5000, accuracy 25.0%, UAR 75.0% on the validation clips, 90.0 s",
        "fold 1/2 is done",
    ]


def test_a_live_line_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    report_everything(Console(), Clock.set_up(monkeypatch))
    shown = capsys.readouterr().err
    assert "epoch 3/3" in shown
    assert "UAR 75.0%" in shown


def test_nothing_when_quiet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    report_everything(Console(quiet=True), Clock.set_up(monkeypatch))
    assert capsys.readouterr().err == ""
