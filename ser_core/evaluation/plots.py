"""The plots of an evaluation as SVG to put into HTML: drawn by matplotlib, coloured by the page's own CSS variables.

Shape letters: B bins of confidence.
"""

import io
import re
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ser_core.evaluation.metrics import CoveragePoint, Reliability
from ser_core.evaluation.model_training import History

#: matplotlib draws with these colours; in the SVG each becomes the CSS variable of its name, so that the page decides.
_COLOURS = {"ink": "#010101", "soft": "#020202", "line": "#030303", "accent": "#040404", "warm": "#050505"}
#: On top of what matplotlib has by itself: a matplotlibrc may ask for LaTeX.
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ser",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlecolor": _COLOURS["ink"],
    "axes.labelcolor": _COLOURS["soft"],
    "axes.edgecolor": _COLOURS["line"],
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _COLOURS["line"],
    "xtick.color": _COLOURS["soft"],
    "ytick.color": _COLOURS["soft"],
}
#: Of fewer epochs there is no curve.
_MIN_EPOCHS = 2
_NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}
_IDENTIFIER = re.compile(r'(\bid="|url\(#|href="#)')


def reliability_plot(found: Reliability, title: str, name: str) -> str:
    """Accuracy against confidence, bin by bin, and below it how many clips each bin has.

    Args:
        found: the bins.
        title: stands above.
        name: in which the plot differs from others of the page.
    """
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(4.0, 4.6), layout="constrained")
        axes, counts = figure.subplots(2, height_ratios=(6, 1), sharex=True)
        filled_B = np.flatnonzero(found.count_B)
        width = 1 / len(found.count_B)
        left_B, accuracy_B, confidence_B = filled_B * width, found.accuracy_B[filled_B], found.confidence_B[filled_B]
        low_B, gap_B = np.minimum(accuracy_B, confidence_B), confidence_B - accuracy_B
        bar = {"width": width * 0.92, "align": "edge"}
        axes.bar(left_B, low_B, color=_COLOURS["accent"], **bar)
        gap_colours = [_COLOURS["warm" if gap > 0 else "accent"] for gap in gap_B]
        axes.bar(left_B, np.abs(gap_B), bottom=low_B, color=gap_colours, alpha=0.4, **bar)
        axes.plot([0, 1], [0, 1], color=_COLOURS["soft"], linestyle="--", linewidth=1)
        counts.bar(left_B, found.count_B[filled_B], color=_COLOURS["soft"], **bar)
        counts.set(xlabel="confidence", ylabel="clips")
        counts.grid(visible=False)
        counts.set_yticks([])
        _share_axes(axes, title, ylabel="accuracy")
        words = (
            f"Reliability diagram with {len(found.count_B)} bins, expected calibration error {found.ece:.1%}. Bars are "
            "accuracy, the dashed line is where confidence means what it says."
        )
        return _svg(figure, f"{title}. {words}", name)


def coverage_plot(points: Sequence[CoveragePoint], name: str) -> str:
    """Accuracy against the share of clips whose predictions are taken, the most confident first."""
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(4.0, 4.0), layout="constrained")
        axes = figure.subplots()
        last = points[-1]
        axes.axhline(last.accuracy, color=_COLOURS["soft"], linestyle="--", linewidth=1)
        coverages, accuracies = [point.coverage for point in points], [point.accuracy for point in points]
        axes.plot(coverages, accuracies, color=_COLOURS["accent"], linewidth=2)
        title = "Accuracy of the most confident predictions"
        _share_axes(axes, title, xlabel="share of clips", ylabel="accuracy")
        middle = min(points, key=lambda point: abs(point.coverage - 0.5))
        words = (
            f"Accuracy is {last.accuracy:.1%} over all clips, and {middle.accuracy:.1%} over the most confident "
            f"{middle.coverage:.1%}; a table follows."
        )
        return _svg(figure, f"{title}. {words}", name)


def learning_plots(history: History) -> dict[str, str]:
    """The loss by epoch, and beside it how good the model was on the validation clips; nothing of a single epoch."""
    drawn: dict[str, str] = {}
    if len(history.history) < _MIN_EPOCHS:
        return drawn
    curves = {
        "loss": {"training": "loss", "validation": "validation_loss"},
        "share": {"UAR": "validation_uar", "accuracy": "validation_accuracy"},
    }
    for name, words in (("loss", "Loss by epoch"), ("share", "Validation clips by epoch")):
        found = {label: _curve(history, field) for label, field in curves[name].items()}
        if any(values for _, values in found.values()):
            drawn[f"learning-{name}"] = _learning_plot(found, words, name, history.best_epoch)
    return drawn


def _curve(history: History, field: str) -> tuple[list[int], list[float]]:
    """The epochs that have a metric, and what it was."""
    known = [(epoch.number, value) for epoch in history.history if (value := getattr(epoch, field)) is not None]
    return [number for number, _ in known], [value for _, value in known]


def _learning_plot(
    curves: dict[str, tuple[list[int], list[float]]], title: str, name: str, best_epoch: int | None
) -> str:
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(4.0, 3.0), layout="constrained")
        axes = figure.subplots()
        ends = []
        for (label, (numbers, values)), colour in zip(curves.items(), ("accent", "warm"), strict=True):
            if values:
                axes.plot(numbers, values, color=_COLOURS[colour], linewidth=1.5, label=label)
                ends.append(f"{label} {values[0]:.3f} at first, {values[-1]:.3f} at last")
        if best_epoch is not None:
            axes.axvline(best_epoch, color=_COLOURS["soft"], linestyle="--", linewidth=1)
        axes.set(title=title, xlabel="epoch")
        if name == "share":
            axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
        axes.legend(frameon=False, labelcolor=_COLOURS["soft"])
        return _svg(figure, f"{title}: {'; '.join(ends)}.", f"learning-{name}")


def _share_axes(axes: Axes, title: str, **labels: str) -> None:
    """Both axes from 0 to 100 %."""
    axes.set(title=title, xlim=(0, 1), ylim=(0, 1), **labels)
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(xmax=1))


def _svg(figure: Figure, label: str, name: str) -> str:
    """An element for HTML: it says in words what it shows, and its identifiers are its own."""
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata=_NO_METADATA)
    text = out.getvalue()
    body = text[text.index("<svg") + len("<svg") :].replace("xlink:href", "href")
    body = re.sub(r' xmlns(:xlink)?="[^"]*"', "", body, count=2)
    for variable, colour in _COLOURS.items():
        body = body.replace(colour, f"var(--{variable})")
    body = _IDENTIFIER.sub(rf"\g<1>{name}-", body)
    return f'<svg role="img" aria-label="{escape(label)}"{body}'
