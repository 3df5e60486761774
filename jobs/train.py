"""`ser train`: check everything first, then train on Ray, then say how good it is."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.command import own_code
from jobs.console import Console, Progress
from jobs.interrupts import Interrupts
from ser_core.errors import OutputError, SerError, without_password
from ser_core.settings import is_http_url
from ser_core.vocabulary import is_published

if TYPE_CHECKING:
    from cluster.ray_process import RayProcess
    from cluster.training.train import TrainResources
    from ser_core.models import OwnCode
    from ser_core.training import EpochRecord, Event, FoldBegan, Job, ReportSummary


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asked for."""

    manifests: Sequence[str]
    folder: str
    #: The model to start from, with its settings; None: the settings alone say.
    start: str | None
    config: Path | None
    #: Settings by name that override the file's; None: not given.
    overrides: dict[str, Any]
    restart: bool


def run_train(request: Request, console: Console) -> int:
    """Train; 0 when the model is there, 3 when it is and gives one answer to everything."""
    architecture = request.overrides.get("architecture") or ""
    # Of code that a file of settings names nothing is executed: a person types its name.
    with own_code(architecture if architecture.endswith(".py") else None) as code, ExitStack() as stack:
        if code is not None:
            request = replace(request, overrides=request.overrides | {"architecture": code.name})
        # Nothing is open while it loads: until then a signal ends the process at once.
        command = _Command(request, console, stack, code)
        stack.enter_context(command.interrupts)
        try:
            return command.run()
        except SerError as error:
            # Said before workers are taken down.
            console.fail(str(error))
            return error.exit_code


class _Command:
    """One run of `ser train`; the methods are its steps, in order."""

    def __init__(self, request: Request, console: Console, stack: ExitStack, code: "OwnCode | None") -> None:
        from ser_core.storage import Location
        from ser_core.training import TrainingFolder, load_train_config

        self._began = time.monotonic()
        self._request, self._console, self._stack, self._code = request, console, stack, code
        self.interrupts = Interrupts()
        self._has_page = False
        self._config = load_train_config(request.config, request.overrides, request.start)
        self._folder = TrainingFolder(Location.parse(request.folder))
        self._address = self._config.address or os.environ.get("RAY_ADDRESS")

    def run(self) -> int:
        """Do it; returns the exit code."""
        from cluster.training.train import plan_training
        from ser_core.training import finish_job, is_complete

        job, settings = self._checked_job()
        self._folder.check(None if self._request.restart else settings)
        run = None if self._request.restart else self._folder.run()
        if run is not None and is_complete(_named(job, run)):
            self._console.say("already trained, with these settings and clips; --restart trains anew")
            with suppress(OutputError):
                # A training that was killed at its very end left no page; a folder that is read alone needs none.
                self._has_page = finish_job(_named(job, run))
            return self._report(_named(job, run))
        self._decode(job)
        self._folder.check_writable()
        self._stack.enter_context(self._folder.lock().held(self._console.say))
        # Whatever may be refused comes before a restart deletes the model that is there.
        ray = self._connect()
        resources = plan_training(self._config, ray.hardware)
        job.check_workers(resources.num_workers)
        job = _named(job, self._folder.begin(settings, restart=self._request.restart))
        self._train(job, resources, ray)
        self._has_page = finish_job(job)
        self._folder.remove_checkpoints()
        return self._report(job)

    def _checked_job(self) -> "tuple[Job, dict[str, Any]]":
        """The job, and what must stay the same for it to go on."""
        from cluster.session import local_hardware
        from cluster.training.train import plan_training
        from ser_core.corpora import read_manifests
        from ser_core.training import Job

        manifest = read_manifests(self._request.manifests)
        job = Job(
            config=self._config, manifest=manifest, folder=self._folder.folder, run="", base=str(Path.cwd()),
            code=self._code,
        )  # fmt: skip
        for weights in filter(None, (self._config.weights, self._config.second_weights)):
            if not is_published(weights) and not is_http_url(weights):
                continue
            self._console.say(f"weights {without_password(weights)}: fetched into {job.cache_folder}, or found there")
        num_workers = self._config.workers or 1
        if not self._address:
            num_workers = plan_training(self._config, local_hardware(None, None)).num_workers
        checked = job.check(num_workers)
        self._console.detail(
            f"{len(manifest)} clips, {len(set(manifest.speakers))} speakers, {len(job.labels)} emotions; "
            f"{checked.num_parameters:,} parameters, {checked.num_learning:,} of which learn"
        )
        if checked.caution is not None:
            self._console.say(checked.caution)
        return job, checked.identity

    def _decode(self, job: "Job") -> None:
        """Find out here whether all clips can be decoded, where this machine trains."""
        from ser_core.training import open_waveforms

        if not self._address:
            self._console.say(f"looking at {len(job.manifest)} clips; what is decoded is cached in {job.cache_folder}")
            open_waveforms(job)

    def _train(self, job: "Job", resources: "TrainResources", ray: "RayProcess") -> None:
        from cluster.training.train import follow
        from ser_core.training import TrainingLog

        self._console.say(f"training: {_sets(job)}; {resources.describe()}")
        if is_open := ray.what_is_open(resources):
            self._console.say(is_open)
        stop = threading.Event()
        log = TrainingLog(self._folder.logs)
        with self._console.progress() as progress, self.interrupts.calm(stop):
            shown = TrainProgress(self._console, progress)

            def callback(event: "Event") -> None:
                log.follow(event)
                shown.update(event)

            follow(ray.train(job, resources), callback, stop)

    def _connect(self) -> "RayProcess":
        from cluster.ray_process import RayProcess
        from cluster.resources import Hardware
        from cluster.session import local_hardware

        own: Hardware = Hardware(cpus=1, gpus=0) if self._address else local_hardware(None, None)
        return self._stack.enter_context(
            RayProcess(
                address=self._address,
                own=own,
                verbose=self._console.verbose,
                kept="every epoch that ended is saved",
            )
        )

    def _report(self, job: "Job") -> int:
        """The end lines, or the JSON object; returns 3 where a model says one thing of every clip."""
        from ser_core.training import PAGE_FILE, REPORT_FILE, ReportSummary

        where, page = job.folder.join(REPORT_FILE), str(job.folder.join(PAGE_FILE)) if self._has_page else None
        report = ReportSummary.read(where)
        dumped = report.model_dump()
        data = {
            "model": report.model,
            "folder": str(job.folder),
            "report": str(where),
            "page": page,
            "folds": job.num_folds,
            "test": dumped["test"] and dumped["test"]["overall"],
            "over_folds": dumped["over_folds"],
            "matrix": dumped["matrix"],
            "one_answers": report.one_answers,
            "seconds": round(time.monotonic() - self._began, 3),
        }
        self._console.result(list(_end_lines(report, job, str(where), page)), data)
        return 3 if report.one_answers else 0


class TrainProgress:
    """Shows what a training reports."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self._console, self._progress = console, progress
        self._prepared: str | None = None
        self._fold: FoldBegan | None = None

    def update(self, event: "Event") -> None:
        """Show it."""
        from ser_core.training import EpochDone, FoldBegan, FoldDone, Preparing, StepDone

        match event:
            case Preparing(what, done, total):
                if what != self._prepared:
                    self._progress.begin()
                self._prepared = what
                self._progress.update(done, total, f"{what}: {done / total:.0%}")
            case FoldBegan():
                self._begin(event)
            case StepDone(epoch, step, num_steps, loss):
                self._epoch(epoch, epoch - 1 + step / num_steps, f", step {step}/{num_steps}: loss {loss:.4f}")
            case EpochDone():
                number = event.record.number
                self._epoch(number, number, f": {_metrics(event.record)}, {event.seconds:.1f} s", at_once=True)
            case FoldDone() if self._fold is not None and self._fold.num_folds > 1:
                self._console.say(f"fold {event.fold + 1}/{self._fold.num_folds} is done")

    def _begin(self, event: "FoldBegan") -> None:
        if self._fold is not None and self._fold.fold == event.fold:
            self._console.say("workers were lost; others take over")
        self._fold = event
        if event.history:
            self._console.say(f"going on after epoch {event.history[-1].number}")
        self._progress.begin(len(event.history))

    def _epoch(self, number: int, done: float, what: str, *, at_once: bool = False) -> None:
        assert self._fold is not None
        fold = f"fold {self._fold.fold + 1}/{self._fold.num_folds}, " if self._fold.num_folds > 1 else ""
        total = self._fold.num_epochs
        self._progress.update(done, total, f"{fold}epoch {number}/{total}{what}", at_once=at_once)


def _metrics(record: "EpochRecord") -> str:
    text = f"loss {record.loss:.4f}"
    if record.validation_uar is not None and record.validation_accuracy is not None:
        text += f", accuracy {record.validation_accuracy:.1%}, UAR {record.validation_uar:.1%} on the validation clips"
    return text


def _named(job: "Job", run: str) -> "Job":
    return replace(job, run=run)


def _sets(job: "Job") -> str:
    """How many clips do what; with folds, in the first one."""
    first = job.sets[0]
    counts = (
        f"{len(first.training_N)} clips train, {len(first.validation_N)} validate, "
        f"{len(first.calibration_N)} calibrate, {len(first.test_N)} test"
    )
    return (
        counts if job.num_folds == 1 else f"{job.num_folds} folds of {len(job.manifest)} clips; in the first {counts}"
    )


def _end_lines(report: "ReportSummary", job: "Job", where: str, page: str | None) -> Iterator[str]:
    if report.matrix is not None:
        yield "UAR, and ECE, of the models trained on (row) as they are tested on (column), with 95 % intervals:"
        yield from _columns(report.matrix_rows())
        yield "emotions that a model's corpus lacks are neither tested nor compared; of its own, held-out speakers are"
    elif report.test is None:
        yield "trained on all clips; none was left to test"
    else:
        overall = report.test.overall
        metrics = f"accuracy {overall.accuracy}, UAR {overall.uar}, macro F1 {overall.macro_f1}"
        yield f"{overall.clips} test clips of {overall.speakers} speakers: {metrics}"
        # The notes say which of them were in the training.
        yield f"split by {report.test_split.split}"
        yield from (f"note: {note}" for note in report.test.notes)
    if report.over_folds is not None:
        accuracy, uar, macro_f1 = (report.over_folds[name] for name in ("accuracy", "uar", "macro_f1"))
        spread = f"accuracy {accuracy}, UAR {uar}, macro F1 {macro_f1}"
        yield f"over {job.num_folds} folds: {spread} (mean and standard deviation)"
    for number, label in report.one_answers.items():
        of_fold = f" of fold {number}" if job.num_folds > 1 else ""
        yield (
            f"the model{of_fold} says '{label}' of every clip that it was asked about, so it has learned nothing; more "
            "epochs, another learning_rate, clips of more speakers, or --from MODEL may help"
        )
    yield f"report: {where}"
    if page is not None:
        yield f"page:   {page}"
    if report.model is not None:
        yield f"model:  {job.folder} ({report.model})"


def _columns(rows: list[list[str]]) -> Iterator[str]:
    """Lines of a table whose cells stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
