"""The structure of the PDF names every piece of content once, in reading order, with the text of the page."""

import re
import shutil
import subprocess

import matplotlib
import pytest
from pypdf import PdfReader
from pypdf.generic import ContentStream

from reports import pdf
from reports.drawing.blocks import Cell
from reports.drawing.layout import Page, settings
from reports.tags import tagged


class Collected:
    """A renderer in place of matplotlib's: keeps the marks, and the texts that are drawn between them."""

    def __init__(self):
        self.file, self.written, self.dpi = self, {}, 72
        self._open = None

    def write(self, mark):
        self._open = mark.decode().strip()


def pieces(tag):
    """The elements that have pieces, with them, in order."""
    found = [(tag.role, tuple(tag.pieces))] if tag.pieces else []
    return [*found, *(one for child in tag.children for one in pieces(child))]


@pytest.fixture
def page():
    """A page with every kind of block."""
    with matplotlib.rc_context(settings()):
        page = Page("The finding", "how it was computed")
        page.paragraph("A paragraph")
        page.heading("A heading")
        page.item("passed", "first", label="alpha")
        page.item("passed", "second", label="beta")
        page.figures([("98 %", "accuracy"), ("+1", "gain")])
        page.section("Another finding")
        page.table(["wide", "two\nlines"], [["a", "b"], [Cell("c", bold=True), ""]])
        page.boxed("sweep run")
        page.grid(1, 1, 2.0)[0].set_title("A chart", loc="left")
        page.footer("study", 1, 1)
    return page


def test_every_block_has_its_elements_in_reading_order(page):
    found = [role for role, _ in pieces(tagged(page))]

    assert found == [
        *("H1", "P", "H2", "Lbl", "LBody", "Lbl", "LBody", "P", "P", "H2"),
        *("TH", "TH", "TD", "TD", "TD", "P", "Figure", "P"),
    ]


def test_a_piece_is_what_its_element_says(page):
    """Each number is given once, and marks the text of its element; the empty cell has none."""
    texts = [text for text in page.figure.texts if text.get_text()]
    drawn = {}
    for text in texts:
        text.draw = lambda renderer, text=text: drawn.setdefault(text.get_text(), renderer._open)
    found = dict(enumerate(pieces(tagged(page))))
    collected = Collected()
    for text in texts:
        text.draw(collected)

    numbers = [piece for _, own in found.values() for piece in own]
    assert sorted(numbers) == list(range(len(numbers)))
    heads = [own for role, own in found.values() if role == "TH"]
    assert [len(own) for own in heads] == [1, 2]
    assert [drawn[word] for word in ("two", "lines")] == [f"/TH <</MCID {piece}>> BDC" for piece in heads[1]]
    assert drawn["wide"] == f"/TH <</MCID {heads[0][0]}>> BDC"
    assert drawn["The finding"] == f"/H1 <</MCID {numbers[0]}>> BDC"
    assert drawn["study"] == drawn["1 / 1"] == "/Artifact BMC"
    assert collected._open == "EMC"


@pytest.fixture(scope="module")
def written(made_up, tmp_path_factory):
    """A short report."""
    out = tmp_path_factory.mktemp("tags") / "report.pdf"
    pdf.write(made_up(12, confirmed=True), out, short=True)
    return out


def test_all_content_is_marked_and_the_structure_refers_to_it(written):
    """Marks are closed and not nested; each piece belongs to the element that the page's list names."""
    read = PdfReader(written, strict=True)
    root = read.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"].value
    assert root["/Lang"] == "en"
    parents = root["/StructTreeRoot"]["/ParentTree"]["/Nums"]

    for number, page in enumerate(read.pages):
        operations = ContentStream(page.get_contents(), read).operations
        marks, is_open = [], False
        for operands, operator in operations:
            if operator in (b"BDC", b"BMC"):
                assert not is_open
                is_open = True
                marks += [(operands[0], operands[1]["/MCID"])] if operator == b"BDC" else []
            elif operator == b"EMC":
                assert is_open
                is_open = False
            elif operator in (b"Tj", b"TJ", b"f", b"S", b"B", b"Do"):
                assert is_open, operator
        assert not is_open
        assert page["/StructParents"] == parents[2 * number] == number
        owners = parents[2 * number + 1].get_object()
        assert sorted(piece for _, piece in marks) == list(range(len(owners)))
        for role, piece in marks:
            owner = owners[piece].get_object()
            assert owner["/S"] == role
            assert piece in owner["/K"]
            assert owner["/P"].get_object()["/S"] in ("/Sect", "/TR", "/LI")


def test_every_figure_has_an_alternative(written):
    owners = PdfReader(written).trailer["/Root"]["/StructTreeRoot"]["/ParentTree"]["/Nums"][1].get_object()
    alternatives = [one.get_object().get("/Alt") for one in owners if one.get_object()["/S"] == "/Figure"]

    assert alternatives == ["The best on fresh splits"]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pdfinfo"), reason="poppler's pdfinfo is not installed here")
def test_another_program_reads_the_findings_as_headings(made_up, tmp_path):
    """The headings of the structure are the entries of the outline."""
    pdf.write(made_up(30, confirmed=True), tmp_path / "report.pdf")
    command = ["pdfinfo", "-struct-text", tmp_path / "report.pdf"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    headings = [
        " ".join(re.findall(r'"(.*)"', lines))
        for lines in re.findall(r'^    H[12] \(block\)\n((?:      ".*"\n)+)', told, re.MULTILINE)
    ]
    outline = PdfReader(tmp_path / "report.pdf").outline
    findings = [one.title for entry in outline for one in (entry if isinstance(entry, list) else [entry])]

    left = iter(" ".join(heading.split()) for heading in headings)
    assert all(" ".join(finding.split()) in left for finding in findings)  # in this order, others between them
    assert len(findings) > 10
