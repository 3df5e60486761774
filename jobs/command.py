"""What all verbs of the command have in common: options, and how it is told apart what ended one."""

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from jobs.console import OutputMode
from jobs.options import MODEL, Verb, at_home, option
from ser_core.errors import InterruptedRunError
from ser_core.evaluation import BootstrapSettings, ClipSettings
from ser_core.score_config import SampleSettings

if TYPE_CHECKING:
    from ser_core.models import OwnCode

ADAPT_OPTIONS = (
    "glob", "channels", "audio_stream", "window_seconds", "speech", "min_speech_seconds", "device", "precision",
)  # fmt: skip
SAMPLE, BOOTSTRAP, CLIPS = SampleSettings(), BootstrapSettings(), ClipSettings()
EVALUATE_OPTIONS = ("device", "precision", "speech", "min_speech_seconds", "batch_size")
PREDICT_OPTIONS = ("model", "speech", "min_speech_seconds")
TRAIN_OPTIONS = (
    "split.split", "split.folds", "split.test_share", "split.validation_speakers", "split.calibration_speakers",
    "architecture", "speech", "temperature", "workers", "epochs", "seed", "weights", "device", "address",
)  # fmt: skip

Mode = Annotated[OutputMode, typer.Option("--output-mode", help="For people, or one JSON object for programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Only results and errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Everything, Ray's own words too.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        help="YAML file of settings; options override it.", callback=lambda value: value and value.expanduser()
    ),
]
AnySource = Annotated[
    str, typer.Argument(metavar="SOURCE", help="Directory, file, glob, s3://bucket/prefix, or list of paths.")
]
FromEmbeddings = Annotated[
    bool,
    typer.Option(
        "--from-embeddings",
        help="SOURCE is the OUTPUT of a run with --embeddings, whose embeddings take the place of audio: another model "
        "with the same encoder, or another adaptation, is applied to them without decoding anything.",
    ),
]
ClipsPerSpeaker = Annotated[int | None, option(ClipSettings, "clips_per_speaker")]
Download = Annotated[
    str | None,
    typer.Option(metavar="DIR", callback=at_home, help="Fetch RAVDESS into DIR first; DIR is SOURCE then."),
]
CsvName = Annotated[str | None, typer.Option("--name", help="Of csv: the corpus's name.")]
Language = Annotated[str | None, typer.Option(help="Of csv: where the list tells none, e.g. en.")]
LabelMap = Annotated[
    str | None,
    typer.Option(
        "--map", help="Of csv: what its words mean, as frustrated=angry,exc=excited; xxx= leaves the clips of xxx out."
    ),
]
Columns = Annotated[
    str | None, typer.Option(help="Of csv: what its columns are, as file=path,label=emotion,who=speaker.")
]
FromModel = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="NAME|DIR",
        help="Model to start from: a bundled one, a folder or s3://bucket/prefix. Its architecture, features, window "
        "and recipe are this training's too, and what --config and options say goes before them; the last layer is "
        "made anew where labels differ.",
        **MODEL,
    ),
]
CodeFile = Annotated[
    str | None,
    typer.Option(
        "--architecture",
        metavar="FILE.py",
        callback=at_home,
        help="Python file with the model's architecture, where that is your own; it is executed.",
    ),
]
Mixes = Annotated[
    list[str] | None,
    typer.Option(
        metavar="EMOTION=SHARE",
        help="With --adapt: as neutral=0.8, what the answers are worth when the model is adapted to as many clips as "
        "give an emotion this share, and the others even ones. It may be given several times.",
    ),
]


def show_version(is_asked: bool) -> None:
    """Print the version and end, where it is asked for."""
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"ser {version('ser')}")
        raise typer.Exit


class UnforeseenError(Exception):
    """Takes an error of the operating system past typer, which would end without a word where it is a pipe's."""


class Verbs(TyperGroup):
    """Tells Ctrl-C from a verb's own exit code, which typer would both return as 130."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise InterruptedRunError("interrupted") from error
        except OSError as error:
            raise UnforeseenError from error


def with_own_code(verb: Verb) -> Verb:
    """Gives a verb the option --architecture, and what the file defines while it runs."""

    @functools.wraps(verb)
    def called(architecture: str | None = None, **values: Any) -> int:
        with own_code(architecture):
            return verb(**values)

    parameters = [*inspect.signature(verb).parameters.values()]
    option = inspect.Parameter("architecture", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=CodeFile)
    called.__signature__ = inspect.Signature([*parameters, option])  # type: ignore[attr-defined]
    return called


@contextmanager
def own_code(file: str | None) -> "Iterator[OwnCode | None]":
    """Within it what a file defines is an architecture by the file's name; None: there is none.

    Raises:
        UsageError: the file cannot be read, or its name is no architecture's.
    """
    if file is None:
        yield None
        return
    from ser_core.models import OwnCode

    code = OwnCode.read(file)
    with code.in_use():
        yield code
