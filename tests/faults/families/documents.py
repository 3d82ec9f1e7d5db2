"""Files that users write or pass on: results, configurations, fleets, keys and lists of labels."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.engine import Case, command
from tests.faults.families import misuse
from tests.faults.mutations import Content, broken_bytes, broken_texts, mutated, write

SEED = 2612
PER_PLACE = 3
FORMS = (".html", ".md", ".json", ".csv", ".tex")
FLEET = """
ssh_config = "ssh.conf"
[[host]]
ssh = "user@orin.local"
name = "orin"
python = "/usr/bin/python3"
backend = "tensorrt"
power_modes = [0, 2]
[[host]]
ssh = "pi"
"""
CONFIG = """
[profile]
threads = "1,2"
repetitions = 5
[train]
set = ["mixing=false"]
lr = 0.1
no-augment = true
[models]
task = "esc50"
"""
TOML = ("", "x", "[", "a = ", "[a]\n[a]", "a = 1\na = 2", "\ufeff" + CONFIG, CONFIG * 2,
        "a = " + "[" * 5000, "a = " + "9" * 5000, "[[host]]", "host = 3", "[profile]\nx = 1",
        "[profile]\nthreads = 1979-05-27", "[profile]\nrepetitions = 1e400",
        "[profile]\nrepetitions = 99999999999999999999", "[models]\ntask = \"\\u0000\"",
        "[models]\ntask = true", "[models]\ntask = [\"a\"]", "[models]\nhelp = true",
        "[\"\"]\na = 1", "[models.x]\na = 1", "[profile]\nthreads = nan", "[[models]]\na = 1",
        "[profile]\n\"\" = 1", "[models]\njson = true", "[models]\nquiet = \"yes\"",
        "[train]\nset = \"a\"")  # fmt: skip


def prepare(shared: Path) -> None:
    from gmme_edge.spec import get_task, preset

    misuse.prepare(shared)
    bundle = shared / "bundle"
    quick = ["--repetitions", 2, "--warmup", 0]
    for what, name in (([], "latency"), (["--layers"], "layers")):
        if command("profile", bundle, *quick, *what, "-o", shared / f"{name}.json"):
            raise RuntimeError(name)
    fold = {"accuracy": 0.5, "correct": 1, "n": 2, "wilson_95": [0.1, 0.9]}
    answers = {"clips": ["a", "b"], "true": ["dog", "cat"], "predicted": ["dog", "dog"]}
    document = {
        "schema": 1, "kind": "cross-validation", "model": "eat-s-aa", "dataset": "esc50",
        "split": "test", "spec": preset("eat-s-aa", get_task("esc50")).to_dict(),
        "labels": ["dog", "cat"],
        "pooled": {"accuracy": 0.75, "correct": 3, "n": 4, "wilson_95": [0.3, 0.95]},
        "folds": [{"fold": k, "checkpoint_sha256": c * 64, "predictions": answers, **fold}
                  for k, c in enumerate("ab", 1)],
    }  # fmt: skip
    (shared / "folds.json").write_text(json.dumps(document))
    shutil.copy(shared / "result.json", shared / "accuracy.json")
    unfinished(shared)


def unfinished(shared: Path) -> None:
    """What a measurement that was cut short leaves."""
    from gmme_edge.bundle.bundle import Bundle
    from gmme_edge.profiling.latency import Contender
    from gmme_edge.profiling.rounds import LatencySettings
    from gmme_edge.profiling.unfinished import open_unfinished

    contender = Contender(Bundle.open(shared / "bundle"), "ort-cpu", "fp32")
    begun = open_unfinished(shared / "begun.json", [contender], LatencySettings(0, 3))
    begun.samples.ms[0].extend([1.0, 2.0])
    begun.samples.rounds = 2
    begun.save()


def make_cases(shared: Path) -> list[Case]:
    rng = random.Random(SEED)
    return [*_results(shared, rng), *_tables(), *_keys(shared, rng), *_others(shared, rng)]


def use_result(shared: Path, name: str, raw: Content, form: str, folder: Path) -> None:
    """Every command that reads a result."""
    path = folder / "x.json"
    write(path, raw)
    whole = shared / name
    command("compare", path, "-o", folder / f"r{form}")
    command("compare", whole, path, "--json", "--fail-if", "latency>+5%,size>+1%,accuracy<-0.5")
    command("paired", path, whole)
    command("rerun", path, "--dry-run")


def _results(shared: Path, rng: random.Random) -> Iterator[Case]:
    for name in ("latency.json", "accuracy.json", "layers.json", "folds.json"):
        text = (shared / name).read_text()
        values = json.loads(text)
        changed: dict[str, Content] = dict(mutated(values, rng, PER_PLACE, _is_far))
        for i, (what, raw) in enumerate({**changed, **broken_texts(text)}.items()):
            act = partial(use_result, shared, name, raw, FORMS[i % len(FORMS)])
            yield Case(f"{name}: {what}", act, limit_s=20.0)
    for what, raw in broken_texts((shared / "accuracy.json").read_text()).items():
        yield Case(f"against: {what}", partial(_against, shared, raw), limit_s=20.0)


def _is_far(place: tuple[Any, ...]) -> bool:
    """Deep in a list of equal things, or in what is only shown."""
    numbers = [part for part in place if isinstance(part, int)]
    return bool(numbers and max(numbers) > 1) or place[0] in ("device", "state") or len(place) > 4


def _against(shared: Path, raw: Content, folder: Path) -> None:
    write(folder / "x.json", raw)
    words = misuse._right(shared, folder)["evaluate"]
    command("evaluate", *words, "--against", folder / "x.json")


def _tables() -> Iterator[Case]:
    for i, text in enumerate((CONFIG, *TOML)):

        def configured(folder: Path, text: str = text) -> None:
            (folder / "gmme-edge.toml").write_text(text)
            for words in (["models"], ["profile", "nowhere"], ["train", "--help"]):
                command(*words)

        def fleet(folder: Path, text: str = text) -> None:
            from gmme_edge.workflows.remote.hosts import read_fleet

            (folder / "fleet.toml").write_text(text)
            read_fleet(folder / "fleet.toml")

        yield Case(f"gmme-edge.toml {i}: {text[:20]!a}", configured)
        yield Case(f"fleet {i}: {text[:20]!a}", fleet)
    for key in ("ssh", "name", "python", "backend"):
        for value in ("", "-oProxyCommand=x", "a b", "$(x)", "\\u0000", "x" * 500, "..", "é"):

            def host(folder: Path, key: str = key, value: str = value) -> None:
                from gmme_edge.workflows.remote.hosts import read_fleet

                lines = {"ssh": "a", key: value}
                text = "[[host]]\n" + "".join(f'{k} = "{v}"\n' for k, v in lines.items())
                (folder / "fleet.toml").write_text(text)
                read_fleet(folder / "fleet.toml")

            yield Case(f"fleet {key} = {value[:20]!a}", host)
    for name in ("a folder", "a pipe", "a link to itself", "/dev/zero"):

        def placed(folder: Path, name: str = name) -> None:
            place = misuse.PLACES[name](folder)
            (folder / "gmme-edge.toml").symlink_to(place)
            command("models", "--task", "esc50")

        yield Case(f"gmme-edge.toml is {name}", placed)


def _keys(shared: Path, rng: random.Random) -> Iterator[Case]:
    for name in ("key", "key.pub"):
        content = (shared / name).read_bytes()
        texts = {"a line": b"RWQ=", "two lines": b"a\nb\n", "Latin-1": b"\xe9" * 100, "long":
                 b"A" * 100_000, "no line end": content.strip(), "CRLF":
                 content.replace(b"\n", b"\r\n")}  # fmt: skip
        for what, raw in {**broken_bytes(content, rng), **texts}.items():
            yield Case(f"{name}: {what}", partial(_with_key, shared, name, raw))


def _with_key(shared: Path, name: str, raw: bytes, folder: Path) -> None:
    bundle = shutil.copytree(shared / "signed", folder / "b")
    (folder / "k").write_bytes(raw)
    if name == "key":
        command("sign", bundle, "--key", folder / "k")
    else:
        command("sign", bundle, "--key", shared / "key")
        command("verify", bundle, "--trust", folder / "k")


def _others(shared: Path, rng: random.Random) -> Iterator[Case]:
    begun = (shared / "begun.json.part").read_text()
    changed: dict[str, Content] = dict(mutated(json.loads(begun), rng, 8, lambda _: False))
    for what, raw in {**changed, **broken_texts(begun)}.items():
        yield Case(f"begun: {what}", partial(_go_on, shared, raw))
    contents: dict[str, Content] = {
        "empty": b"", "one": b"a", "ten": b"\n".join(b"%d" % i for i in range(10)),
        "twice": b"a\n" * 10, "blank": b"\n" * 10, "Latin-1": b"\xe9\n" * 10, "zeros": bytes(100),
        "a mark": b"\xef\xbb\xbfa\nb", "UTF-16": "a\nb\n".encode("utf-16"), "vast":
        lambda: b"a\n" * 30_000_000,
    }  # fmt: skip
    for what, raw in contents.items():

        def labelled(folder: Path, raw: Content = raw) -> None:
            write(folder / "labels", raw)
            command("convert", *misuse._right(shared, folder)["convert"], "--labels",
                    folder / "labels")  # fmt: skip

        yield Case(f"labels: {what}", labelled, limit_s=20.0)
    graph = (shared / "bundle" / "model.fp32.onnx").read_bytes()
    engine = {**broken_bytes(graph, rng), **broken_texts('{"Layers": [], "Bindings": []}')}
    for what, raw in engine.items():

        def inspected(folder: Path, raw: Content = raw) -> None:
            for name in ("x.onnx", "x.engine", "x.json"):
                write(folder / name, raw)
                command("engine-info", folder / name)

        yield Case(f"engine-info: {what}", inspected)


def _go_on(shared: Path, raw: Content, folder: Path) -> None:
    write(folder / "r.json.part", raw)
    command("profile", shared / "bundle", "--repetitions", 3, "--warmup", 0, "-o",
            folder / "r.json")  # fmt: skip
