"""The figures of an evaluation as SVG: with a page's own colours in its page, with fixed ones as files of their own."""

import logging
import re
from html import escape

from ser_core.evaluation.result import Evaluation

#: What the page's CSS variables are in a file of its own: the light page's.
_LIGHT = {"ink": "#1b1d20", "soft": "#565d66", "line": "#d8dce1", "accent": "#1d5aa6", "warm": "#b4501a"}
_ACCENT_RGB = (29, 90, 166)
_VARIABLE = re.compile(r"var\(--(\w+)\)")
_CELL, _MARGIN = 44, 90
#: Of a share above it letters are white.
_DARK_SHARE = 0.62
#: All that there may be.
FIGURES = ("before", "reliability", "coverage", "learning-loss", "learning-share", "confusion")


def figures_of(evaluation: Evaluation) -> dict[str, str]:
    """The plots of a page by their names, as elements for HTML."""
    # matplotlib builds a list of fonts when a machine first imports it, and says so: a line without a meaning here.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from ser_core.evaluation.plots import coverage_plot, learning_plots, reliability_plot

    after, before = evaluation.reliability, evaluation.reliability_uncalibrated
    found = {"reliability": reliability_plot(after, f"As given: ECE {_percent(after.ece)}", "after")}
    if evaluation.is_calibrated:
        found["before"] = reliability_plot(before, f"Before calibration: ECE {_percent(before.ece)}", "before")
    found["coverage"] = coverage_plot(evaluation.coverage, "coverage")
    return found | learning_plots(evaluation.history)


def standalone(svg: str) -> bytes:
    """A plot as a file of its own."""
    coloured = _VARIABLE.sub(lambda found: _LIGHT[found[1]], svg)
    return coloured.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).encode()


def confusion_file(evaluation: Evaluation) -> bytes:
    """The table of what is taken for what as a file: of the clips of each label (row) the share of each prediction."""
    labels, counts_LL = evaluation.labels, evaluation.confusion_LL
    rows = [row for row in range(len(labels)) if counts_LL[row].sum()]
    width, height = _MARGIN + _CELL * len(labels), _MARGIN + _CELL * len(rows)
    parts = []
    for column, label in enumerate(labels):
        x = _MARGIN + _CELL * (column + 0.5)
        parts.append(
            f'<text x="{x}" y="{_MARGIN - 8}" transform="rotate(-45 {x} {_MARGIN - 8})">{escape(label)}</text>'
        )
    for index, row in enumerate(rows):
        top = _MARGIN + _CELL * index
        parts.append(f'<text x="{_MARGIN - 8}" y="{top + 27}" text-anchor="end">{escape(labels[row])}</text>')
        for column, count in enumerate(counts_LL[row].tolist()):
            parts.append(_cell(_MARGIN + _CELL * column, top, count / counts_LL[row].sum()))
    title = escape(f"{evaluation.title}: right emotions (rows) and predicted ones (columns), in percent")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="DejaVu Sans, sans-serif" font-size="12" fill="{_LIGHT["ink"]}"><title>{title}</title>'
        f"{''.join(parts)}</svg>\n"
    ).encode()


def _cell(x: int, y: int, share: float) -> str:
    red, green, blue = (round(255 + (value - 255) * share) for value in _ACCENT_RGB)
    ink = "#ffffff" if share > _DARK_SHARE else _LIGHT["ink"]
    number = f"{100 * share:.0f}" if share else ""
    return (
        f'<rect x="{x}" y="{y}" width="{_CELL}" height="{_CELL}" fill="rgb({red},{green},{blue})" '
        f'stroke="{_LIGHT["line"]}"/><text x="{x + _CELL / 2}" y="{y + 27}" text-anchor="middle" fill="{ink}">{number}'
        "</text>"
    )


def _percent(value: float) -> str:
    return f"{value:.1%}".replace("%", "\u00a0%")
