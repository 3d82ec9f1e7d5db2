"""The Go example: built, and against Python."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import onnxruntime
import pytest

from tests.examples.ports import AppTests, StreamTests, Vectors
from tests.examples.tools import EXAMPLES, PACKAGES, PRETRAINED, VECTORS, needs, run

pytestmark = pytest.mark.slow
GO = EXAMPLES / "go"
HEADERS = "com.github.asus4.onnxruntime"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("go", "gcc", f"npm:{HEADERS}")
    folder = tmp_path_factory.mktemp("go")
    capi = Path(onnxruntime.__file__).parent / "capi"
    library = folder / "libonnxruntime.so.1"  # the wheel's own has its version in its name
    library.symlink_to(next(capi.glob("libonnxruntime.so.*")))
    header = next((PACKAGES / HEADERS).rglob("onnxruntime_c_api.h"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CGO_CFLAGS", f"-I{header.parent} -Wall -Werror")
        patch.setenv("CGO_LDFLAGS", f"{library} -Wl,-rpath,{folder}")
        patch.setenv("GOCACHE", str(folder / "cache"))
        patch.setenv("GOPROXY", "off")  # the standard library is enough
        for command in ("vet .", f"build -buildvcs=false -o {folder}/app ."):
            run("sh", "-c", f"cd {GO} && go {command}", timeout=480)
    assert run("gofmt", "-l", GO) == ""
    return folder / "app"


@pytest.fixture
def vectors(app: Path) -> Vectors:
    return partial(run, app, "vectors")


class TestStreams(StreamTests):
    pass


class TestApp(AppTests):
    def listening(self, rate_hz: int, rules: Path) -> list[object]:
        return [rate_hz, rules]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["verify", "nowhere"], "no such file"),
        (["classify"], "usage"),
        (["listen", str(PRETRAINED / "digits"), "fast"], "a rate of"),
        (["classify", str(PRETRAINED / "digits"), str(VECTORS)], "no WAV file"),
    ],
)
def test_mistakes_are_told_in_a_line(app: Path, words: list[str], text: str) -> None:
    told = run(app, *words, code=2)
    assert told.startswith("error: ") and text in told and told.count("\n") == 1
