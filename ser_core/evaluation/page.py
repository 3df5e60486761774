"""Evaluations -> one HTML page for people: no script, nothing fetched, readable without its pictures.

Everything is built as elements and escaped when written, so that no name in a manifest can become markup.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree.ElementTree import Element, tostring

from ser_core.evaluation.bootstrap import Interval
from ser_core.evaluation.html import Cell, details, element, head_cell, interval_text, percent, scrolling, table
from ser_core.evaluation.plots import coverage_plot, interval_plot, reliability_plot
from ser_core.evaluation.result import Evaluation, GroupMetrics
from ser_core.evaluation.style import STYLE

_MAX_SPEAKERS = 60
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
#: From these shares on, the ground of a cell is half and fully its colour, and asks for other letters.
_HALF_SHARE, _FULL_SHARE = 0.62, 0.82
_PARTS = {
    "corpus": "By corpus",
    "language": "By language",
    "gender": "By gender",
    "heard": "By whether the speaker was in the training",
    "speaker": "By speaker",
}


def render_page(evaluations: Sequence[Evaluation], title: str = "") -> str:
    """A whole HTML document; of several evaluations the figures stand side by side first.

    Args:
        evaluations: one or more.
        title: of the page; none: the first evaluation's.
    """
    title = title or evaluations[0].title or "Evaluation"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", STYLE),
    )
    main = element("main", element("h1", title))
    if len(evaluations) > 1:
        main.append(_overview(evaluations))
    for number, evaluation in enumerate(evaluations):
        main.append(_section(evaluation, f"e{number}", is_alone=len(evaluations) == 1))
    page = element("html", head, element("body", main), lang="en")
    return "<!doctype html>\n" + tostring(page, encoding="unicode", method="html") + "\n"


def _overview(evaluations: Sequence[Evaluation]) -> Element:
    rows: list[list[Cell]] = []
    for number, one in enumerate(evaluations):
        link = element("a", one.title or f"evaluation {number + 1}", href=f"#e{number}")
        rows.append([link, f"{one.overall.num_clips:,}", f"{one.overall.num_speakers:,}", *_figures(one.overall)])
    return table("All evaluations", ["evaluation", "clips", "speakers", "UAR", "accuracy", "macro F1", "ECE"], rows)


def _section(evaluation: Evaluation, name: str, *, is_alone: bool) -> Element:
    overall = evaluation.overall
    corpora = ", ".join(evaluation.label_sets)
    words = f"{overall.num_clips:,} clips of {overall.num_speakers:,} speakers: {corpora}"
    children = [element("p", words, class_="soft"), _tiles(evaluation)]
    if not is_alone:
        children.insert(0, element("h2", evaluation.title or name))
    notes = [element("li", note) for note in evaluation.notes]
    if notes:
        children.append(element("ul", *notes, class_="notes", aria_label="What to know"))
    parts = [_confusion, _classes, _confidence, _coverage, _groups, _about]
    return element("section", *children, *(child for part in parts for child in part(evaluation)), id=name)


def _tiles(evaluation: Evaluation) -> Element:
    overall = evaluation.overall
    before = f"{percent(overall.ece_uncalibrated)} before calibration"
    calibration = before if evaluation.is_calibrated else "of confidence"
    tiles = [
        ("UAR: mean recall", overall.uar, ""),
        ("Accuracy", overall.accuracy, ""),
        ("Macro F1", overall.macro_f1, ""),
        ("ECE: calibration error", overall.ece, f"; {calibration}"),
    ]
    return element(
        "dl",
        *(
            element(
                "div",
                element("dt", name),
                element("dd", percent(figure.value), class_="figure"),
                element("dd", f"{_range(figure)}{more}", class_="soft"),
                class_="tile",
            )
            for name, figure, more in tiles
        ),
        class_="tiles",
    )


def _confusion(evaluation: Evaluation) -> Iterable[Element]:
    labels = evaluation.labels
    head = element("tr", element("th", "right ↓ answer →", scope="col"), *map(head_cell, labels), head_cell("clips"))
    rows = []
    for label, counts in zip(labels, evaluation.confusion_LL.tolist(), strict=True):
        total = sum(counts)
        if not total:
            continue
        cells = [
            _heat_cell(count, total, is_right=answer == label) for answer, count in zip(labels, counts, strict=True)
        ]
        rows.append(
            element("tr", element("th", label, scope="row"), *cells, element("td", f"{total:,}", class_="none"))
        )
    caption = element("caption", "Of the clips of each emotion (row), how many got each answer (column), in percent")
    matrix = element("table", caption, element("thead", head), element("tbody", *rows), class_="heat")
    yield element("h3", "What is taken for what")
    yield scrolling(matrix, "Confusion matrix")


def _heat_cell(count: int, total: int, *, is_right: bool) -> Element:
    share = count / total
    ground = "full" if share > _FULL_SHARE else "half" if share > _HALF_SHARE else "none" if not count else ""
    classes = [ground] * bool(ground) + ["right"] * is_right
    cell = element("td", f"{100 * share:.0f}" if count else "·", title=f"{count:,} clips", style=f"--share:{share:.3f}")
    if classes:
        cell.set("class", " ".join(classes))
    return cell


def _classes(evaluation: Evaluation) -> Iterable[Element]:
    rows = [
        [one.label, f"{one.num_clips:,}", f"{one.num_answers:,}", *map(percent, (one.recall, one.precision, one.f1))]
        for one in evaluation.classes
    ]
    yield element("h3", "By emotion")
    yield table(
        "Recall: share of its clips that are found; precision: share of its answers that are right",
        ["emotion", "clips", "answers", "recall", "precision", "F1"],
        rows,
    )


def _confidence(evaluation: Evaluation) -> Iterable[Element]:
    plots = [reliability_plot(evaluation.reliability, f"As given: ECE {percent(evaluation.reliability.ece)}")]
    if evaluation.is_calibrated:
        before = evaluation.reliability_uncalibrated
        plots.insert(0, reliability_plot(before, f"Before calibration: ECE {percent(before.ece)}"))
    words = (
        "The height of what is blue is the accuracy of the answers given with such a confidence. Where it ends below "
        "the dashed line the model is too sure, by what is orange; where it ends above, too careful, by what is pale."
    )
    rows = [
        [
            f"{percent(one['from'])} to {percent(one['to'])}",
            f"{one['clips']:,}",
            *map(percent, (one["confidence"], one["accuracy"])),
        ]
        for one in evaluation.reliability.to_dicts()
    ]
    yield element("h3", "What a confidence is worth")
    yield element("figure", element("div", *plots, class_="plots"), element("figcaption", words))
    columns = ["confidence", "clips", "mean confidence", "accuracy"]
    yield details("As a table", table("The bins of the calibrated answers", columns, rows))


def _coverage(evaluation: Evaluation) -> Iterable[Element]:
    points = evaluation.coverage
    tenths = [min(points, key=lambda point: abs(point.coverage - tenth / 10)) for tenth in range(1, 11)]
    rows = [[percent(one.coverage), percent(one.confidence), percent(one.accuracy)] for one in dict.fromkeys(tenths)]
    words = (
        "If only answers with a confidence above some bound are taken: fewer clips are answered, more of them right."
    )
    yield element("h3", "Accuracy against coverage")
    yield element("figure", coverage_plot(points), element("figcaption", words))
    columns = ["clips answered", "least confidence", "accuracy"]
    yield details("As a table", table("Accuracy against coverage", columns, rows))


def _groups(evaluation: Evaluation) -> Iterable[Element]:
    for part, heading in _PARTS.items():
        groups = evaluation.by.get(part)
        if groups is None or (part != "speaker" and len(groups) == 1):
            continue
        yield element("h3", heading)
        yield (_speakers if part == "speaker" else _group_table)(evaluation, groups)


def _group_table(evaluation: Evaluation, groups: dict[str, GroupMetrics]) -> Element:
    columns = ["", "clips", "speakers", "UAR", "", "accuracy", "macro F1", "ECE"]
    rows: list[list[Cell]] = []
    for name, one in groups.items():
        uar, *others = _figures(one)
        plot = interval_plot(one.uar, evaluation.overall.uar.value)
        rows.append([name, f"{one.num_clips:,}", f"{one.num_speakers:,}", uar, plot, *others])
    return table("The dot is the UAR on a line from 0 to 100 %, the upright stroke that of all clips", columns, rows)


def _speakers(evaluation: Evaluation, groups: dict[str, GroupMetrics]) -> Element:
    hardest = sorted(groups.items(), key=lambda item: item[1].uar.value)[:_MAX_SPEAKERS]
    rows: list[list[Cell]] = []
    for name, one in hardest:
        plot = interval_plot(one.uar, evaluation.overall.uar.value)
        figures = [percent(figure.value) for figure in (one.uar, one.accuracy, one.macro_f1, one.ece)]
        rows.append([name, f"{one.num_clips:,}", figures[0], plot, *figures[1:]])
    left = len(groups) - len(hardest)
    more = f"; {left:,} easier ones are in the JSON file alone" if left else ""
    columns = ["speaker", "clips", "UAR", "", "accuracy", "macro F1", "ECE"]
    return table(f"The hardest first{more}. UAR is over the emotions that the speaker has", columns, rows)


def _about(evaluation: Evaluation) -> Iterable[Element]:
    settings = evaluation.settings
    words = (
        "A prediction is of a whole clip: the duration-weighted mean of its windows' log-probabilities. Means over "
        "emotions are over those that occur among the clips looked at. ECE is of the predicted label, over 15 bins of "
        f"equal width. 95 % intervals: {settings.resamples:,} resamples (seed {settings.seed}) of speakers with "
        "replacement within each corpus, each with all their clips; from the 2.5th to the 97.5th percentile. They "
        "speak of other speakers of the same corpora, not of other corpora. Resampling adds noise, and noise adds to "
        "ECE: its interval "
        "may lie above its value."
    )
    rows = [[name.replace("_", " "), _plain(value)] for name, value in evaluation.about.items()]
    yield element("h3", "How this was made")
    yield element("p", words, class_="soft")
    if rows:
        yield table("Settings", [], rows, class_="texts")


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
    return str(value)


def _figures(figures: GroupMetrics) -> list[Element]:
    """UAR, accuracy, macro F1 and ECE with their intervals."""
    return [interval_text(one) for one in (figures.uar, figures.accuracy, figures.macro_f1, figures.ece)]


def _range(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return "one speaker: no interval"
    return f"{100 * interval.low:.1f} to {percent(interval.high)}"
