from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console, RenderableType

from gmme_edge.errors import UsageError
from gmme_edge.report.compare import Comparison, compare_results
from gmme_edge.report.documents import load_result
from gmme_edge.report.render.cells import (
    format_bytes,
    format_count,
    format_interval,
    format_ms,
    format_ratio,
)
from gmme_edge.report.render.latency_chart import draw_latency_chart
from gmme_edge.report.render.markdown import write_report
from gmme_edge.report.render.terminal import comparison_tables, latency_tables
from tests.report.factory import row, write_accuracy, write_latency

LONG = "eat-m-gmme-lite-k64c16"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    slow = (1234.5, 2345.6, 1111.1)
    paths = [
        write_latency(
            tmp_path / "r.json",
            row(samples_ms=slow, precision="int8-tensorrt", size_bytes=123_456_789),
            row(LONG, slow, precision="int8-tensorrt", d_params=12_345_678),
            row(), row(LONG), row(threads=8, batch=64),
            command="gmme-edge profile a b",
        ),
        write_accuracy(tmp_path / "a.json", value=0.95),
        write_accuracy(tmp_path / "b.json", LONG, 0.85),
        write_accuracy(tmp_path / "c.json", "eat-s-aa|<x>", 0.85),
    ]  # fmt: skip
    return compare_results([load_result(path) for path in paths], "eat-s-aa")


def _print(renderable: RenderableType, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


def test_the_comparison_fits_80_columns(comparison: Comparison) -> None:
    lines = _print(comparison_tables(comparison))
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    # Nothing is folded: the longest preset, precision, interval and size stand whole.
    assert sum(line.startswith(f"{LONG} ") for line in lines) == 6
    for whole in ("int8-tensorrt", "1234", "123.5 MB", "[90.0, 100.0]", "×12345.68"):
        assert whole in text
    assert "-10.00" in text


def test_the_latency_table_fits_80_columns(comparison: Comparison) -> None:
    rows = [entry.latency for entry in comparison.entries if entry.latency]
    lines = _print(latency_tables(rows))
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert LONG in text
    assert "ort-cpu, 1 thread, batch 1" in text
    assert "ort-cpu, 8 threads, batch 64" in text


def test_bundles_of_one_model_go_by_their_folders() -> None:
    text = "\n".join(_print(latency_tables([row(bundle="plain"), row(bundle="lowered")])))
    assert "plain" in text
    assert "lowered" in text


def test_markup_in_a_name_is_text() -> None:
    assert "[red]x[/red]" in "\n".join(_print(latency_tables([row("[red]x[/red]")])))


def test_the_report_stands_beside_its_chart(comparison: Comparison, tmp_path: Path) -> None:
    write_report(comparison, tmp_path / "out" / "report.md", "gmme-edge compare r.json")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "(<report.svg>)" in text
    assert "gmme-edge profile a b\ngmme-edge compare r.json" in text
    assert "cpu test" in text
    assert "eat-s-aa\\|&lt;x>" in text
    ElementTree.parse(tmp_path / "out" / "report.svg")


def test_tables_of_the_report_are_whole(comparison: Comparison, tmp_path: Path) -> None:
    write_report(comparison, tmp_path / "report.md", "x")
    tables: list[list[str]] = [[]]
    for line in (tmp_path / "report.md").read_text().splitlines():
        if line.startswith("|"):
            tables[-1].append(line)
        elif tables[-1]:
            tables.append([])
    for table in tables[:-1]:
        bars = {line.replace("\\|", "").count("|") for line in table}
        assert len(bars) == 1
        assert len(table) > 2


def test_a_report_is_markdown(comparison: Comparison, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.md"):
        write_report(comparison, tmp_path / "report.svg", "x")
    assert not (tmp_path / "report.svg").exists()


def test_a_report_of_accuracies_has_no_chart(tmp_path: Path) -> None:
    result = load_result(write_accuracy(tmp_path / "a.json"))
    write_report(compare_results([result], "eat-s-aa"), tmp_path / "report.md", "x")
    assert ".svg" not in (tmp_path / "report.md").read_text()
    assert not (tmp_path / "report.svg").exists()


def test_bars_are_proportional(tmp_path: Path) -> None:
    path = write_latency(tmp_path / "r.json", row(samples_ms=[10.0]), row(LONG, [25.0]))
    chart = draw_latency_chart(compare_results([load_result(path)], "eat-s-aa"))
    root = ElementTree.fromstring(chart)
    widths = [float(rect.attrib["width"]) for rect in root.findall(f"{SVG}rect")[1:]]
    assert widths[1] / widths[0] == pytest.approx(2.5, abs=0.01)
    texts = [text.text for text in root.findall(f"{SVG}text")]
    assert "eat-s-aa fp32" in texts
    assert "25.00 ms" in texts


def test_names_are_escaped_in_the_chart(tmp_path: Path) -> None:
    path = write_latency(tmp_path / "r.json", row("<a&b\x01>'"))
    chart = draw_latency_chart(compare_results([load_result(path)], "<a&b\x01>'"))
    texts = [text.text for text in ElementTree.fromstring(chart).findall(f"{SVG}text")]
    assert "<a&b\N{REPLACEMENT CHARACTER}>' fp32" in texts


def test_figures_are_short() -> None:
    assert [format_count(n) for n in (7, 37_416, 5_312_345)] == ["7", "37.42 k", "5.31 M"]
    assert [format_bytes(n) for n in (9, 21_400, 21_250_000, 3 * 10**9)] == [
        "9 B", "21.4 kB", "21.25 MB", "3 GB",
    ]  # fmt: skip
    assert [format_ms(ms) for ms in (0.1234, 12.345, 123.45, 12345.6)] == [
        "0.123", "12.35", "123.5", "12346",
    ]  # fmt: skip
    assert [format_ratio(x) for x in (1.234, 0.0355, None)] == ["×1.23", "×0.035", "–"]
    assert (format_interval((1, 2)), format_interval(None)) == ("[1.00, 2.00]", "")
