"""What all verbs of the command have in common: options, and how it is told apart what ended one."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from jobs.console import OutputMode
from ser_core.errors import InterruptedRunError

Mode = Annotated[OutputMode, typer.Option("--output-mode", help="For people, or one JSON object for programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Only results and errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Everything, Ray's own words too.")]


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
