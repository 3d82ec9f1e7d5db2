"""How this product came onto the machine, and so which command adds a part to it.

pip, uv, pipx and `uv tool` install into different places; a checkout, an archive and an index have
different names for the same product. A message whose command does not fit helps nobody.

Every load of a bundle imports this module, for messages that it seldom shows: what takes long to
import is imported by those that need it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import shlex
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from importlib.metadata import Distribution

PRODUCT = "gmme-edge"
Tool = Literal["pip", "uv", "pipx", "uv tool"]


def install_command(extra: str) -> str:
    """What brings an extra of this product, such as ``train``."""
    return find_installation().command(extra)


def find_extra(package: str) -> str:
    """The smallest extra of this product that brings a package of that name; "" for none."""
    wanted, brought = _normalize(package), _extras()
    fitting = [extra for extra, names in brought.items() if wanted in names]
    return min(fitting, key=lambda extra: (len(brought[extra]), extra), default="")


def _extras() -> dict[str, set[str]]:
    """What each extra brings: as a checkout says, else as the installer noted."""
    place = find_installation()
    if place.editable:  # what was noted when it was installed may be old
        with contextlib.suppress(OSError, ValueError, KeyError, ImportError):
            if sys.version_info >= (3, 11):
                import tomllib
            else:
                import tomli as tomllib
            text = (Path(place.source) / "pyproject.toml").read_text(encoding="utf-8")
            project = tomllib.loads(text)["project"]
            return {
                extra: {_normalize(re.split(r"[^\w.-]", each)[0]) for each in requirements}
                for extra, requirements in project["optional-dependencies"].items()
            }
    from importlib import metadata

    brought: dict[str, set[str]] = {}
    with contextlib.suppress(metadata.PackageNotFoundError):
        for requirement in metadata.requires(PRODUCT) or []:
            found = re.match(r"([\w.-]+).*;.*\bextra == [\"']([\w-]+)", requirement)
            if found:
                brought.setdefault(found[2], set()).add(_normalize(found[1]))
    return brought


def _normalize(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pip_command(verb: str, *packages: str) -> str:
    """``pip install soxr``, as it reaches the environment that runs this."""
    return find_installation().pip(verb, *packages)


@dataclass(frozen=True)
class Installation:
    """One way of installing it.

    Attributes:
        prefix: the environment's folder.
        python: its interpreter.
        source: where the product came from: a folder, or the address of an archive or repository;
            empty for a package index.
        editable: a folder that is used in its place.
        extras: those that a tool was asked for, and would drop if they were not named again.
    """

    tool: Tool
    prefix: Path
    python: Path
    source: str = ""
    editable: bool = False
    extras: tuple[str, ...] = ()

    def command(self, extra: str) -> str:
        wanted = ",".join(dict.fromkeys((*self.extras, extra)))
        if self.source.startswith("/"):
            requirement = f"{self.source}[{wanted}]"
        elif self.source:
            requirement = f"{PRODUCT}[{wanted}] @ {self.source}"
        else:
            requirement = f"{PRODUCT}[{wanted}]"
        packages = ["-e"] * self.editable + [requirement]
        if self.tool == "uv tool":
            return "uv tool install " + _join(packages)
        return self.pip("install", *packages)

    def pip(self, verb: str, *packages: str) -> str:
        """A command of pip's, or of whatever is like it in this environment."""
        what = _join(packages)
        if self.tool == "pipx":
            return f"pipx runpip {_join([self.prefix.name])} {verb} {what}"
        if self.tool in ("uv", "uv tool"):
            return f"{_find_uv(self.python)} pip {verb} -p {_join([str(self.prefix)])} {what}"
        return f"{_find_pip(self.python)} {verb} {what}"


@functools.cache
def find_installation() -> Installation:
    """That of the interpreter that runs this."""
    from importlib import metadata

    prefix, python = Path(sys.prefix), Path(sys.executable)
    try:
        return describe(metadata.distribution(PRODUCT), prefix, python)
    except metadata.PackageNotFoundError:  # run from its source
        folder = Path(__file__).resolve().parents[1]
        checkout = str(folder) if (folder / "pyproject.toml").is_file() else ""
        return Installation(_usual_tool(""), prefix, python, checkout, bool(checkout))


def describe(product: Distribution, prefix: Path, python: Path) -> Installation:
    """What the installer noted beside the product's files."""
    source, editable = _read_source(product.read_text("direct_url.json"))
    if (prefix / "pipx_metadata.json").is_file():
        return Installation("pipx", prefix, python, source, editable)
    receipt = prefix / "uv-receipt.toml"
    if receipt.is_file():
        extras = _read_extras(receipt.read_text(encoding="utf-8"))
        return Installation("uv tool", prefix, python, source, editable, extras)
    tool = _usual_tool((product.read_text("INSTALLER") or "").strip())
    return Installation(tool, prefix, python, source, editable)


def _usual_tool(installer: str) -> Tool:
    return "uv" if installer == "uv" or find_spec("pip") is None else "pip"


def _read_source(direct_url: str | None) -> tuple[str, bool]:
    """A folder or an address (PEP 610), and whether it is used in place."""
    try:
        noted = json.loads(direct_url or "{}")
        url = str(noted.get("url", ""))
        if "dir_info" in noted:
            return unquote(urlsplit(url).path), bool(noted["dir_info"].get("editable"))
        if "vcs_info" in noted:
            facts = noted["vcs_info"]
            part = f"#subdirectory={noted['subdirectory']}" if "subdirectory" in noted else ""
            return f"{facts['vcs']}+{url}@{facts['commit_id']}{part}", False
    except (ValueError, TypeError, KeyError, AttributeError):  # no installer wrote that
        return "", False
    return url, False


def _read_extras(receipt: str) -> tuple[str, ...]:
    """Of uv's receipt: ``{ name = "gmme-edge", extras = ["cpu"], … }``."""
    found = re.search(rf'name = "{PRODUCT}", extras = \[([^]]*)\]', receipt)
    return tuple(re.findall(r'"([^"]+)"', found[1])) if found else ()


def _find_pip(python: Path) -> str:
    """``pip`` where a shell would find this environment's own."""
    from shutil import which

    found = which("pip")
    own = found is not None and Path(found).parent == python.parent
    return "pip" if own else f"{_join([str(python)])} -m pip"


def _find_uv(python: Path) -> str:
    from shutil import which

    beside = python.with_name("uv")
    return _join([str(beside)]) if which("uv") is None and beside.is_file() else "uv"


def _join(words: list[str] | tuple[str, ...]) -> str:
    """As a shell takes it; a requirement with an extra in double quotes, as everybody writes it."""
    return " ".join(
        f'"{word}"'
        if re.fullmatch(r"[\w./+@:#= \[\],-]*\[[\w./+@:#= \[\],-]*", word)
        else shlex.quote(word)
        for word in words
    )
