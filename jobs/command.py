"""What all verbs of the command have in common: options, and how it is told apart what ended one."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from jobs.console import OutputMode
from jobs.options import MODEL, at_home
from ser_core.errors import InterruptedRunError

Mode = Annotated[OutputMode, typer.Option("--output-mode", help="For people, or one JSON object for programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Only results and errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Everything, Ray's own words too.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        help="YAML file of settings; options override it.", callback=lambda value: value and value.expanduser()
    ),
]
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
