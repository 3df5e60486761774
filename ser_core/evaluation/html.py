"""Small pieces of HTML, built as elements, so that no text can become markup."""

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from ser_core.evaluation.bootstrap import Interval

Cell = Element | str


def element(tag: str, *children: Cell, **attributes: object) -> Element:
    """An element of HTML or SVG; `class_` is class, and underscores are hyphens. Texts are escaped when written."""
    made = Element(tag, {name.rstrip("_").replace("_", "-"): str(value) for name, value in attributes.items()})
    for child in children:
        if isinstance(child, Element):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def percent(value: float | None) -> str:
    """A share, as people read it."""
    return "–" if value is None else f"{value:.1%}".replace("%", "\u00a0%")


def interval_text(interval: Interval) -> Element:
    """A figure and its interval."""
    text = element("span", percent(interval.value))
    if interval.low is not None and interval.high is not None:
        text.append(element("span", f" {100 * interval.low:.1f}–{100 * interval.high:.1f}", class_="soft"))
    return text


def head_cell(name: str) -> Element:
    """The head of a column; one without a name is no head."""
    return element("th", name, scope="col") if name else element("td")


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], class_: str = "figures") -> Element:
    """A table whose rows begin with what they are about; without names of columns it has no head."""
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:])) for row in rows
    ]
    parts = [element("caption", caption), element("tbody", *body)]
    if any(columns):
        parts.insert(1, element("thead", element("tr", *map(head_cell, columns))))
    return scrolling(element("table", *parts, class_=class_), caption)


def scrolling(wide: Element, name: str) -> Element:
    """What is wide scrolls by itself, with the keyboard too."""
    return element("div", wide, class_="scroll", role="region", tabindex="0", aria_label=name)


def details(summary: str, content: Element) -> Element:
    """What is shown when asked for."""
    return element("details", element("summary", summary), content)
