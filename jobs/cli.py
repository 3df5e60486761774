"""The `ser` command: registers the verbs and maps errors to one line and an exit code.

Exit codes: 0 all scored, 1 error, 2 usage, 3 some files failed or are partial, 130 interrupted.
"""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from jobs.console import Console, OutputMode
from jobs.corpus import Name as CorpusName
from ser_core.errors import InterruptedRunError, SerError, UsageError
from ser_core.score_config import Engine, FeaturesOn, ScoreConfig, load_score_config
from ser_core.settings import Device, Precision
from ser_core.training import Split
from ser_core.vocabulary import Channels


class _Verbs(TyperGroup):
    """Tells Ctrl-C from a verb's own exit code, which typer would both return as 130."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise InterruptedRunError("interrupted") from error


app = typer.Typer(
    name="ser",
    cls=_Verbs,
    help="Batch speech emotion recognition over audio archives of any size.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Model = Annotated[str | None, typer.Option("--model", metavar="NAME|DIR", help="A bundled model, a folder or s3://.")]
Mode = Annotated[OutputMode, typer.Option("--output-mode", help="For people, or one JSON object for programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Only results and errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Everything, Ray's own words too.")]


@app.command()
def score(  # noqa: PLR0913, PLR0917 - one parameter an option
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Directory, file, glob, s3://bucket/prefix, or list of paths.")
    ],
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder or s3://bucket/prefix for the results.")],
    model: Model = None,
    glob: Annotated[str | None, typer.Option(help="Which files of SOURCE, relative to it, e.g. '**/*.wav'.")] = None,
    channels: Annotated[Channels | None, typer.Option(help="Mix all channels, or answer for each.")] = None,
    window_seconds: Annotated[float | None, typer.Option(help="Length of a window.")] = None,
    hop_seconds: Annotated[float | None, typer.Option(help="From one window's start to the next's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows a predictor takes at a time.")] = None,
    device: Annotated[Device | None, typer.Option(help="Where the model runs.")] = None,
    precision: Annotated[Precision | None, typer.Option(help="Of the model's arithmetic.")] = None,
    features_on: Annotated[FeaturesOn | None, typer.Option(help="Where log-mels are made.")] = None,
    engine: Annotated[Engine | None, typer.Option(help="On Ray, or in this process; auto: by what is pending.")] = None,
    cpus: Annotated[int | None, typer.Option(help="CPU cores to use.")] = None,
    gpus: Annotated[int | None, typer.Option(help="GPUs to use.")] = None,
    address: Annotated[str | None, typer.Option(help="A Ray cluster to join.")] = None,
    max_failure_rate: Annotated[float | None, typer.Option(help="Share of files that may fail.")] = None,
    file_timeout_seconds: Annotated[float | None, typer.Option(help="Longest without a finished segment.")] = None,
    commit_seconds: Annotated[float | None, typer.Option(help="What a kill may cost at most.")] = None,
    prune: Annotated[
        bool | None, typer.Option("--prune/--no-prune", help="Delete rows of files gone from SOURCE.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Delete this program's results and begin anew.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; say what would be done.")] = False,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; options override it.")] = None,
    output_mode: Mode = "human",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Score a directory or a bucket into two tables; run it again to go on or to add what is new."""
    overrides = {
        "model": model,
        "glob": glob,
        "channels": channels,
        "window_seconds": window_seconds,
        "hop_seconds": hop_seconds,
        "batch_size": batch_size,
        "device": device,
        "precision": precision,
        "features_on": features_on,
        "engine": engine,
        "cpus": cpus,
        "gpus": gpus,
        "address": address,
        "max_failure_rate": max_failure_rate,
        "file_timeout_seconds": file_timeout_seconds,
        "commit_seconds": commit_seconds,
        "prune": prune,
    }
    settings = _checked(config, overrides, restart, dry_run)
    from jobs.score import Request, run_score

    request = Request(source=source, output=output, config=settings, restart=restart, dry_run=dry_run)
    return run_score(request, Console(output_mode, quiet, verbose))


@app.command()
def predict(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Audio files.")],
    model: Model = None,
    output_mode: Mode = "human",
) -> int:
    """Name the emotion of a few files, one line each, without Ray."""
    from jobs.predict import run_predict

    return run_predict(files, model or ScoreConfig.model, Console(output_mode))


@app.command()
def models(
    model: Annotated[str | None, typer.Argument(metavar="[NAME|DIR]", help="One model: its card and settings.")] = None,
    output_mode: Mode = "human",
) -> int:
    """List the bundled models, or show one model's card and settings."""
    from jobs.models import run_models

    return run_models(model, Console(output_mode))


@app.command()
def corpus(  # noqa: PLR0913, PLR0917 - one parameter an option
    name: Annotated[CorpusName, typer.Argument(metavar="CORPUS", help="A corpus by name, or csv for your own.")],
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="Its folder or s3://bucket/prefix; of csv the list.")
    ] = None,
    manifest: Annotated[str | None, typer.Argument(metavar="MANIFEST", help="Parquet file to write.")] = None,
    download: Annotated[
        str | None, typer.Option(metavar="DIR", help="Fetch RAVDESS into DIR first; DIR is SOURCE then.")
    ] = None,
    csv_name: Annotated[str | None, typer.Option("--name", help="Of csv: the corpus's name.")] = None,
    language: Annotated[str | None, typer.Option(help="Of csv: where the list tells none, e.g. en.")] = None,
    output_mode: Mode = "human",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Write the manifest of a corpus for training: where each clip is, its emotion, and who speaks."""
    from jobs.corpus import Request, run_corpus

    request = Request(
        corpus=name, source=source, manifest=manifest, download=download, name=csv_name, language=language
    )
    return run_corpus(request, Console(output_mode, quiet, verbose))


@app.command()
def train(  # noqa: PLR0913, PLR0917 - one parameter an option
    manifests: Annotated[list[str], typer.Argument(metavar="MANIFEST...", help="From 'ser corpus'; local or s3://.")],
    folder: Annotated[str, typer.Argument(metavar="MODEL_DIR", help="Folder or s3://bucket/prefix for the model.")],
    split: Annotated[Split | None, typer.Option(help="What the test has not heard before.")] = None,
    folds: Annotated[int | None, typer.Option(help="Cross-validate: as many trainings.")] = None,
    test_share: Annotated[float | None, typer.Option(help="Of each corpus, or of all clips; 0: no test.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of the answers, in the place of a fitted one.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that share each batch.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the clips.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything that is random.")] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="FILE|URL|DIR", help="Trained weights to start from, or a model.")
    ] = None,
    device: Annotated[Device | None, typer.Option(help="Where to train.")] = None,
    address: Annotated[str | None, typer.Option(help="A Ray cluster to join.")] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Delete what an earlier training left and begin anew.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; options override it.")] = None,
    output_mode: Mode = "human",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Train a model on manifests and test it on unheard speakers; run it again to go on."""
    from jobs.train import Request, run_train

    overrides = {
        "split.split": split,
        "split.folds": folds,
        "split.test_share": test_share,
        "temperature": temperature,
        "workers": workers,
        "epochs": epochs,
        "seed": seed,
        "weights": weights,
        "device": device,
        "address": address,
    }
    request = Request(manifests=manifests, folder=folder, config=config, overrides=overrides, restart=restart)
    return run_train(request, Console(output_mode, quiet, verbose))


@app.command()
def evaluate(  # noqa: PLR0913, PLR0917 - one parameter an option
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A bundled model, a folder or s3://bucket/prefix.")],
    manifests: Annotated[list[str], typer.Argument(metavar="MANIFEST...", help="From 'ser corpus'; local or s3://.")],
    output: Annotated[str, typer.Argument(metavar="OUT", help="Folder or s3://bucket/prefix for the report.")],
    device: Annotated[Device, typer.Option(help="Where the model runs.")] = "auto",
    precision: Annotated[Precision, typer.Option(help="Of the model's arithmetic.")] = "auto",
    batch_size: Annotated[int | None, typer.Option(help="Windows the model takes at a time.")] = None,
    resamples: Annotated[int, typer.Option(help="Number of bootstrap resamples for the 95 % intervals.")] = 2_000,
    seed: Annotated[int, typer.Option(help="Seed of the resampling.")] = 0,
    draws: Annotated[int | None, typer.Option(hidden=True)] = None,
    output_mode: Mode = "human",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Measure a model on manifests: how right it is, for whom, and what its confidences are worth."""
    from jobs.evaluate import Request, run_evaluate

    if draws is not None:
        raise UsageError(f"--draws is now --resamples; give --resamples {draws}")
    request = Request(
        model=model, manifests=manifests, output=output, device=device, precision=precision, batch_size=batch_size,
        resamples=resamples, seed=seed,
    )  # fmt: skip
    return run_evaluate(request, Console(output_mode, quiet, verbose))


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def submit(
    address: Annotated[str, typer.Option(help="The cluster's dashboard, e.g. http://127.0.0.1:8265.")],
    verb: Annotated[Literal["score"], typer.Argument(help="What to run there.")],
    arguments: Annotated[list[str], typer.Argument(metavar="ARGS...", help="The verb's own arguments.")],
) -> int:
    """Run a verb on a cluster through Ray's Jobs API: print its id, follow its log, return its exit code."""
    from jobs.submit import VerbArguments, run_submit

    command = typer.main.get_group(app).commands[verb]
    values = command.make_context(f"ser {verb}", list(arguments)).params
    overrides = {name: values[name] for name in ScoreConfig.model_fields}
    settings = _checked(values["config"], overrides, values["restart"], values["dry_run"])
    return run_submit(address, VerbArguments(verb, command.params, values | {"model": settings.model}), Console())


def _checked(config: Path | None, overrides: dict[str, Any], restart: bool, dry_run: bool) -> ScoreConfig:
    if restart and dry_run:
        raise UsageError("--dry-run writes nothing, so it cannot go with --restart")
    return load_score_config(config, overrides)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    console = Console()
    command = typer.main.get_command(app)
    try:
        return int(command.main(arguments or ["--help"], prog_name="ser", standalone_mode=False) or 0)
    except SerError as error:
        console.fail(str(error))
        return error.exit_code
    except Exception as error:
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        console.fail(f"{' '.join(message().split()).rstrip('.')}; see 'ser --help'")
        return 2


def main() -> None:
    """The console script."""
    code = run(sys.argv[1:])
    if "cluster.session" in sys.modules:
        from cluster.session import leave

        leave(code)
    sys.exit(code)
