"""The `ser` command: registers the verbs and maps errors to one line and an exit code.

Exit codes: 0 all scored, 1 error, 2 usage, 3 some files failed or are partial, or a trained model gives one answer to
everything, 130 interrupted, 141 reader gone.
"""

import sys
import threading
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from jobs import command as common
from jobs.command import Mode, Quiet, UnforeseenError, Verbose, Verbs, show_version, with_own_code
from jobs.console import Console
from jobs.corpus import Name as CorpusName
from jobs.embedded.verbs import search
from jobs.options import MODEL, option, settings_options, wrong_line
from jobs.streams import open_streams, plain_streams
from ser_core.errors import SerError, UsageError
from ser_core.evaluation import BootstrapSettings, ClipSettings
from ser_core.score_config import SampleSettings, ScoreConfig, load_score_config
from ser_core.training import TrainConfig
from ser_core.vocabulary import AskedAdaptTo

app = typer.Typer(
    name="ser",
    cls=Verbs,
    help="Batch speech emotion recognition over audio archives of any size.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=show_version, help="Show the version and end.")
    ] = False,
) -> None:
    pass


@app.command()
@settings_options(ScoreConfig, ScoreConfig.model_fields, model={"metavar": "NAME|DIR"} | MODEL)
@with_own_code
def score(  # noqa: PLR0913 - one parameter an option
    source: common.AnySource,
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder or s3://bucket/prefix for the results.")],
    *,
    overrides: dict[str, Any],
    from_embeddings: common.FromEmbeddings = False,
    restart: Annotated[bool, typer.Option("--restart", help="Delete this program's results and begin anew.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; say what would be done.")] = False,
    config: common.ConfigFile = None,
    output_mode: Mode = "human",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Score recordings into tables, or go on. Run again, it scores what is new or changed alone."""
    settings = _checked(config, overrides, restart, dry_run)
    from jobs.score import Request, run_score

    request = Request(
        source=source, output=output, config=settings, restart=restart, dry_run=dry_run, from_embeddings=from_embeddings
    )
    return run_score(request, Console(output_mode, quiet, verbose))


@app.command()
def verify(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder or s3://bucket/prefix of 'ser score'.")],
    *,
    output_mode: Mode = "human",
    quiet: Quiet = False,
) -> int:
    """Check that an output is whole; nothing is written. Its tables must agree, with every part there."""
    from jobs.verify import run_verify

    return run_verify(output, Console(output_mode, quiet))


app.command()(with_own_code(search))


@app.command()
@settings_options(ScoreConfig, common.PREDICT_OPTIONS, model={"metavar": "NAME|DIR"} | MODEL)
@with_own_code
def predict(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Recordings, local or s3://.")],
    *,
    overrides: dict[str, Any],
    output_mode: Mode = "human",
) -> int:
    """Name the emotion of a few files, one line each, without Ray."""
    from jobs.predict import run_predict

    return run_predict(files, overrides, Console(output_mode))


@app.command()
@with_own_code
def models(
    model: Annotated[
        str | None, typer.Argument(metavar="[NAME|DIR]", help="One model: its card and settings.", **MODEL)
    ] = None,
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
    download: common.Download = None,
    csv_name: common.CsvName = None,
    language: common.Language = None,
    words: common.LabelMap = None,
    columns: common.Columns = None,
    output_mode: Mode = "human",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Write the manifest of a corpus, for training and evaluation. It names each clip, its emotion and who speaks."""
    from jobs.corpus import Request, run_corpus

    options = {"name": csv_name, "language": language, "words": words, "columns": columns}
    request = Request(corpus=name, source=source, manifest=manifest, download=download, **options)
    return run_corpus(request, Console(output_mode, quiet, verbose))


@app.command()
@settings_options(TrainConfig, common.TRAIN_OPTIONS)
def train(  # noqa: PLR0913 - one parameter an option
    manifests: Annotated[list[str], typer.Argument(metavar="MANIFEST...", help="From 'ser corpus'; local or s3://.")],
    folder: Annotated[str, typer.Argument(metavar="MODEL_DIR", help="Folder or s3://bucket/prefix for the model.")],
    *,
    overrides: dict[str, Any],
    restart: Annotated[
        bool, typer.Option("--restart", help="Delete what an earlier training left and begin anew.")
    ] = False,
    from_model: common.FromModel = None,
    config: common.ConfigFile = None,
    output_mode: Mode = "human",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Train a model on manifests, and test it on other speakers. Run again, it goes on where it ended."""
    from jobs.train import Request, run_train

    asked: dict[str, Any] = {"config": config, "overrides": overrides, "restart": restart}
    request = Request(manifests=manifests, folder=folder, start=from_model, **asked)
    return run_train(request, Console(output_mode, quiet, verbose))


@app.command()
@settings_options(ScoreConfig, common.ADAPT_OPTIONS)
@with_own_code
def adapt(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A bundled one, a folder or s3://bucket/prefix.", **MODEL)
    ],
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The archive, as 'ser score' takes it.")],
    folder: Annotated[str, typer.Argument(metavar="MODEL2", help="Folder or s3://bucket/prefix for the new model.")],
    *,
    overrides: dict[str, Any],
    sample_windows: Annotated[int, option(SampleSettings, "sample_windows")] = common.SAMPLE.sample_windows,
    output_mode: Mode = "human",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Adapt a model to an archive, without labels. It looks at a sample of SOURCE, and leaves MODEL as it is."""
    from jobs.adapt import Request, run_adapt

    settings = load_score_config(None, overrides)
    request = Request(model=model, source=source, folder=folder, settings=settings, sample_windows=sample_windows)
    return run_adapt(request, Console(output_mode, quiet, verbose))


@app.command()
@settings_options(ScoreConfig, common.EVALUATE_OPTIONS)
@with_own_code
def evaluate(  # noqa: PLR0913 - one parameter an option
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A bundled one, a folder or s3://bucket/prefix.", **MODEL)
    ],
    manifests: Annotated[list[str], typer.Argument(metavar="MANIFEST...", help="From 'ser corpus'; local or s3://.")],
    output: Annotated[str, typer.Argument(metavar="OUT", help="Folder or s3://bucket/prefix for the report.")],
    *,
    overrides: dict[str, Any],
    adapt: Annotated[AskedAdaptTo, option(ClipSettings, "adapt")] = common.CLIPS.adapt,
    mix: common.Mixes = None,
    test_only: Annotated[bool, option(ClipSettings, "test_only")] = common.CLIPS.test_only,
    against: Annotated[str | None, option(ClipSettings, "against", metavar="MODEL2", **MODEL)] = common.CLIPS.against,
    clips_per_speaker: common.ClipsPerSpeaker = common.CLIPS.clips_per_speaker,
    resamples: Annotated[int, option(BootstrapSettings, "resamples")] = common.BOOTSTRAP.resamples,
    seed: Annotated[int, option(BootstrapSettings, "seed")] = common.BOOTSTRAP.seed,
    draws: Annotated[str | None, typer.Option(hidden=True)] = None,
    output_mode: Mode = "human",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Measure a model on manifests. The report says how right it is, for whom, and what its confidences are worth."""
    from jobs.evaluate import Request, run_evaluate

    if draws is not None:
        raise UsageError(f"--draws is now --resamples; give --resamples {draws}")
    settings = load_score_config(None, overrides)
    asked = {"adapt": adapt, "clips_per_speaker": clips_per_speaker, "mixes": mix or ()}
    clips = ClipSettings.from_dict(asked | {"test_only": test_only, "against": against}, "options")
    bootstrap = BootstrapSettings.from_dict({"resamples": resamples, "seed": seed}, "options")
    request = Request(
        model=model, manifests=manifests, output=output, settings=settings, clips=clips, bootstrap=bootstrap
    )
    return run_evaluate(request, Console(output_mode, quiet, verbose))


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def submit(
    address: Annotated[str, typer.Option(help="The cluster's dashboard, e.g. http://127.0.0.1:8265.")],
    verb: Annotated[Literal["score"], typer.Argument(help="What to run there.")],
    arguments: Annotated[list[str], typer.Argument(metavar="ARGS...", help="The verb's own arguments.")],
) -> int:
    """Run a verb on a cluster through Ray's Jobs API. Prints its id, follows its log, returns its exit code."""
    from jobs.submit import VerbArguments, run_submit

    command = typer.main.get_group(app).commands[verb]
    values = command.make_context(f"ser {verb}", list(arguments)).params
    overrides = {name: values[name] for name in ScoreConfig.model_fields if values[name] is not None}
    settings = _checked(values["config"], overrides, values["restart"], values["dry_run"])
    return run_submit(address, VerbArguments(verb, command.params, values | {"model": settings.model}), Console())


def _checked(config: Path | None, overrides: dict[str, Any], restart: bool, dry_run: bool) -> ScoreConfig:
    if restart and dry_run:
        raise UsageError("--dry-run writes nothing, so it cannot go with --restart")
    return load_score_config(config, overrides)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    with plain_streams():
        return _run(arguments, Console())


def _run(arguments: list[str], console: Console) -> int:
    command: Any = typer.main.get_command(app)
    Console.doing = " ".join(["ser", *arguments[:1]])
    try:
        return int(command.main(arguments or ["--help"], prog_name="ser", standalone_mode=False) or 0)
    except SerError as error:
        console.fail(str(error))
        return error.exit_code
    except Exception as error:
        message = getattr(error, "format_message", None)
        if message is None:
            cause = error.__cause__ if isinstance(error, UnforeseenError) else None
            _tell_unforeseen(cause or error, console)
            return 1
        context = getattr(error, "ctx", None)
        program = context.command_path if context else " ".join(["ser", *({*arguments[:1]} & {*command.commands})])
        console.fail(wrong_line(message(), program))
        return 2


def _tell_unforeseen(error: BaseException, console: Console) -> None:
    from jobs.unforeseen import describe

    console.fail(describe(error, Console.doing))


def prepare() -> None:
    """Set right what a process has one of: its streams, and what becomes of a thread's error."""

    def tell(failed: threading.ExceptHookArgs) -> None:
        if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit):
            _tell_unforeseen(failed.exc_value, Console())

    open_streams()
    threading.excepthook = tell


def main() -> None:
    """The console script."""
    prepare()
    code = run(sys.argv[1:])
    if "cluster.session" in sys.modules:
        from cluster.session import leave

        leave(code)
    sys.exit(code)
