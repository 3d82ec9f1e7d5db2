"""The page, in a real headless Chromium."""

from __future__ import annotations

import errno
import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import gmme_edge
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.data.synthetic import synthesize
from gmme_edge.errors import DiskFullError, MissingDependencyError, UsageError
from gmme_exporters.web.site import find_runtime, write_site
from tests.examples.streams import case, difference
from tests.examples.tools import EXAMPLES, PACKAGES, VECTORS, change_a_byte, needs, run
from tests.report.browser import Browser, open_browser

RATE_HZ = 48_000
RULES = gmme_edge.EventRules(0.6, merge_gap_s=0.5)  # the page's


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}/index.html"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("npm:onnxruntime-web")
    folder = tmp_path_factory.mktemp("web") / "site"
    for name in ("esc10", "digits"):
        write_site(Bundle.open(name), folder, find_runtime(PACKAGES / "onnxruntime-web"))
    return folder


def wait_for(browser: Browser, script: str, seconds: float = 90) -> Any:  # noqa: ANN401
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = browser.run(f"return {script}")
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{script}: {browser.run('return document.body.innerText')}")


def sound() -> np.ndarray:
    """Silence, a sound, silence, another one, silence."""
    quiet = np.zeros(2 * RATE_HZ, np.float32)
    bell = synthesize("bell", RATE_HZ, 2 * RATE_HZ, (1, 1))
    clicks = synthesize("clicks", RATE_HZ, 2 * RATE_HZ, (2, 1))
    return np.concatenate([quiet, bell, quiet, clicks, quiet])


def python_events(name: str, samples: np.ndarray, rate_hz: int) -> list[dict[str, Any]]:
    with gmme_edge.load(name, threads=1) as classifier:
        stream = gmme_edge.Stream(classifier, rules=RULES)
        return [e.to_dict() for e in (*stream.push(samples, rate_hz), *stream.flush())]


def same_events(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Up to what the two resampling filters differ by."""
    assert [e["label"] for e in found] == [e["label"] for e in expected] != []
    for ours, theirs in zip(found, expected, strict=True):
        assert abs(ours["start_sample"] - theirs["start_sample"]) <= 1
        assert abs(ours["end_sample"] - theirs["end_sample"]) <= 1
        assert ours["peak"] == pytest.approx(theirs["peak"], abs=5e-3)


def page_events(browser: Browser) -> list[dict[str, Any]]:
    script = "[...document.querySelectorAll('#events li')].map(e => e.dataset.event).reverse()"
    return [json.loads(text) for text in browser.run(f"return {script}")]


def choose(browser: Browser, recording: Path) -> None:
    node = browser.devtools("DOM.getDocument")["root"]["nodeId"]
    chosen = browser.devtools("DOM.querySelector", nodeId=node, selector="#file")["nodeId"]
    browser.devtools("DOM.setFileInputFiles", nodeId=chosen, files=[str(recording)])


def complaints(browser: Browser) -> list[Any]:
    return [each for each in browser.complaints() if each["level"] in ("SEVERE", "WARNING")]


@pytest.mark.slow
def test_page_gives_pythons_events_of_a_recording(site: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sound(), RATE_HZ)
    samples, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    with served(site) as url, open_browser() as browser:
        browser.open(url)
        error = wait_for(browser, "document.body.dataset.golden")
        assert float(error) < 1e-4
        assert browser.run("return self.crossOriginIsolated")
        assert int(browser.run("return document.body.dataset.threads")) >= 1
        assert browser.run("return [...document.querySelectorAll('#model option')].length") == 2
        choose(browser, tmp_path / "a.wav")
        wait_for(browser, "document.body.dataset.stopped")
        found = page_events(browser)
        predictions = json.loads(wait_for(browser, "document.body.dataset.predictions"))
        assert complaints(browser) == []
    same_events(found, python_events("digits", samples, RATE_HZ))
    with gmme_edge.load("digits") as classifier:
        best = classifier.classify_file(tmp_path / "a.wav")[0]
    assert predictions[0]["label"] == best.label
    assert predictions[0]["probability"] == pytest.approx(best.probability, abs=5e-3)


@pytest.fixture(scope="module")
def vectors_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A page that has the shared code, and `window.vectors` to check it with."""
    folder = tmp_path_factory.mktemp("vectors")
    for name in ("gmme_edge.js", "check_vectors.js"):
        shutil.copy(EXAMPLES / "node" / name, folder)
    shutil.copy(VECTORS, folder / "vectors.json")
    (folder / "index.html").write_text("<!doctype html><meta charset=utf-8><title>v</title>")
    with served(folder) as url, open_browser() as browser:
        browser.open(url)
        yield browser


@pytest.mark.slow
def test_vectors_pass_in_the_browser(vectors_page: Browser) -> None:
    script = """return import('./check_vectors.js').then(async (code) =>
      code.check(await (await fetch('vectors.json')).json()))"""
    assert vectors_page.run(script) == {"count": 10, "failed": []}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_streams_in_the_browser_give_pythons_events(vectors_page: Browser, seed: int) -> None:
    expected = case(seed)
    script = f"return import('./check_vectors.js').then((c) => c.streamOne({json.dumps(expected)}))"
    assert difference(vectors_page.run(script), expected) < 1e-6


@pytest.mark.slow
def test_page_works_offline_once_loaded(site: Path) -> None:
    with open_browser() as browser:
        with served(site) as url:
            browser.open(url)
            wait_for(browser, "document.body.dataset.golden")
        browser.open(url)  # the server is gone
        assert float(wait_for(browser, "document.body.dataset.golden")) < 1e-4


_KEEP_WHAT_IS_HEARD = """
const post = Worker.prototype.postMessage;
window.heard = [];
Worker.prototype.postMessage = function (message, ...rest) {
  if (message.kind === 'start') window.rate_hz = message.rate_hz;
  if (message.kind === 'chunk') window.heard.push(...message.samples);
  return post.call(this, message, ...rest);
};"""


@pytest.mark.slow
def test_a_microphone_gives_pythons_events(site: Path, tmp_path: Path) -> None:
    """Held to Python on the samples that reached the worker: where they begin is Chromium's."""
    soundfile.write(tmp_path / "mic.wav", sound(), RATE_HZ, "PCM_16")
    fake = (
        "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={tmp_path}/mic.wav%noloop",
        "--autoplay-policy=no-user-gesture-required",
    )  # fmt: skip
    with served(site) as url, open_browser(*fake) as browser:
        browser.open(url)
        wait_for(browser, "document.body.dataset.golden")
        browser.run(_KEEP_WHAT_IS_HEARD)
        browser.run("document.getElementById('microphone').click()")
        wait_for(browser, "document.getElementById('microphone').ariaPressed === 'true'")
        time.sleep(len(sound()) / RATE_HZ + 1)
        browser.run("document.getElementById('microphone').click()")
        wait_for(browser, "document.body.dataset.stopped")
        found = page_events(browser)
        assert complaints(browser) == []
        heard = np.array(browser.run("return window.heard"), np.float32)
        rate_hz = browser.run("return window.rate_hz")
    assert np.abs(heard).max() > 0.1
    same_events(found, python_events("digits", heard, rate_hz))


@pytest.mark.slow
def test_a_changed_byte_is_told(site: Path, tmp_path: Path) -> None:
    write_site(Bundle.open("digits"), tmp_path / "site", site / "ort")
    change_a_byte(tmp_path / "site" / "bundles" / "digits" / "golden.npz")
    with served(tmp_path / "site") as url, open_browser() as browser:
        browser.open(url)
        text = wait_for(browser, "document.querySelector('#status.bad')?.textContent")
    assert "SHA-256" in text


@pytest.mark.slow
def test_a_file_that_is_no_recording_is_told_and_leaves_no_other_result(
    site: Path, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", sound(), RATE_HZ)
    soundfile.write(tmp_path / "silent.wav", sound()[:0], RATE_HZ)
    (tmp_path / "notes.txt").write_text("no sound")
    bad = "document.querySelector('#status.bad')?.textContent"
    with served(site) as url, open_browser() as browser:
        browser.open(url)
        wait_for(browser, "document.body.dataset.golden")
        choose(browser, tmp_path / "a.wav")
        wait_for(browser, "document.body.dataset.predictions")
        choose(browser, tmp_path / "notes.txt")
        assert "notes.txt is no recording that this browser can decode" in wait_for(browser, bad)
        assert browser.run("return document.querySelectorAll('#bars div, #events li').length") == 0
        choose(browser, tmp_path / "silent.wav")
        wait_for(browser, f"{bad} === 'silent.wav holds no sound.'")


@pytest.mark.slow
def test_a_page_that_is_opened_the_wrong_way_says_the_right_one(site: Path) -> None:
    status = "document.getElementById('status').textContent"
    unsafe = "--host-resolver-rules=MAP page.test 127.0.0.1"
    with served(site) as url, open_browser(unsafe) as browser:
        browser.open(url.replace("localhost", "page.test"))
        wait_for(browser, f"{status}.includes('only over https, or from localhost')")
        browser.open(site / "index.html")
        wait_for(browser, f"{status}.includes('python3 -m http.server')")


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_page_fits_its_width(site: Path, width: int) -> None:
    with served(site) as url, open_browser() as browser:
        browser.open(url, width)
        wait_for(browser, "document.body.dataset.golden")
        assert browser.run("return document.documentElement.scrollWidth") <= width
        unnamed = "[...document.querySelectorAll('input,select')].filter(e => !e.labels.length)"
        assert browser.run(f"return {unnamed}.length") == 0


@pytest.mark.slow
def test_page_serves_a_keyboard_a_screen_reader_and_the_dark(site: Path) -> None:
    with served(site) as url, open_browser() as browser:
        browser.open(url)
        wait_for(browser, "document.body.dataset.golden")
        focused = []
        for _ in range(5):
            browser.press("Tab")
            focused.append(browser.run("return document.activeElement.id"))
        assert focused == ["model", "precision", "threshold", "microphone", "file"]
        assert (
            browser.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
        )
        browser.devtools("Accessibility.enable")
        nodes = browser.devtools("Accessibility.getFullAXTree")["nodes"]
        told = [(each["role"]["value"], each.get("name", {}).get("value", "")) for each in nodes
                if not each["ignored"]]  # fmt: skip
        controls = ("button", "combobox", "spinbutton", "image", "form", "region")
        assert all(name for role, name in told if role in controls)
        assert {role for role, _ in told} >= {*controls, "status", "list", "heading", "main"}
        assert "thread" in browser.run("return document.getElementById('status').textContent")
        light = browser.run("return getComputedStyle(document.body).backgroundColor")
        dark = {"name": "prefers-color-scheme", "value": "dark"}
        browser.devtools("Emulation.setEmulatedMedia", features=[dark])
        assert browser.run("return getComputedStyle(document.body).backgroundColor") != light


def fake_runtime(folder: Path) -> Path:
    folder.mkdir()
    for name in ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.mjs",
                 "ort-wasm-simd-threaded.wasm"):  # fmt: skip
        (folder / name).write_text(name)
    return folder


def test_a_page_offers_every_bundle_that_was_added(tmp_path: Path) -> None:
    runtime = find_runtime(fake_runtime(tmp_path / "ort"))
    for name in ("esc10", "digits", "esc10"):
        write_site(Bundle.open(name), tmp_path / "site", runtime)
    values = json.loads((tmp_path / "site" / "site.json").read_text())
    assert values["bundles"] == ["esc10", "digits"]
    assert Bundle.open(tmp_path / "site" / "bundles" / "esc10").golden()
    assert not list((tmp_path / "site").glob(".new-*"))


def test_a_page_that_was_not_finished_can_be_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = find_runtime(fake_runtime(tmp_path / "ort"))
    with monkeypatch.context() as patch:
        patch.setattr("gmme_exporters.web.site._PAGE", tmp_path / "gone")
        with pytest.raises(OSError, match="gone"):
            write_site(Bundle.open("digits"), tmp_path / "site", runtime)
    assert write_site(Bundle.open("digits"), tmp_path / "site", runtime).is_file()
    values = json.loads((tmp_path / "site" / "site.json").read_text())
    assert values["bundles"] == ["digits"]


def test_a_full_disk_is_told_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.copyfile

    def copy(source: Path, to: Path, **how: Any) -> Any:  # noqa: ANN401 - as shutil has it
        if str(source).endswith(".wasm"):
            raise OSError(errno.ENOSPC, "No space left on device", str(source))
        return real(source, to, **how)

    runtime = find_runtime(fake_runtime(tmp_path / "ort"))
    monkeypatch.setattr("gmme_exporters.web.site.shutil.copyfile", copy)
    with pytest.raises(DiskFullError, match=f"{tmp_path}/site could not be written: No space"):
        write_site(Bundle.open("digits"), tmp_path / "site", runtime)
    monkeypatch.undo()
    assert write_site(Bundle.open("digits"), tmp_path / "site", runtime).is_file()


def test_a_page_is_not_written_over_other_files(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="no page"):
        write_site(Bundle.open("digits"), tmp_path, fake_runtime(tmp_path / "ort"))
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_the_command_says_which_package_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="npm install"):
        find_runtime(tmp_path)


@pytest.mark.slow
def test_export_writes_the_page(tmp_path: Path) -> None:
    runtime = fake_runtime(tmp_path / "ort")
    out, page = tmp_path / "my-bundle", tmp_path / "page"
    run(sys.executable, "-m", "gmme_edge.cli.app", "export", "digits", "-o", out,
        "--precision", "fp32", "--opset", "17", "--web", page, "--ort-web", runtime)  # fmt: skip
    assert json.loads((page / "site.json").read_text())["bundles"] == ["my-bundle"]
    assert Bundle.open(page / "bundles" / "my-bundle").golden()
    assert (page / "index.html").is_file()
