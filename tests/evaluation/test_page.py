"""The page is whole HTML that fetches nothing, tells everything in words too, and lets no name become markup."""

import dataclasses
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from ser_core.evaluation.bootstrap import BootstrapSettings
from ser_core.evaluation.evaluate import evaluate_predictions
from ser_core.evaluation.figures import FIGURES, confusion_file, figures_of, standalone
from ser_core.evaluation.page import render_page
from ser_core.evaluation.predictions import at_temperature
from ser_core.evaluation.result import About, Evaluation, ModelSpeakers
from ser_core.vocabulary import LABELS
from tests.support.evaluations import ABOUT, manifest, predictions

SETTINGS = BootstrapSettings(resamples=50)
_VOID = {"meta", "link", "br", "hr", "img", "input"}
_ATTACK = '</title><script>alert("x")</script>&amp;'


class Page(HTMLParser):
    """What a page holds; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in tags]


def evaluation(title: str = "tiny on two corpora", about: About = ABOUT) -> Evaluation:
    clips = manifest()
    probabilities_GC = predictions(clips)
    seen = ModelSpeakers(training=("wide-0",))
    return evaluate_predictions(
        clips,
        at_temperature(probabilities_GC, 0.5),
        2.0,
        model_speakers=seen,
        settings=SETTINGS,
        title=title,
        about=about,
    )


@pytest.fixture(scope="module")
def one() -> Evaluation:
    return evaluation()


@pytest.fixture(scope="module")
def text(one: Evaluation) -> str:
    return render_page(one)


def test_it_is_whole_and_fetches_nothing(text: str) -> None:
    page = Page(text)
    assert text.startswith("<!doctype html>\n<html lang=")
    assert not page.all("script", "link", "img", "iframe", "object", "embed")
    assert not re.search(r'https?://|url\((?!#)|href="(?!#)|@import', text)
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    assert {name for _, attributes in page.tags for name in attributes if name in {"src", "onload", "onclick"}} == set()


def test_the_same_evaluation_gives_the_same_page(one: Evaluation, text: str) -> None:
    assert render_page(one) == text


def test_a_matplotlibrc_of_the_working_folder_changes_nothing(one: Evaluation, text: str) -> None:
    with matplotlib.rc_context({"text.usetex": True, "font.size": 40, "svg.fonttype": "path"}):
        assert render_page(one) == text


def test_it_shows_the_metrics(one: Evaluation, text: str) -> None:
    text = " ".join(Page(text).texts)
    for share in (one.overall.uar.value, one.overall.accuracy.value, one.overall.ece.value):
        assert f"{100 * share:.1f}\u00a0%" in text
    for words in (
        *LABELS,
        *one.notes,
        *one.by.speaker,
        *one.by.gender,
        "tiny@1",
        "a.parquet, b.parquet",
        "50 resamples",
    ):
        assert words in text


def test_what_is_drawn_is_said_in_words(one: Evaluation, text: str) -> None:
    assert "Adapted and not" not in text
    pictures = Page(text).all("svg")
    plots = [picture for picture in pictures if "aria-hidden" not in picture]
    assert len(plots) == 3
    assert all(plot["role"] == "img" and len(plot["aria-label"] or "") > 50 for plot in plots)
    # The others stand beside the same numbers in a table.
    assert len(pictures) - len(plots) == sum(
        map(len, (one.by.corpus, one.by.language, one.by.gender, one.by.seen, one.by.speaker))
    )


def test_every_table_has_heads_and_a_name(text: str) -> None:
    page = Page(text)
    assert len(page.all("table")) == len(page.all("caption")) >= 9
    assert all(head.get("scope") in {"col", "row"} for head in page.all("th"))
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(names) == len(set(names))
    assert set(re.findall(r"#([\w-]+)[\")]", text)) <= set(names)


def test_plots_have_the_colours_of_the_page(text: str) -> None:
    plots = "".join(re.findall(r"<svg role.*?</svg>", text, flags=re.DOTALL))
    assert not re.search(r"#[0-9a-f]{6}\b", plots)
    assert set(re.findall(r"var\((--\w+)\)", plots)) == {"--ink", "--soft", "--line", "--accent", "--warm"}
    assert all(text.count(f"{name}: #") == 2 for name in ("--ink", "--soft", "--line", "--accent", "--warm"))


def test_no_name_becomes_markup() -> None:
    attacked = dataclasses.replace(
        evaluation(_ATTACK, dataclasses.replace(ABOUT, model=_ATTACK)), labels=(_ATTACK, *LABELS[1:])
    )
    attacked.by.speaker[_ATTACK] = attacked.by.speaker["wide-0"]
    page = Page(render_page(attacked))
    assert not page.all("script")
    assert sum(_ATTACK in text for text in page.texts) >= 5


def test_of_many_speakers_the_hardest_are_shown(one: Evaluation) -> None:
    easy = one.by.speaker["wide-0"]
    speakers = {
        f"many-{number:03d}": dataclasses.replace(easy, uar=easy.uar._replace(value=number / 100))
        for number in range(100)
    }
    text = " ".join(Page(render_page(dataclasses.replace(one, by=dataclasses.replace(one.by, speaker=speakers)))).texts)
    assert "many-059" in text
    assert "many-060" not in text
    assert "40 easier ones are in the JSON file alone" in text


def test_one_speaker_and_no_calibration() -> None:
    clips = manifest()
    alone = clips.take(np.flatnonzero(clips.speakers == "wide-0"))
    found = evaluate_predictions(alone, predictions(alone), settings=SETTINGS)
    page = Page(render_page(found))
    assert page.texts.count("one speaker: no interval") == 3
    assert len([picture for picture in page.all("svg") if "aria-hidden" not in picture]) == 2


@pytest.mark.heavy
def test_a_browser_reads_what_was_written(text: str, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium is installed")
    (tmp_path / "page.html").write_text(text)
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*command, "--enable-logging=stderr", "--dump-dom", (tmp_path / "page.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    # Where HTML is wrong, a browser mends it: it drops, adds or moves elements.
    written, read = Page(text), Page(done.stdout)
    assert [tag for tag, _ in read.tags] == [tag for tag, _ in written.tags]
    assert "CONSOLE" not in done.stderr


def test_figures_are_files_that_stand_alone_and_are_those_of_the_page() -> None:
    found = evaluation(title="<tiny> & co").with_history(
        {"history": [{"number": number, "loss": 1.0 / number} for number in (1, 2)], "best_epoch": 2}
    )
    drawn = figures_of(found)
    page = render_page(found, drawn)
    assert page == render_page(found)
    assert {*drawn, "confusion"} == {*FIGURES} - {"learning-share"}
    for file in (*map(standalone, drawn.values()), confusion_file(found)):
        # Well-formed, of SVG's own names, and without colours of a page that is not there.
        assert ElementTree.fromstring(file).tag == "{http://www.w3.org/2000/svg}svg"
        assert b"var(--" not in file
    assert all(svg in page for svg in drawn.values())


def test_the_figure_of_confusions_has_the_shares_of_each_row() -> None:
    found = evaluation()
    svg = ElementTree.fromstring(confusion_file(found))
    numbers = [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text") if (text.text or "").isdigit()]
    counts_LL = found.confusion_LL[found.confusion_LL.sum(axis=1) > 0]
    shares_LL = counts_LL / counts_LL.sum(axis=1, keepdims=True)
    assert numbers == [f"{100 * share:.0f}" for share in shares_LL.ravel() if share]
