"""The plots of an evaluation as SVG elements to put into HTML; every one says in words what it shows.

Shape letters: B bins of confidence.
"""

from collections.abc import Sequence
from xml.etree.ElementTree import Element

import numpy as np

from ser_core.evaluation.bootstrap import Interval
from ser_core.evaluation.html import element, percent
from ser_core.evaluation.metrics import CoveragePoint, Reliability

_SIZE = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 28, 44
_COUNT_HEIGHT = 46
_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def reliability_plot(found: Reliability, title: str) -> Element:
    """Accuracy against confidence, bin by bin, and below it how many clips each bin has."""
    plot = _Plot(title, "confidence", "accuracy", below=_COUNT_HEIGHT)
    num_bins = len(found.count_B)
    most = max(1, int(found.count_B.max()))
    for index in np.flatnonzero(found.count_B):
        left, right = index / num_bins, (index + 1) / num_bins
        accuracy, confidence, count = found.accuracy_B[index], found.confidence_B[index], int(found.count_B[index])
        words = f"{count} clips: confidence {percent(confidence)}, accuracy {percent(accuracy)}"
        gap = "sure" if confidence > accuracy else "careful"
        height = (_COUNT_HEIGHT - 8) * count / most
        plot.add(
            element(
                "g",
                element("title", words),
                plot.box(left, 0, right, min(accuracy, confidence), "bar"),
                plot.box(left, min(accuracy, confidence), right, max(accuracy, confidence), gap),
                element(
                    "rect", class_="count", x=f"{plot.x(left) + 1:.1f}", y=f"{plot.floor - height:.1f}",
                    width=f"{_SIZE / num_bins - 2:.1f}", height=f"{height:.1f}",
                ),
            )
        )  # fmt: skip
    plot.add(plot.path([(0, 0), (1, 1)], "ideal"))
    plot.add(element("text", "clips", x=_LEFT - 8, y=plot.floor - 4, text_anchor="end"))
    return plot.finish(
        f"Reliability diagram with {num_bins} bins, expected calibration error {percent(found.ece)}. Bars are "
        "accuracy, the dashed line is where confidence means what it says."
    )


def coverage_plot(points: Sequence[CoveragePoint]) -> Element:
    """Accuracy against the share of clips that are answered, the most confident first."""
    plot = _Plot("Accuracy of the most confident answers", "share of clips answered", "accuracy")
    last = points[-1]
    plot.add(plot.path([(0, last.accuracy), (1, last.accuracy)], "ideal"))
    plot.add(plot.path([(point.coverage, point.accuracy) for point in points], "curve"))
    middle = min(points, key=lambda point: abs(point.coverage - 0.5))
    return plot.finish(
        f"Accuracy is {percent(last.accuracy)} if all clips are answered, and {percent(middle.accuracy)} if only the "
        f"most confident {percent(middle.coverage)} are; a table follows."
    )


def interval_plot(interval: Interval, overall: float) -> Element:
    """A figure and its interval on a line from 0 to 100 %, and where the overall figure is; for a table's cell."""
    width, middle = 140, 9
    parts = [
        element("line", class_="grid", x1=0, x2=width, y1=middle, y2=middle),
        element("line", class_="axis", x1=f"{width * overall:.1f}", x2=f"{width * overall:.1f}", y1=1, y2=17),
    ]
    if interval.low is not None and interval.high is not None:
        ends = {"x1": f"{width * interval.low:.1f}", "x2": f"{width * interval.high:.1f}"}
        parts.append(element("line", class_="whisker", y1=middle, y2=middle, **ends))
    parts.append(element("circle", class_="dot", cx=f"{width * interval.value:.1f}", cy=middle, r=4.5))
    # The numbers stand in the cells beside it.
    return element("svg", *parts, viewBox=f"0 0 {width} 18", width=width, height=18, aria_hidden="true")


class _Plot:
    """Axes from 0 to 1 and what is drawn between them."""

    def __init__(self, title: str, x_title: str, y_title: str, *, below: int = 0) -> None:
        self._title = title
        #: Where a strip below the axes ends.
        self.floor = _TOP + _SIZE + _BOTTOM + below
        self._parts = [element("text", title, class_="title", x=_LEFT, y=14)]
        for tick in _TICKS:
            x, y = f"{self.x(tick):.1f}", f"{self.y(tick):.1f}"
            self._parts += [
                element("line", class_="grid", x1=_LEFT, x2=_LEFT + _SIZE, y1=y, y2=y),
                element("text", f"{tick:.0%}", x=_LEFT - 8, y=y, dy=4, text_anchor="end"),
                element("text", f"{tick:.0%}", x=x, y=self.y(0) + 18, text_anchor="middle"),
            ]
        turned = f"rotate(-90 12 {self.y(0.5):.0f})"
        self._parts += [
            element("text", x_title, x=self.x(0.5), y=self.y(0) + 36, text_anchor="middle"),
            element("text", y_title, x=12, y=self.y(0.5), text_anchor="middle", transform=turned),
        ]

    def x(self, value: float) -> float:
        return _LEFT + _SIZE * value

    def y(self, value: float) -> float:
        return _TOP + _SIZE * (1 - value)

    def add(self, part: Element) -> None:
        self._parts.append(part)

    def box(self, left: float, low: float, right: float, high: float, class_: str) -> Element:
        return element(
            "rect", class_=class_, x=f"{self.x(left) + 1:.1f}", y=f"{self.y(high):.1f}",
            width=f"{_SIZE * (right - left) - 2:.1f}", height=f"{_SIZE * (high - low):.1f}",
        )  # fmt: skip

    def path(self, points: Sequence[tuple[float, float]], class_: str) -> Element:
        places = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return element("polyline", class_=class_, points=places)

    def finish(self, words: str) -> Element:
        """The picture, with what it shows in words."""
        width, height = _LEFT + _SIZE + _RIGHT, self.floor
        label = f"{self._title}. {words}"
        return element(
            "svg",
            *self._parts,
            viewBox=f"0 0 {width} {height}",
            width=width,
            height=height,
            role="img",
            aria_label=label,
        )
