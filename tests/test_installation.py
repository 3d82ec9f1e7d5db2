"""The command that a message advises reaches the environment that lacks something."""

from __future__ import annotations

import json
import re
import shlex
import sys
from importlib import metadata
from pathlib import Path

import pytest

from gmme_edge import installation
from gmme_edge.inputs import read_toml
from gmme_edge.installation import Installation, Tool, describe, find_extra

FOLDER = {"url": "file:///home/ann/gmme%20edge", "dir_info": {"editable": True}}
COPIED = {"url": "file:///home/ann/gmme-edge", "dir_info": {}}
WHEEL = {"url": "file:///tmp/gmme_edge-0.1.0-py3-none-any.whl", "archive_info": {}}
COMMIT = {
    "url": "https://example.org/ann/gmme-edge.git",
    "vcs_info": {"vcs": "git", "commit_id": "0c1d2e", "requested_revision": "main"},
}
FROM_GIT = '"gmme-edge[train] @ git+https://example.org/ann/gmme-edge.git@0c1d2e"'


def installed(
    folder: Path, direct_url: dict[str, object] | None, installer: str = "pip\n"
) -> Installation:
    """What is read of an environment that holds nothing but the installer's notes."""
    notes = folder / "gmme_edge-0.1.0.dist-info"
    notes.mkdir(parents=True)
    (notes / "METADATA").write_text("Metadata-Version: 2.4\nName: gmme-edge\nVersion: 0.1.0\n")
    (notes / "INSTALLER").write_text(installer)
    if direct_url:
        (notes / "direct_url.json").write_text(json.dumps(direct_url))
    return describe(metadata.Distribution.at(notes), folder, folder / "bin" / "python")


@pytest.mark.parametrize(
    ("direct_url", "told"),
    [
        (None, '"gmme-edge[train]"'),
        (FOLDER, '-e "/home/ann/gmme edge[train]"'),
        (COPIED, '"/home/ann/gmme-edge[train]"'),
        (WHEEL, '"gmme-edge[train] @ file:///tmp/gmme_edge-0.1.0-py3-none-any.whl"'),
        (COMMIT, FROM_GIT),
        ({**COMMIT, "subdirectory": "x"}, FROM_GIT[:-1] + '#subdirectory=x"'),
        ({"url": "x", "vcs_info": []}, '"gmme-edge[train]"'),
    ],
)
def test_the_product_is_named_as_it_was_installed(
    tmp_path: Path, direct_url: dict[str, object] | None, told: str
) -> None:
    found = installed(tmp_path, direct_url)
    assert found.command("train") == f"{tmp_path}/bin/python -m pip install {told}"


def test_a_shells_own_pip_has_its_short_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = installed(tmp_path, None)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pip").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert found.command("cpu") == 'pip install "gmme-edge[cpu]"'
    assert found.pip("install", "soxr") == "pip install soxr"


@pytest.mark.parametrize("without_pip", [False, True])
def test_an_environment_of_uv_needs_no_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_pip: bool
) -> None:
    if without_pip:  # whoever installed the product, only uv can add to it
        monkeypatch.setattr(installation, "find_spec", lambda _: None)
    found = installed(tmp_path, None, "pip" if without_pip else "uv")
    assert found.command("cpu") == f'uv pip install -p {tmp_path} "gmme-edge[cpu]"'
    assert found.pip("uninstall", "onnxruntime") == f"uv pip uninstall -p {tmp_path} onnxruntime"


def test_uv_beside_the_interpreter_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = installed(tmp_path, None, "uv")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").touch(0o755)
    monkeypatch.setenv("PATH", "")
    assert found.pip("install", "soxr") == f"{tmp_path}/bin/uv pip install -p {tmp_path} soxr"


def test_pipx_installs_into_its_own_environment(tmp_path: Path) -> None:
    (tmp_path / "gmme-edge").mkdir()
    (tmp_path / "gmme-edge" / "pipx_metadata.json").write_text("{}")
    found = installed(tmp_path / "gmme-edge", None)
    assert found.command("cpu") == 'pipx runpip gmme-edge install "gmme-edge[cpu]"'


RECEIPT = """[tool]
requirements = [{ name = "gmme-edge", extras = ["cpu", "sign"], directory = "/x" }]
"""


@pytest.mark.parametrize(
    ("receipt", "told"), [(RECEIPT, "cpu,sign,train"), ("[tool]\n", "train"), ("odd", "train")]
)
def test_a_tool_of_uv_keeps_the_extras_that_it_has(tmp_path: Path, receipt: str, told: str) -> None:
    (tmp_path / "uv-receipt.toml").write_text(receipt)
    found = installed(tmp_path, COPIED, "uv")
    assert found.command("train") == f'uv tool install "/home/ann/gmme-edge[{told}]"'
    assert found.command("sign").count("sign") == 1


def test_what_runs_here_is_found() -> None:
    found = installation.find_installation()
    assert found.prefix == Path(sys.prefix)
    assert "[cpu]" in found.command("cpu") and "install" in found.command("cpu")


@pytest.mark.parametrize("tool", ["pip", "uv", "pipx", "uv tool"])
def test_a_folder_of_any_name_stays_one_word(tool: Tool, tmp_path: Path) -> None:
    found = Installation(tool, tmp_path / "it's", tmp_path / "it's/python", "/a $b/`c`", True)
    words = shlex.split(found.command("cpu"))
    assert words[-2:] == ["-e", "/a $b/`c`[cpu]"]


EXTRAS: dict[str, list[str]] = read_toml(Path(__file__).parents[1] / "pyproject.toml")["project"][
    "optional-dependencies"
]


def noted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The product's extras as an installer notes them."""
    notes = folder / "gmme_edge-0.1.0.dist-info"
    notes.mkdir()
    lines = [
        f"Requires-Dist: {requirement}; extra == '{extra}'"
        for extra, requirements in EXTRAS.items()
        for requirement in requirements
    ]
    core = ["Requires-Dist: soxr>=0.5", "Requires-Dist: tomli>=2; python_version < '3.11'"]
    text = "\n".join(["Metadata-Version: 2.4", "Name: gmme-edge", "Version: 0.1.0", *core, *lines])
    (notes / "METADATA").write_text(text + "\n")
    product = metadata.Distribution.at(notes)
    monkeypatch.setattr(metadata, "requires", lambda name: product.requires)
    wheel = Installation("pip", folder, folder / "bin" / "python")
    monkeypatch.setattr(installation, "find_installation", lambda: wheel)


@pytest.mark.parametrize(
    ("package", "extra"),
    [
        ("torch", "train"),  # export brings it as well, and more
        ("onnx", "export"),
        ("onnxruntime", "cpu"),
        ("tensorrt_rtx", "tensorrt-rtx"),
        ("tensorrt", "tensorrt"),
        ("lightning_fabric", "train"),
        ("prometheus_client", "serve"),
        ("ray", "ray"),
        ("distributed", "dask"),
        ("soxr", ""),
        ("tomli", ""),
        ("abacus", ""),
    ],
)
def test_the_smallest_extra_that_brings_a_package_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, extra: str
) -> None:
    noted(tmp_path, monkeypatch)
    assert find_extra(package) == extra


def test_whatever_an_extra_brings_is_found_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted(tmp_path, monkeypatch)
    for requirements in EXTRAS.values():
        for requirement in requirements:
            name = re.split(r"[^\w.-]", requirement)[0]
            assert any(each.startswith(name) for each in EXTRAS[find_extra(name)])


def test_a_checkout_says_itself_what_its_extras_bring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was noted when it was installed may be older than the extra."""

    def absent(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    (tmp_path / "pyproject.toml").write_text(
        '[project]\noptional-dependencies = {new = ["abacus[beads]>=1"]}\n'
    )
    checkout = Installation("pip", tmp_path, tmp_path / "python", str(tmp_path), True)
    monkeypatch.setattr(installation, "find_installation", lambda: checkout)
    assert (find_extra("abacus"), find_extra("torch")) == ("new", "")
    (tmp_path / "pyproject.toml").unlink()
    assert find_extra("abacus") == ""
