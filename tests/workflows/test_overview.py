"""The page that shows an archive: its counts against the table of events, and in a browser."""

from __future__ import annotations

import base64
import csv
import io
import re
import struct
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import soundfile

from gmme_edge.report.render.spectrogram import draw_spectrogram
from gmme_edge.workflows import scanning
from gmme_edge.workflows.archive import overview
from gmme_edge.workflows.settings.listening import EventSettings
from gmme_edge.workflows.settings.scanning import ScanSettings
from tests.report.browser import open_browser
from tests.workflows.test_scanning import MODEL, noise

RULES = EventSettings(hop_ms=250, on=0.2, gate=False)
EVIL = "<img src=x onerror=alert(1)>&\"'.wav"


def make_archive(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for seed, name in enumerate(names):
        soundfile.write(folder / name, noise(3, seed), 8000)
    return folder


def run(archive: Path, output: Path, **options: Any) -> str:  # noqa: ANN401
    chosen = ScanSettings(output=output, overview=True, **options)
    with ThreadPoolExecutor(2) as pool:
        found = scanning.scan(MODEL, [archive], chosen, RULES, executor=pool)
    return found.files["overview"].read_text()


def events(output: Path) -> list[dict[str, str]]:
    with (output / "events.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def tables(page: str) -> list[tuple[list[str], dict[str, list[str]]]]:
    """Heads of columns, and label → cells, of every table of the page."""
    found = []
    for table in re.findall(r"<table>.*?</table>", page, re.S):
        columns = re.findall(r'<th scope="col">(.*?)</th>', table)[1:]
        rows = {
            re.search(r'<th scope="row".*?>(.*?)</th>', row, re.S)[1]: re.findall(  # type: ignore[index]
                r"<td[^>]*>(.*?)</td>", row, re.S
            )
            for row in re.findall(r"<tr[^>]*><th scope=\"row\".*?</tr>", table, re.S)
        }
        found.append((columns, rows))
    return found


def test_the_tables_count_the_events_by_local_hour_and_day(tmp_path: Path) -> None:
    names = ("20240330_230000.wav", "20240331_040000.wav", "20240402_230000.wav", EVIL)
    page = run(make_archive(tmp_path / "in", *names), tmp_path / "out", timezone="Europe/Berlin")
    dated = [row for row in events(tmp_path / "out") if row["start_utc"]]
    assert len({row["path"] for row in dated}) == 3
    local = [
        (
            row["label"],
            datetime.fromisoformat(row["start_utc"]).astimezone(ZoneInfo("Europe/Berlin")),
        )
        for row in dated
    ]
    (hours, by_hour), (days, by_day) = tables(page)
    assert hours == [f"{hour:02d}" for hour in range(24)]
    assert days == ["03-30", "03-31", "04-01", "04-02"]
    for columns, cells, form in ((hours, by_hour, "%H"), (days, by_day, "%m-%d")):
        wanted = Counter((label, at.strftime(form)) for label, at in local)
        for label, row in cells.items():
            if label != "hours recorded":
                assert [int(n or 0) for n in row] == [wanted[label, c] for c in columns]
        recorded = [
            column for column, hours in zip(columns, cells["hours recorded"], strict=True) if hours
        ]
        assert recorded == sorted({at.strftime(form) for _, at in local})
    assert "1 recordings, which the tables by time leave out" in page


def test_names_are_escaped_and_nothing_is_fetched(tmp_path: Path) -> None:
    page = run(make_archive(tmp_path / "in", EVIL), tmp_path / "out")
    assert EVIL not in page and "&lt;img src=x" in page
    assert "all recordings in a row" in page
    for kind, uri in re.findall(r'(src|href)="([^"]*)"', page):
        assert uri.startswith("data:" if kind == "src" else "#")
    assert "http:" not in page and "https:" not in page


def test_the_clips_are_the_most_confident_events_and_hold_their_sound(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "in", "a.wav", "b.wav", "c.wav")
    page = run(archive, tmp_path / "out")
    found = events(tmp_path / "out")
    for label, section in re.findall(
        r'<section class="label" data-label="(.*?)">(.*?)</section>', page, re.S
    ):
        shown = re.findall(r"<strong>(\d+) %</strong>", section)
        best = sorted((float(r["confidence"]) for r in found if r["label"] == label), reverse=True)
        assert shown == [f"{100 * value:.0f}" for value in best[:4]]
    kinds = re.findall(r'src="data:(audio/\w+);base64,([^"]*)"', page)
    assert len(kinds) == len(re.findall("data:image/png", page)) > 0
    for _, data in kinds:
        sound, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(data)))
        assert 1.9 <= len(sound) / rate_hz <= 6.2 and 0.5 < np.abs(sound).max() <= 1
    (archive / "a.wav").unlink()
    (archive / "a.wav").write_text("gone")
    assert overview.cut_clip(b"a.wav", 0, 1, 8000).sound == b""


def test_a_tone_is_a_line_at_its_frequency() -> None:
    time_s = np.arange(16_000) / 8000
    picture = draw_spectrogram(np.sin(2 * np.pi * 1000 * time_s).astype(np.float32), 8000)
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", picture[16:24])
    data, at = b"", 8
    while at < len(picture):
        (size,) = struct.unpack(">I", picture[at : at + 4])
        name = picture[at + 4 : at + 8]
        assert struct.unpack(">I", picture[at + 8 + size : at + 12 + size])[0] == zlib.crc32(
            picture[at + 4 : at + 8 + size]
        )
        data += picture[at + 8 : at + 8 + size] if name == b"IDAT" else b""
        at += 12 + size
    rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, width + 1)[:, 1:]
    loudest = rows[:, width // 4 : -width // 4].astype(int).sum(axis=1).argmax()
    assert abs((height - 1 - loudest) / height - 1000 / 4000) < 1.5 / height
    assert draw_spectrogram(np.zeros(5, np.float32), 8000)  # silence, and shorter than a frame


@pytest.mark.slow
def test_the_overview_in_a_real_browser(tmp_path: Path) -> None:
    run(
        make_archive(tmp_path / "in", "20240330_230000.wav", "20240331_040000.wav", "x.wav"),
        tmp_path / "out",
        timezone="+01:00",
    )
    page = tmp_path / "out/overview.html"
    shown = "return [...document.querySelectorAll('section.label:not([hidden])')].length"
    with open_browser("--autoplay-policy=no-user-gesture-required") as browser:
        for width in (360, 820, 1400):
            browser.open(page, width)
            assert browser.run("return document.documentElement.scrollWidth <= innerWidth"), width
            browser.screenshot(tmp_path / f"{width}.png")
        assert browser.run("return [...document.images].every(i => i.naturalWidth == 320)")
        assert browser.run("return document.images.length") > 1
        lasts = browser.run(
            "const sound = document.querySelector('audio'); sound.muted = true; sound.play();"
            "return new Promise(done => { sound.onplaying = () => done(sound.duration);"
            " sound.onerror = () => done(-1); setTimeout(() => done(-2), 20000); })"
        )
        assert 1.9 < lasts < 6.3
        label = browser.run("return document.querySelector('section.label').dataset.label")
        browser.run(f"filter.value = '{label}'; filter.dispatchEvent(new Event('input'))")
        assert browser.run(shown) == 1
        browser.run("filter.value = ''; filter.dispatchEvent(new Event('input'))")
        paper = "return getComputedStyle(document.body).backgroundColor"
        light = browser.run(paper)
        dark = [{"name": "prefers-color-scheme", "value": "dark"}]
        browser.devtools("Emulation.setEmulatedMedia", features=dark)
        assert browser.run(paper) != light
        browser.screenshot(tmp_path / "dark.png")
        reached = browser.run(
            "return [...document.querySelectorAll('a, input, audio, [tabindex]')]"
            ".filter(e => { e.focus(); return document.activeElement === e; }).length"
        )
        assert reached == browser.run(
            "return document.querySelectorAll('a, input, audio, [tabindex]').length"
        )
        tree = browser.devtools("Accessibility.getFullAXTree")["nodes"]
        roles = {node["role"]["value"] for node in tree}
        assert {"main", "table", "columnheader", "rowheader", "heading", "image"} <= roles
        assert browser.complaints() == []
