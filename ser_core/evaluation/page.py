"""An evaluation -> one HTML page for people: `page.html.jinja`, filled in.

The template escapes every text, so that no name in a manifest can become markup.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ser_core.evaluation.figures import figures_of
from ser_core.evaluation.result import Evaluation

_MAX_SPEAKERS = 60
_TEMPLATE = "page.html.jinja"


def render_page(evaluation: Evaluation, figures: Mapping[str, str] | None = None) -> str:
    """A whole HTML document; the same evaluation gives the same text.

    Args:
        evaluation: what it is of.
        figures: its figures, where they were drawn already.
    """
    drawn = figures_of(evaluation) if figures is None else figures
    environment = Environment(
        loader=PackageLoader("ser_core.evaluation", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"percent": _percent, "number": _number, "last_parts": _last_parts}
    coverage = evaluation.coverage
    tenths = [min(coverage, key=lambda point: abs(point.coverage - tenth / 10)) for tenth in range(1, 11)]
    by = evaluation.by
    groups = (
        ("By corpus", by.corpus),
        ("By language", by.language),
        ("By gender", by.gender),
        ("By intensity", by.intensity),
        ("By length", by.length),
        ("By whether the speaker was in the training", by.seen),
    )
    return environment.get_template(_TEMPLATE).render(
        evaluation=evaluation,
        title=evaluation.title or "Evaluation",
        confusion=[
            (label, counts)
            for label, counts in zip(evaluation.labels, evaluation.confusion_LL.tolist(), strict=True)
            if sum(counts)
        ],
        coverage=dict.fromkeys(tenths),
        groups=[(heading, members) for heading, members in groups if len(members) > 1],
        speakers=sorted(by.speaker.items(), key=lambda item: item[1].uar.value)[:_MAX_SPEAKERS],
        about=_about(evaluation),
        reliability_plots=_markup(drawn, "before", "reliability"),
        coverage_plot=Markup(drawn["coverage"]),
        curves=_markup(drawn, "learning-loss", "learning-share"),
    )


def _markup(drawn: Mapping[str, str], *names: str) -> list[Markup]:
    return [Markup(drawn[name]) for name in names if name in drawn]


def _about(evaluation: Evaluation) -> dict[str, str]:
    if evaluation.about is None:
        return {}
    return {name.replace("_", " "): _plain(value) for name, value in dataclasses.asdict(evaluation.about).items()}


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return str(value)


def _percent(value: float | None) -> str:
    """A share, as people read it."""
    return "–" if value is None else f"{value:.1%}".replace("%", "\u00a0%")


def _last_parts(path: str) -> str:
    """A clip's name and its folder's."""
    return "/".join(path.split("/")[-2:])


def _number(value: int) -> str:
    return f"{value:,}"
