"""The HTML report is one file that needs nothing else, escapes what it shows, and knows the trial of every point."""

import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from reports import html, pages
from reports.analysis.axes import axes, values
from reports.drawing import points
from reports.drawing.layout import settings
from reports.web.text import data, element, visible
from sweep.commands.report import report_on

HOSTILE = "<script>alert('&')</script>\"\u202e\n\x07"
SEEN = "<script>alert('&')</script>\"\ufffd \ufffd"
SPACE = {
    "learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "schedule": {"kind": "choice", "choices": [HOSTILE, "cosine"]},
}


class Document(HTMLParser):
    """The elements of a document with their attributes and text, in order; text inside inner elements counts too."""

    EMPTY = ("meta", "path", "use", "image", "rect", "circle")

    def __init__(self, content):
        super().__init__()
        self.elements, self.pieces, self._open = [], [], []
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ""])
        if tag not in self.EMPTY:
            self._open.append((tag, self.elements[-1]))

    def handle_startendtag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ""])

    def handle_endtag(self, tag):
        if tag not in self.EMPTY:
            assert self._open.pop()[0] == tag

    def handle_data(self, text):
        self.pieces.append(text)
        for _, one in self._open:
            one[2] += text

    def all(self, tag):
        """Attributes and text of the elements of a kind."""
        return [(attributes, text) for name, attributes, text in self.elements if name == tag]

    def texts(self, tag):
        """Their texts, with white space as it is shown."""
        return [" ".join(text.split()) for _, text in self.all(tag)]


def drawn(record):
    with matplotlib.rc_context(settings()):
        return pages.pages(record)


@pytest.fixture(scope="module")
def hostile(made_up):
    """A record with hostile names."""
    return made_up(16, name=HOSTILE, question=HOSTILE, space=SPACE, confirmed=True)


@pytest.fixture(scope="module")
def content(hostile, tmp_path_factory):
    """Its report."""
    out = tmp_path_factory.mktemp("html") / "report.html"
    html.write(hostile, out)
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    return out.read_text("utf-8")


@pytest.fixture(scope="module")
def document(content):
    return Document(content)


def test_it_needs_nothing_else(content, document):
    """No address of another place, and a policy that allows what is in the file only."""
    assert not re.search(r"\w://|@import", content)
    for name, attributes, _ in document.elements:
        for key in ("href", "src", "xlink:href", "action", "data"):
            assert attributes.get(key, "#").startswith(("#", "data:image/png;base64,")), (name, attributes)
    assert all(place.startswith(("data:font/ttf;base64,", "#")) for place in re.findall(r"url\(([^)]*)", content))
    policy = next(a["content"] for a, _ in document.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert len(content.encode()) < 5_000_000


def test_text_from_elsewhere_stays_text(content, document, hostile):
    """Nothing in a name ends an element, turns the text around, or is run."""
    assert [a for a, _ in document.all("script")] == [{"type": "application/json", "id": "trials"}, {}]
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08]", content)
    assert document.texts("h1") == [f"{SEEN} · mnist"]
    assert f"Question: {SEEN}" in document.texts("p")
    trials = json.loads(document.all("script")[0][1])
    shown = {dict(rows)["schedule"] for _, rows in trials}
    assert shown == {HOSTILE.replace("\u202e", "\ufffd"), "cosine", "constant"}
    assert any(attributes.get("aria-label") == "schedule" for attributes, _ in document.all("svg"))


def test_every_finding_is_a_heading_with_a_link_to_it(document, hostile):
    sheets = drawn(hostile)
    shown = [" ".join(visible(title).split()) for page in sheets for title in page.findings]
    links = {attributes["href"]: " ".join(text.split()) for attributes, text in document.all("a")}

    assert document.texts("h2") == [" ".join(visible(page.finding).split()) for page in sheets]
    assert [text for a, text in links.items() if a.startswith("#finding-1")][:1] == [shown[0]]
    headings = {a["id"]: " ".join(t.split()) for level in ("h2", "h3") for a, t in document.all(level) if "id" in a}
    assert {f"#{name}": text for name, text in headings.items()} == links
    assert list(links.values()) == shown
    assert Counter(document.texts("title")) == {f"{SEEN}: {shown[0]}": 1}


def test_a_page_has_the_text_of_the_paper(document, hostile):
    """Paragraphs, items, cells, notes and legends are text of the document; text in charts stays text."""
    words = set(re.findall(r"\w+", " ".join(document.pieces)))
    for page in drawn(hostile):
        page.footer("", 1, 1)
        for text in page.figure.texts:
            if not text.get_text().endswith("…"):
                assert set(re.findall(r"\w+", text.get_text())) - {"1"} <= words, text


def test_charts_have_names_and_references_stay_inside_them(content, document):
    identifiers = [attributes["id"] for _, attributes, _ in document.elements if "id" in attributes]
    assert len(set(identifiers)) == len(identifiers)
    used = re.findall(r'xlink:href="#([^"]+)"|url\(#([^)]+)\)', content)
    assert {one or other for one, other in used} <= set(identifiers)
    for attributes, _ in document.all("svg"):
        assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"
    assert document.all("html")[0][0]["lang"] == "en"


def charts(document, label):
    """Points, and places of marks, of the charts with this name."""
    found, inside = [], False
    for name, attributes, _ in document.elements:
        if name == "figure":
            inside = attributes.get("aria-label") == label
            if inside:
                found.append((json.loads(attributes["data-points"]), set()))
        elif name == "use" and inside:
            found[-1][1].add((float(attributes["x"]), float(attributes["y"])))
    return found


def test_every_drawn_trial_of_a_scatter_can_be_pointed_at(document, hostile):
    """A point lies on a mark, and every trial with a place on the axis has one."""
    ((found, marks),) = charts(document, "learning rate")
    axis = next(axis for axis in axes(hostile.study["space"]) if axis.key == "learning_rate")
    known = np.isfinite(values(axis, hostile.trials))

    assert {trial for *_, trial in found} == set(np.flatnonzero(known))
    assert len(known) == 16
    for x, y, _ in found:
        assert min(np.hypot(x - mark[0], y - mark[1]) for mark in marks) < 0.15


def test_a_trial_is_described_by_outcome_value_and_settings(document, hostile):
    trials = json.loads(document.all("script")[0][1])
    assert [title for title, _ in trials][:2] == ["Trial 0, the baseline", "Trial 1"]
    assert len(trials) == 16
    for (_, rows), trial in zip(trials, hostile.trials, strict=True):
        told = dict(rows)
        assert told["outcome"] == trial.outcome
        assert ("reason" in told) == (trial.outcome != "complete")
        assert told["validation accuracy in the search"] == (
            "–" if trial.value is None else f"{100 * trial.value:.2f}\u00a0%"
        )
        assert float(told["learning rate"]) == pytest.approx(trial.hyperparameters["learning_rate"], rel=0.01)


def test_two_writings_are_equal(made_up, tmp_path):
    record = made_up(12, confirmed=True)
    html.write(record, tmp_path / "one.html", short=True)
    html.write(record, tmp_path / "two.html", short=True)

    content = (tmp_path / "one.html").read_text("utf-8")
    assert content == (tmp_path / "two.html").read_text("utf-8")
    assert len(Document(content).all("h2")) == 2


@pytest.mark.parametrize("wanted", [{"trials": 0, "planned": 9}, {"trials": 2, "outcome": "failed"}], ids=str)
def test_a_record_without_results_has_a_report(made_up, tmp_path, wanted):
    html.write(made_up(**wanted), tmp_path / "report.html")

    assert Document((tmp_path / "report.html").read_text("utf-8")).texts("h2")[0].startswith("No ")


def test_a_comparison_names_the_study_of_a_trial(made_up, tmp_path):
    one, other = made_up(6, name="one", confirmed=True), made_up(5, name="two", seed=3, confirmed=True)
    other = replace(other, uid="other", study={**other.study, "sampler": "random"})
    written = report_on([one, other], tmp_path, None, html=True)

    assert written == str(tmp_path / "one-against-two.html")
    shown = Document((tmp_path / "one-against-two.html").read_text("utf-8"))
    trials = [title for title, _ in json.loads(shown.all("script")[0][1])]
    assert trials[0] == "Trial 0, the baseline of one"
    assert trials[-1] == "Trial 4 of two"
    ((found, _),) = charts(shown, "learning rate")
    complete = [trial.outcome == "complete" for record in (one, other) for trial in record.trials]
    assert {place for *_, place in found} == set(np.flatnonzero(complete))


def test_points_have_as_many_names_as_there_are():
    ax = Figure(figsize=(2, 2), dpi=100).add_axes((0, 0, 1, 1))
    ax.set_xlim(0, 2)
    ax.set_ylim(0, 2)
    (line,) = ax.plot([1, np.nan], [1, 1])
    with pytest.raises(ValueError, match="1 trials for 2 points"):
        points.name(line, [7])
    points.name(line, [7, 8])
    points.name(ax.scatter([0.5], [0.5]), ["x"])

    assert points.named(ax) == [points.Point(0.5, 0.5, "x"), points.Point(1.0, 1.0, 7)]


def test_escapes():
    assert element("p", "a<b", classes="x", title='"') == '<p class="x" title="&quot;">a&lt;b</p>'
    assert data("</script>&") == '"\\u003c/script\\u003e\\u0026"'
    assert visible("a\u2067b\ud800\t\n") == "a\ufffdb\ufffd\t\n"
