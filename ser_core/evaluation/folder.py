"""The folder of an evaluation: a page for people, the same for programs, and the predictions.

OUT/evaluation.html                the page
OUT/figures/<name>.svg             its figures, for papers and slides
OUT/predictions.parquet            a row a clip
OUT/predictions-against.parquet    those of the model that it is held against
OUT/evaluation.json                what is on the page; written last: where it is, the others belong to it
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from ser_core.encoding import json_bytes, parquet_bytes, read_json
from ser_core.errors import OutputError
from ser_core.evaluation.figures import FIGURES, confusion_file, figures_of, standalone
from ser_core.evaluation.page import render_page
from ser_core.evaluation.result import Evaluation
from ser_core.storage import Location, check_writable, delete, list_files, one_line_faults, put, read

JSON_FILE, PAGE_FILE = "evaluation.json", "evaluation.html"
#: The predictions, and those of the model that it is held against.
PREDICTIONS_FILES = ("predictions.parquet", "predictions-against.parquet")
_MAX_LOOKED_AT = 50
_ADVICE = "name another folder"


def _file_of(figure: str) -> str:
    return f"figures/{figure}.svg"


class EvaluationFolder:
    """OUT of one evaluation; making one touches nothing."""

    def __init__(self, folder: Location) -> None:
        self.folder = folder
        self.page = folder.join(PAGE_FILE)

    def check(self) -> None:
        """Raises OutputError where it cannot be written, or holds files and no evaluation.

        One whose writing was broken off is known by its page.
        """
        with one_line_faults(self.folder, "cannot be written to", _ADVICE, what="OUT"):
            names = {name for name, _ in list_files(self.folder, _MAX_LOOKED_AT)} - {".probe"}
            others = names - {PAGE_FILE, *PREDICTIONS_FILES, *map(_file_of, FIGURES)}
            is_begun = PAGE_FILE in names and not others
            if names and not is_begun and not self._is_evaluation():
                raise OutputError(
                    f"OUT {self.folder}: holds {min(names)} and no evaluation, so its files are not this command's to "
                    f"replace; {_ADVICE}"
                )
        check_writable(self.folder, _ADVICE, what="OUT")

    def _is_evaluation(self) -> bool:
        try:
            found: Any = read_json(read(self.folder.join(JSON_FILE)))
        except (FileNotFoundError, ValueError):
            return False
        return isinstance(found, dict) and found.keys() >= {"format_number", "overall", "confusion", "coverage"}

    def write(self, evaluation: Evaluation, predictions: Sequence[pa.Table]) -> None:
        """Write it: the page first, the JSON last, and in between the predictions of one model, or of two."""
        with one_line_faults(self.folder, "cannot be written to", what="OUT"):
            drawn = figures_of(evaluation)
            files = {_file_of(name): standalone(svg) for name, svg in drawn.items()}
            files[_file_of("confusion")] = confusion_file(evaluation)
            gone = {*map(_file_of, FIGURES)} - files.keys()
            for name in (JSON_FILE, *PREDICTIONS_FILES[len(predictions) :], *sorted(gone)):
                delete(self.folder.join(name))
            put(self.page, render_page(evaluation, drawn).encode())
            for name, data in files.items():
                put(self.folder.join(name), data)
            for name, table in zip(PREDICTIONS_FILES, predictions, strict=False):
                put(self.folder.join(name), parquet_bytes(table))
            put(self.folder.join(JSON_FILE), json_bytes(evaluation.to_dict()))
