"""The HTML report: as a text, and in a real browser."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from gmme_edge.errors import UsageError
from gmme_edge.profiling.latency import Deadlines
from gmme_edge.report.compare import Comparison, compare_results
from gmme_edge.report.documents import load_result
from gmme_edge.report.render.files import write_report
from gmme_edge.report.render.html import render_html
from gmme_edge.report.render.plots import Spot, draw_tradeoff, pareto_front
from gmme_edge.report.render.stream import draw_streams
from gmme_edge.report.render.tables import render_csv, render_latex
from tests.report.browser import Browser, open_browser
from tests.report.factory import row, write_accuracy, write_latency

GMME, EVIL = "eat-s-gmme-k32c8", "<script>alert(1)</script>&\"'"


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    rng = np.random.default_rng(0)

    def samples(median_ms: float) -> tuple[float, ...]:
        return tuple(float(x) for x in median_ms * (1 + 0.05 * rng.gamma(2, 1, 60)))

    paths = [
        write_latency(
            tmp_path / "r.json",
            row(samples_ms=samples(9)), row(GMME, samples(10), size_bytes=6_000_000),
            row(EVIL, samples(30), precision="int8-ort",
                stream="paced", deadlines=Deadlines(25.0, 60, 60)),
            command="gmme-edge profile a b",
        ),
        write_accuracy(tmp_path / "a.json", value=0.95),
        write_accuracy(tmp_path / "b.json", GMME, 0.94),
    ]  # fmt: skip
    return compare_results([load_result(path) for path in paths])


def test_the_page_fetches_nothing_and_escapes_names(comparison: Comparison) -> None:
    page = render_html(comparison, "gmme-edge compare r.json")
    assert EVIL not in page and "&lt;script&gt;alert(1)" in page
    assert not re.search(r"(src|href)\s*=", page)
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page)
    assert "gmme-edge profile a b\ngmme-edge compare r.json" in page
    for word in ("Accuracy and latency", "Accuracy and size", "Distribution of latencies", "cpu",
                 "Paced calls in their order"):  # fmt: skip
        assert word in page


def test_calls_of_a_paced_stream_are_drawn_and_the_late_ones_differ() -> None:
    late = (5.0, 6.0, 30.0, 5.0)
    paced = row(samples_ms=late, stream="paced", deadlines=Deadlines(20.0, 4, 1))
    plot = ElementTree.fromstring(draw_streams([row(), paced], ["a", "<b>"]))
    svg = "{http://www.w3.org/2000/svg}"
    drawn = {path.get("stroke"): str(path.get("d")) for path in plot.findall(f"{svg}path")}
    assert drawn["#2b6cb0"].count("M") == 3 and drawn["#c05621"].count("M") == 1
    texts = [text.text for text in plot.findall(f"{svg}text")]
    assert "<b>: due every 20.00 ms, 1 of 4 deadlines missed" in texts
    assert draw_streams([row()], ["a"]) == ""


def test_no_late_call_hides_among_a_thousand_others() -> None:
    samples = [1.0] * 5000
    samples[3333] = 9.0
    paced = row(samples_ms=samples, stream="paced", deadlines=Deadlines(5.0, 5000, 1))
    plot = ElementTree.fromstring(draw_streams([paced], ["a"]))
    paths = plot.findall("{http://www.w3.org/2000/svg}path")
    assert [str(p.get("d")).count("M") for p in paths if p.get("stroke") == "#c05621"] == [1]


def test_filters_are_of_columns_whose_values_differ(comparison: Comparison) -> None:
    page = render_html(comparison, "x")
    offered = re.findall(r'data-column="(\d+)"', page)
    assert {"0", "1", "5", "6", "14"} <= set(offered)  # network, precision, calls, median, accuracy
    assert not {"2", "3", "4"} & set(offered)  # one backend, one number of threads, one batch
    assert '<option value="int8-ort">int8-ort</option>' in page


def test_a_front_is_what_nothing_beats() -> None:
    spots = [
        Spot(1, 90, "a"),
        Spot(2, 95, "b"),
        Spot(2, 94, "c"),
        Spot(3, 93, "d"),
        Spot(1, 80, "e"),
    ]
    assert [spot.name for spot in pareto_front(spots)] == ["a", "b"]


def test_a_plot_needs_both_figures(comparison: Comparison) -> None:
    plot = ElementTree.fromstring(draw_tradeoff(comparison.entries, "latency"))
    assert len(plot.findall("{http://www.w3.org/2000/svg}circle")) == 2
    assert draw_tradeoff(comparison.entries[2:], "size") == ""


def test_csv_has_every_figure(comparison: Comparison) -> None:
    lines = list(csv.DictReader(render_csv(comparison).splitlines()))
    assert [line["name"] for line in lines] == ["eat-s-aa", GMME, EVIL]
    assert float(lines[1]["ratio_latency"]) == comparison.entries[1].ratio.latency
    assert ";" in lines[1]["median_interval_ms"]


def test_latex_has_the_papers_columns(comparison: Comparison) -> None:
    table = render_latex(comparison)
    assert r"\#D-Param (K) & \#T-Param (M) & Accuracy (\%)" in table
    assert "eat-s-gmme & $K=32, C=8$ & fp32 & 1.0 & 5.00 & 94.00" in table
    rows = [line for line in table.splitlines() if line.endswith(r"\\") and " & " in line]
    assert {line.replace(r"\&", "").count("&") for line in rows} == {10}


def test_latex_says_how_each_row_was_measured(tmp_path: Path) -> None:
    """Rows of another backend or thread count look alike otherwise."""
    path = write_latency(tmp_path / "r.json", row(), row(threads=2), row(backend="openvino"))
    comparison = compare_results([load_result(path)])
    lines = render_latex(comparison).splitlines()
    headings = [line for line in lines if line.startswith(r"\multicolumn{11}{l}")]
    wanted = ("ort-cpu, 1 thread,", "ort-cpu, 2 threads,", "openvino, 1 thread,")
    for heading, setting in zip(headings, wanted, strict=True):
        assert setting in heading
        assert lines[lines.index(heading) + 1].startswith("eat-s-aa & ")
    assert lines[: len(comparison.notes)] == [f"% {note}" for note in comparison.notes]


def test_the_ending_chooses_the_form(comparison: Comparison, tmp_path: Path) -> None:
    for ending in (".html", ".md", ".json", ".csv", ".tex"):
        write_report(comparison, tmp_path / f"out{ending}", "x")
        assert (tmp_path / f"out{ending}").stat().st_size
    with pytest.raises(UsageError, match=r"\.html"):
        write_report(comparison, tmp_path / "out.pdf", "x")


def _filter_with_the_keyboard(browser: Browser, column: str) -> None:
    """Tab, letters and the space bar alone: open the filters, choose, type a limit, clear."""
    state = "return document.getElementById('shown').innerText"
    browser.run("document.querySelector('[type=reset]').click()")
    browser.run("document.querySelector('details').open = false")
    browser.run("document.querySelector('summary').focus()")
    browser.press(" ")
    assert browser.run("return document.querySelector('details').open")
    browser.press("Tab")
    assert browser.run("return document.activeElement.tagName") == "SELECT"  # the network's
    browser.press("Tab")
    browser.press("i")  # any, fp32, int8-ort
    assert browser.run(column) == [EVIL] and browser.run(state) == "1 of 3 rows"
    for _ in range(2):
        browser.press("ArrowUp")
    assert len(browser.run(column)) == 3
    for _ in range(2):
        browser.press("Tab")  # over the calls to median ms
    for key in "> ":
        browser.press(key)
    invalid = "return document.activeElement.getAttribute('aria-invalid')"
    assert browser.run(invalid) == "true" and len(browser.run(column)) == 3
    for key in "20":
        browser.press(key)
    assert browser.run(invalid) == "false" and browser.run(column) == [EVIL]
    browser.run("document.querySelector('[type=reset]').focus()")
    browser.press("Enter")
    assert len(browser.run(column)) == 3


@pytest.mark.slow
def test_in_a_real_browser(comparison: Comparison, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_report(comparison, page, "gmme-edge compare r.json")
    column = (
        "return [...document.querySelectorAll('tbody tr:not([hidden])')]"
        ".map(row => row.cells[0].innerText)"
    )
    with open_browser() as browser:
        for width in (360, 820, 1400):
            browser.open(page, width)
            assert browser.run("return document.documentElement.scrollWidth <= innerWidth"), width
            browser.screenshot(tmp_path / f"{width}.png")
            browser.run("document.querySelector('details').open = true")
            assert browser.run("return document.documentElement.scrollWidth <= innerWidth"), width
        assert browser.run(column) == ["eat-s-aa (base)", GMME, EVIL]
        click = (
            "[...document.querySelectorAll('th button')]"
            ".find(button => button.innerText == 'median ms').click()"
        )
        browser.run(click)
        browser.run(click)
        assert browser.run(column) == [EVIL, GMME, "eat-s-aa (base)"]
        assert browser.run("return document.querySelectorAll('[aria-sort=descending]').length") == 1
        browser.run("filter.value = 'fp32 gmme'; filter.dispatchEvent(new Event('input'))")
        assert browser.run(column) == [GMME]
        assert browser.run("return document.getElementById('shown').innerText") == "1 of 3 rows"
        _filter_with_the_keyboard(browser, column)
        paper = "return getComputedStyle(document.body).backgroundColor"
        light = browser.run(paper)
        dark = [{"name": "prefers-color-scheme", "value": "dark"}]
        browser.devtools("Emulation.setEmulatedMedia", features=dark)
        assert browser.run(paper) != light
        browser.devtools("Emulation.setEmulatedMedia", media="print", features=[])
        assert (
            browser.run("return getComputedStyle(document.querySelector('label')).display")
            == "none"
        )
        assert browser.devtools("Page.printToPDF")["data"]
        tree = browser.devtools("Accessibility.getFullAXTree")["nodes"]
        roles = {node["role"]["value"] for node in tree}
        assert {"main", "table", "columnheader", "rowheader", "heading"} <= roles
        assert browser.complaints() == []
