"""`ser score`: check everything first, then plan, score, finish."""

import os
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.resources import Hardware
from jobs.console import Console
from jobs.interrupts import Interrupts
from jobs.report import WITHOUT_SPEECH, Outcome, Preview, Result, check_tally, run_record, show_progress
from ser_core.errors import SerError, ServiceError, SupersededError
from ser_core.score_config import ResolvedEngine, ScoreConfig
from ser_core.source import PlanSummary
from ser_core.storage import Location
from ser_core.tables import Fingerprint, OpenOutput, Output, Run
from ser_core.temporary import temporary_folder

if TYPE_CHECKING:
    from cluster.driver import Driver
    from cluster.embedded.stored import StoredEmbeddings
    from cluster.ray_process import RayProcess
    from cluster.resources import Resources
    from cluster.scoring import Recordings
    from ser_core.models import Artifact


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asked for."""

    source: str
    output: str
    config: ScoreConfig
    restart: bool
    dry_run: bool
    #: Whether the source is an output, whose embeddings are scored.
    from_embeddings: bool = False


def run_score(request: Request, console: Console) -> int:
    """Run the whole job; the exit code speaks of every file in the plan."""
    with ExitStack() as stack:
        # Nothing is open while it loads: until then a signal ends the process at once.
        job = _Job(request, console, stack)
        stack.enter_context(job.interrupts)
        try:
            return job.preview() if request.dry_run else job.score()
        except SerError as error:
            # Said before the run is taken down, which may take long where storage is away.
            console.fail(str(error))
            return error.exit_code


class _Job:
    """One run of `ser score`; the methods are its steps, in order."""

    def __init__(self, request: Request, console: Console, stack: ExitStack) -> None:
        from cluster.adaptation import OutputAdaptation

        self._began = time.monotonic()
        self._request = request
        self._console = console
        console.step("reading the model and looking at SOURCE and OUTPUT")
        self.interrupts = Interrupts()
        self._stack = stack
        self._location = Location.parse(request.output)
        self._scored = self._look_at_source()
        self._config, self._windows, self._artifact = self._scored.config, self._scored.windows, self._scored.artifact
        self._output = Output(self._location)
        #: None: the model's answers are not adapted.
        self._adapting = OutputAdaptation.asked_for(self._artifact, self._config, self._location)
        is_local = self._config.engine == "local"
        self._address = None if is_local else self._config.address or os.environ.get("RAY_ADDRESS")
        self._hardware = Hardware(cpus=1, gpus=0)
        self._ray: RayProcess | None = None

    def _look_at_source(self) -> "Recordings | StoredEmbeddings":
        source, config = self._request.source, self._request.config
        if self._request.from_embeddings:
            from cluster.embedded.stored import StoredEmbeddings

            return StoredEmbeddings.of(source, config, output=self._location)
        from cluster.scoring import Recordings

        return Recordings.of(source, config)

    def preview(self) -> int:
        """--dry-run: what would be done; nothing is written."""
        output = self._output.open()
        resources = self._resources()
        fingerprint = self._checked(output, resources)
        plan_file, plan = self._plan()
        comparison = output.compare(plan_file)
        engine, why, resources = self._engine(resources, plan, comparison.num_pending)
        preview = Preview.of(
            plan,
            comparison,
            fingerprint,
            resources=f"{resources.describe()}; engine {engine}: {why}",
            is_to_be_adapted=self._is_to_be_adapted,
        )
        self._console.result(preview.lines(), asdict(preview))
        return 0

    def score(self) -> int:
        """Do it; returns the exit code."""
        self._say_licence()
        self._stack.enter_context(self._output.lock(self._console.say, restart=self._request.restart))
        output = self._output.open(restart=self._request.restart)
        resources = self._resources()
        fingerprint = self._checked(output, resources)
        plan_file, plan = self._plan()
        fingerprint = self._adapt(fingerprint, resources, plan_file)
        if self._request.restart:
            output.restart()
        run = output.begin(fingerprint, self._artifact.config.labels, on_event=self._console.say)
        outcome = Outcome.begin(fingerprint, self._config, plan)
        try:
            self._score(run, outcome, resources, plan_file)
        except SupersededError:
            raise
        except Exception as error:
            self._stop(run, outcome)
            if isinstance(error, ServiceError):
                raise ServiceError(f"{error}; the same command goes on from here") from error
            raise
        result = Result.of(outcome, self._location)
        self._console.result(result.lines(outcome, self._location), asdict(result))
        return result.exit_code

    def _score(self, run: Run, outcome: Outcome, resources: "Resources", plan_file: Path) -> None:
        self._console.step("comparing with what is there")
        outcome.comparison = run.remove_stale(plan_file, prune=self._config.prune)
        num_pending = outcome.comparison.num_pending
        if num_pending:
            driver = self._driver(run, outcome, resources, num_pending)
            with self._console.progress() as progress, self.interrupts.calm(driver.stop):
                driver.on_progress = partial(show_progress, progress, num_pending)
                driver.score(plan_file, num_pending)
        self._console.step("finishing")
        outcome.tally, outcome.all_rows = run.tally(plan_file)
        check_tally(outcome)
        outcome.seconds = time.monotonic() - self._began
        run.finish(run_record(outcome, self._artifact))

    def _driver(self, run: Run, outcome: Outcome, resources: "Resources", num_pending: int) -> "Driver":
        from cluster.driver import Driver
        from cluster.scoring import row_settings

        config = self._config
        engine, why, resources = self._engine(resources, outcome.plan, num_pending)
        outcome.engine = engine, why
        self._console.say(f"engine {engine}: {why}")
        if engine == "ray":
            self._connect()
        self._console.step(f"scoring {num_pending} files: {resources.describe()}")
        ray = self._ray if engine == "ray" else None
        pipeline = self._scored.pipeline(self._artifact, outcome.fingerprint, resources, ray)
        return Driver(
            tables=run,
            pipeline=self._stack.enter_context(pipeline),
            rows=row_settings(self._artifact, self._windows, outcome.fingerprint, run.number),
            commit_seconds=config.commit_seconds,
            max_failure_rate=config.max_failure_rate,
            on_warning=self._console.say,
            totals=outcome.totals,
        )

    def _stop(self, run: Run, outcome: Outcome) -> None:
        """Say in run.json that this run ended early, if the output still takes a write."""
        outcome.seconds = time.monotonic() - self._began
        try:
            run.stop(run_record(outcome, self._artifact))
        except Exception as error:
            self._console.detail(f"run.json could not be brought up to date: {error}")

    def _plan(self) -> tuple[Path, PlanSummary]:
        self._console.step("listing the source")
        folder = self._stack.enter_context(temporary_folder())
        plan_file = folder / "plan.parquet"
        return plan_file, self._scored.write_plan(plan_file, exclude=self._location)

    def _resources(self) -> "Resources":
        """What the run will use."""
        from cluster.resources import fit_batches

        return fit_batches(self._planned_resources(), self._config, self._windows.window_seconds)

    def _planned_resources(self) -> "Resources":
        """Ray is started only where only Ray can tell what there is, or will have the GPUs."""
        from cluster.resources import choose_engine, plan_resources
        from cluster.session import local_hardware

        if self._address:
            return plan_resources(self._config, self._connect())
        self._hardware = local_hardware(self._config.cpus, 0 if self._config.device == "cpu" else self._config.gpus)
        resources = plan_resources(self._config, self._hardware)
        if resources.device == "cuda" and choose_engine(self._config, None, resources, 0, 0)[0] == "ray":
            self._connect()
        return resources

    def _engine(
        self, resources: "Resources", plan: PlanSummary, num_pending: int
    ) -> "tuple[ResolvedEngine, str, Resources]":
        """Which engine scores what is pending, why, and what it runs on."""
        num_bytes = plan.num_bytes * num_pending / plan.num_files
        engine, why = self._scored.choose_engine(self._address, resources, num_pending, num_bytes)
        return engine, why, resources.for_engine(engine)

    def _connect(self) -> Hardware:
        from cluster.ray_process import RayProcess

        if self._ray is None:
            self._ray = self._stack.enter_context(
                RayProcess(
                    address=self._address,
                    own=self._hardware,
                    verbose=self._console.verbose,
                    kept="what was scored is committed",
                )
            )
            self._hardware = self._ray.hardware
        return self._hardware

    def _checked(self, output: OpenOutput, resources: "Resources") -> Fingerprint:
        """What this run makes rows with, where OUTPUT may go on with it; of the adapted model, if it is adapted yet."""
        if self._request.restart:
            return self._fingerprint(resources, None)
        made_with = output.fingerprint
        if self._adapting is not None and made_with is not None:
            self._adapting = self._adapting.going_on(made_with)
        fingerprint = self._fingerprint(resources, made_with)
        if self._adapting is not None:
            fingerprint = self._adapted(self._adapting.kept(fingerprint, made_with), fingerprint)
        output.check(fingerprint)
        return fingerprint

    @property
    def _is_to_be_adapted(self) -> bool:
        return self._adapting is not None and self._artifact.config.adaptation is None

    def _adapt(self, fingerprint: Fingerprint, resources: "Resources", plan_file: Path) -> Fingerprint:
        """Estimate the adaptation and keep it in OUTPUT, before there is any row."""
        if self._adapting is None or not self._is_to_be_adapted:
            return fingerprint
        from jobs.adapt import say_estimate

        self._console.step("looking at a sample of the source")
        self._console.say("adaptation: looking at a sample of SOURCE before anything is scored")
        adapted = self._adapting.estimated(
            fingerprint,
            plan_file,
            # The driver of a cluster need not have the GPUs of its nodes.
            self._scored.look(fingerprint, "cpu" if self._address else resources.device),
            report=partial(say_estimate, self._console, self._config),
            restart=self._request.restart,
        )
        return self._adapted(adapted, fingerprint)

    def _adapted(self, artifact: "Artifact | None", fingerprint: Fingerprint) -> Fingerprint:
        self._artifact = artifact or self._artifact
        return fingerprint.replace(model=self._artifact.identity)

    def _fingerprint(self, resources: "Resources", made_with: Fingerprint | None) -> Fingerprint:
        """What must stay the same for rows to live in one output.

        Proves that the model runs; `auto` precision stays what it was when the output was made.
        """
        from cluster.probe import try_device
        from cluster.scoring import fingerprint_of

        precision = try_device(
            self._artifact,
            resources,
            self._config.precision,
            self._windows,
            ask_nodes=self._ray.nodes_lacking if self._ray else None,
            made_with=self._scored.precision(made_with),
            report=self._console.say,
        )
        # Where it is asked for, the check of settings refuses it.
        is_old = made_with is not None and made_with.speech is None and not self._config.asks_for_speech
        if is_old and self._config.speech == "on":
            self._console.say(f"{self._location} {WITHOUT_SPEECH}")
        embeddings = self._config.embeddings
        return fingerprint_of(
            self._config, self._scored.names(), self._windows, self._artifact, precision, listens_not_yet=is_old,
            adapt="none" if self._adapting is None else self._adapting.mode,
            embeddings=made_with is not None and made_with.embeddings is not None if embeddings is None else embeddings,
        )  # fmt: skip

    def _say_licence(self) -> None:
        config = self._artifact.config
        if config.licence is not None:
            self._console.say(f"model {self._artifact.identity}: weights under {config.licence}; see 'ser models'")
