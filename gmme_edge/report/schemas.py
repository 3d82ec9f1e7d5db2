"""The published JSON schemas, made of the classes that describe results and outputs.

``python -m gmme_edge.report.schemas`` writes them to ``gmme_edge/report/schemas/``.
"""

from __future__ import annotations

from inspect import cleandoc
from pathlib import Path
from typing import Any

from msgspec.json import schema

from gmme_edge.files import write_json
from gmme_edge.profiling.latency import LatencyStatistics
from gmme_edge.report import comparison_outputs, fleet_outputs, listening_outputs, outputs
from gmme_edge.report.documents import KINDS

FOLDER = Path(__file__).parent / "schemas"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_CONFIG = {"type": "string", "description": "The gmme-edge.toml that gave options, if one did."}

OUTPUTS: dict[str, Any] = {
    "models": outputs.Models,
    "doctor": outputs.Doctor,
    "verify": outputs.Verify,
    "predict": list[outputs.Recording],
    "evaluation": outputs.Evaluation,
    "engine-layers": outputs.EngineLayers,
    "convert": outputs.Converted,
    "train": outputs.Trained,
    "manifest": outputs.Manifest,
    "paired": outputs.Paired,
    "comparison": comparison_outputs.Compared,
    "paper": comparison_outputs.Paper,
    "cache": listening_outputs.Cache,
    "microphones": list[listening_outputs.Microphone],
    "event": listening_outputs.HeardEvent,
    "gap": listening_outputs.HeardGap,
    "scan": listening_outputs.Scanned,
    "fleet": fleet_outputs.Fleet,
    "similar": list[listening_outputs.SimilarWindow],
}

COMMANDS = {
    "cache": ("cache",),
    "compare": ("comparison", "paper"),
    "convert": ("convert",),
    "demo": ("comparison",),
    "doctor": ("doctor",),
    "engine-info": ("engine-layers",),
    "evaluate": ("evaluation", "accuracy"),
    "export": ("manifest",),
    "listen": ("event", "gap", "microphones"),
    "models": ("models",),
    "paired": ("paired",),
    "predict": ("predict",),
    "profile": ("latency", "layers", "roofline", "fleet"),
    "scan": ("scan",),
    "sensitivity": ("sensitivity",),
    "similar": ("similar",),
    "train": ("train", "cross-validation"),
    "verify": ("verify",),
}
"""Which schemas a command's ``--json`` follows."""


def all_schemas() -> dict[str, dict[str, Any]]:
    """Name → JSON schema, of every result file and every output."""
    return {name: make_schema(name, kind) for name, kind in {**KINDS, **OUTPUTS}.items()}


def make_schema(name: str, kind: object) -> dict[str, Any]:
    """The schema of one type, without what is no part of a file."""
    made = {"$schema": _DIALECT, "title": name, **schema(kind)}
    parts: dict[str, Any] = made.get("$defs", {})
    for part in parts.values():
        part.get("properties", {}).pop("source" if name in KINDS else "", None)
    if "LatencyRow" in parts:
        figures = schema(LatencyStatistics)["$defs"]["LatencyStatistics"]
        parts["LatencyRow"]["properties"].update(figures["properties"])
    if top := parts.get(made.get("$ref", "").rpartition("/")[2]):  # no list
        top["properties"]["config"] = _CONFIG
    if name in KINDS:
        # A field with a default may be missing in old files, but these name what a file is.
        parts[KINDS[name].__name__]["required"] += ["schema", "kind"]
    return {key: _settled(value) for key, value in made.items()}


def _settled(part: object) -> Any:  # noqa: ANN401 - any JSON value
    """The same for every release of msgspec.

    They indent docstrings differently, and not all of them name a default that is empty.
    """
    if isinstance(part, list | tuple):
        return [_settled(each) for each in part]
    if not isinstance(part, dict):
        return part
    done = {key: _settled(value) for key, value in part.items()}
    if done.get("default") in ([], {}):
        del done["default"]
    if isinstance(text := done.get("description"), str):
        done["description"] = cleandoc(text)
    return done


def write_schemas(folder: Path = FOLDER) -> None:
    """One file per schema."""
    for name, content in all_schemas().items():
        write_json(folder / f"{name}.json", content)


if __name__ == "__main__":
    write_schemas()
