"""The page in a real browser: a dropped recording, the microphone, and a clean console."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.report.browser import Browser, open_browser
from tests.service.running import running

pytestmark = pytest.mark.slow

DROP = """
const dropped = new DataTransfer();
dropped.items.add(new File([new Uint8Array(%s)], "noise.wav"));
document.dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true }));
"""


def wait_for(browser: Browser, text: str) -> None:
    end_s = time.monotonic() + 90
    while text not in (told := browser.run("return document.body.innerText")):
        assert time.monotonic() < end_s, told
        time.sleep(0.2)


def test_the_page_hears_a_file_and_the_microphone(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000 * 3)
    soundfile.write(tmp_path / "noise.wav", sound, 16_000)
    fake = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    with (
        running(tmp_path / "bundle") as service,
        open_browser(*fake, f"--use-file-for-fake-audio-capture={tmp_path / 'noise.wav'}") as page,
    ):
        page.open(service.url)
        wait_for(page, "Ready: 3 labels")
        page.run(DROP % list((tmp_path / "noise.wav").read_bytes()))
        wait_for(page, "Most probably")
        assert page.run("return document.querySelectorAll('#bars div').length") == 3
        page.run("document.getElementById('threshold').value = 0.35")
        page.run("document.getElementById('microphone').click()")
        wait_for(page, "Listening at")
        wait_for(page, "%")
        time.sleep(2)
        page.run("document.getElementById('microphone').click()")
        wait_for(page, "Heard ")
        bad = [one for one in page.complaints() if one["level"] in ("SEVERE", "WARNING")]
        assert bad == []
