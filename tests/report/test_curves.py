"""The picture of a run's curves: well-formed, with every curve, axis and label in the frame."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmme_edge.report.render.curves import draw_curves

SVG = "{http://www.w3.org/2000/svg}"


def epochs(n: int, monitored: bool = True) -> list[dict[str, float]]:
    return [
        {"epoch": float(e), "loss": 2 / e, "accuracy": 1 - 0.9 / e}
        | ({"monitor_accuracy": 1 - 1 / e} if monitored else {})
        for e in range(1, n + 1)
    ]


def parse(picture: str) -> tuple[ElementTree.Element, list[str]]:
    root = ElementTree.fromstring(picture)
    return root, [element.text or "" for element in root.iter(f"{SVG}text")]


def lines_of(root: ElementTree.Element) -> list[list[tuple[float, float]]]:
    return [
        [tuple(map(float, spot.split(","))) for spot in line.attrib["points"].split()]  # type: ignore[misc]
        for line in root.iter(f"{SVG}polyline")
    ]


def test_curves_are_named_with_their_last_values() -> None:
    root, texts = parse(draw_curves("a <run>", epochs(20), [(0, 0.0), (20, 3e-4)], "test", 12))
    assert {"a <run>", "Loss", "Accuracy", "Learning rate", "epoch", "mixing starts"} <= set(texts)
    assert {"training 0.1", "training 95.5 %", "test 95 %", "0", "20", "100 %"} <= set(texts)
    assert len(lines_of(root)) == 4


def test_points_are_where_the_axes_say() -> None:
    """Loss 2 / e: the first epoch at 1/20 of the width and on the tick 2, the last near 0."""
    root, _ = parse(draw_curves("run", epochs(20)))
    loss = lines_of(root)[0]
    left, right = 64.0, 820.0 - 132
    assert loss[0][0] == pytest.approx(left + (right - left) / 20, abs=0.1)
    assert loss[-1][0] == right
    ticks = {
        text.text: float(text.attrib["y"]) - 4
        for text in root.iter(f"{SVG}text")
        if text.attrib.get("text-anchor") == "end"
    }
    assert loss[0][1] == pytest.approx(ticks["2"], abs=0.1)
    assert loss[1][1] == pytest.approx(ticks["1"], abs=0.1)


def test_one_epoch_without_watched_clips_is_a_dot_each() -> None:
    root, texts = parse(draw_curves("run", epochs(1, monitored=False)))
    assert len(list(root.iter(f"{SVG}circle"))) == 2 and not lines_of(root)
    assert "training 2" in texts and "mixing starts" not in texts


def test_thousands_of_epochs_stay_a_small_file() -> None:
    picture = draw_curves("run", epochs(3500))
    assert len(picture) < 60_000
    assert lines_of(parse(picture)[0])[0][-1][0] == 820 - 132


def test_labels_of_equal_curves_do_not_overlap() -> None:
    same = [{"epoch": e, "loss": 0.0, "accuracy": 1.0, "monitor_accuracy": 1.0} for e in (1.0, 2.0)]
    root, _ = parse(draw_curves("run", same))
    labels = [t for t in root.iter(f"{SVG}text") if "100 %" in (t.text or "") and " 1" in t.text]
    heights = sorted(float(label.attrib["y"]) for label in labels)
    assert len(heights) == 2 and heights[1] - heights[0] >= 14


values = st.floats(0, 1) | st.just(0.0) | st.just(1.0)


@given(
    st.lists(st.tuples(st.floats(0, 1e6), values, values), min_size=1, max_size=30),
    st.integers(0, 40),
)
def test_any_figures_are_drawn_inside_the_frame(
    figures: list[tuple[float, float, float]], mixing: int
) -> None:
    history = [
        {"epoch": float(i), "loss": loss, "accuracy": a, "monitor_accuracy": b}
        for i, (loss, a, b) in enumerate(figures, 1)
    ]
    root, _ = parse(draw_curves("run", history, [(0, 0.0), (1, 1e-3)], mixing_from=mixing))
    height = float(root.attrib["height"])
    spots = list(itertools.chain(*lines_of(root))) + [
        (float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter(f"{SVG}circle")
    ]
    assert all(63.9 <= x <= 688.1 and 60 <= y <= height - 40 for x, y in spots)
