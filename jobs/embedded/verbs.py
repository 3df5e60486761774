"""The verbs of embeddings, as the command line has them; `cli.py` registers them."""

from typing import Annotated

import typer

from jobs.command import Mode
from jobs.console import Console
from jobs.options import MODEL


def search(
    output: Annotated[
        str, typer.Argument(metavar="OUTPUT", help="Folder or s3://bucket/prefix of 'ser score --embeddings'.")
    ],
    file: Annotated[str, typer.Argument(metavar="FILE", help="A recording, local or s3://.")],
    *,
    top: Annotated[int, typer.Option(min=1, max=10_000, help="Most windows that are listed.")] = 10,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|DIR", help="Model with the same encoder; by default OUTPUT's, if it is bundled.", **MODEL
        ),
    ] = None,
    output_mode: Mode = "human",
) -> int:
    """List the windows that sound most like a recording's.

    Path, seconds and distance of each window of OUTPUT, the nearest to a window of FILE first.
    """
    from jobs.embedded.search import Request, run_search

    return run_search(Request(output=output, file=file, model=model, top=top), Console(output_mode))
