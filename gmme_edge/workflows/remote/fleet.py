"""`profile` on other machines: all hosts at once, a host's bundles and power modes in turn."""

from __future__ import annotations

import functools
import json
import queue
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.bundle.manifest import MANIFEST
from gmme_edge.bundle.reading import read_bounded
from gmme_edge.errors import GmmeEdgeError, PartialError, PlatformError, UsageError
from gmme_edge.observer import SILENT, Observer
from gmme_edge.profiling.latency import LatencyRow
from gmme_edge.report.documents import LatencyResult, load_result
from gmme_edge.settings import command_line, is_given
from gmme_edge.workflows.remote.hosts import Host, make_hosts, read_fleet
from gmme_edge.workflows.remote.job import SCRIPT, Job, run_job
from gmme_edge.workflows.settings.profiling import ProfileSettings
from gmme_edge.workflows.settings.remote import RemoteSettings

_FORWARDED = (
    "precision", "warmup", "repetitions", "threads", "batch", "stream", "hop_ms", "energy",
    "energy_rounds", "energy_window_s",
)  # fmt: skip
_BACKENDS = ("tensorrt", "ort-cpu")
_MOST_MANIFEST_BYTES = 16 << 20


@dataclass(frozen=True)
class RemoteRun:
    """What one host made of one bundle: a result, or why there is none."""

    host: Host
    bundle: str
    document: dict[str, Any] | None = None
    result: LatencyResult | None = None
    error: GmmeEdgeError | None = None

    @property
    def label(self) -> str:
        return f"{self.host.label}-{self.bundle}"

    def to_dict(self) -> dict[str, Any]:
        """As `report.fleet_outputs` describes it."""
        return {
            "host": self.host.name,
            "ssh": self.host.ssh,
            "power_mode": self.host.power_mode,
            "bundle": self.bundle,
            "error": str(self.error) if self.error else None,
            "result": self.document,
        }


def profile_remote(
    bundles: Sequence[str | Path],
    settings: ProfileSettings,
    where: RemoteSettings,
    observer: Observer = SILENT,
) -> list[RemoteRun]:
    """Measure bundles on other machines, which need Python 3.8, numpy and an engine library.

    Each gets the bundle and one script for the time of the run; nothing stays there.

    Raises:
        UsageError: no bundle, an option that the script has not, or no such host.
        BundleError: a bundle that is damaged here.
    """
    arguments, backend = _arguments(settings), _backend(settings)
    ssh_config = where.ssh_config
    if where.fleet:
        hosts, of_fleet = read_fleet(where.fleet)
        ssh_config = ssh_config or of_fleet
    else:
        hosts = make_hosts(where.remote, where.remote_python)
    opened = [Bundle.open(path) for path in bundles]
    if not opened:
        raise UsageError("There is nothing to measure.", "at least one bundle.")
    files = {bundle.path.resolve().name: _files(bundle) for bundle in opened}
    if len(files) < len(opened):
        raise UsageError("Two bundles have one name.", "folders of different names.")
    command = command_line("profile", bundles, settings, where)

    def run(host: Host, name: str, say: Callable[[str], None], stop: threading.Event) -> RemoteRun:
        own = [*arguments, "--backend", host.backend or backend]
        try:
            content = run_job(Job(host, files[name], own, ssh_config), say, stop)
            document, result = _read(content, host, name, command)
        except GmmeEdgeError as error:
            return RemoteRun(host, name, error=error)
        return RemoteRun(host, name, document, result)

    return _run_all(hosts, list(files), run, observer)


def measured_rows(runs: Sequence[RemoteRun]) -> list[LatencyRow]:
    """Of all machines that measured."""
    return [row for run in runs if run.result for row in run.result.rows]


def check_runs(runs: Sequence[RemoteRun]) -> None:
    """Raise what failed: the machine's own error where no other measured.

    Raises:
        PartialError: some machines measured, and others did not.
    """
    failed = [run for run in runs if run.error]
    if failed and len(failed) == len(runs) and failed[0].error:
        raise failed[0].error
    if failed:
        raise PartialError(
            f"{len(failed)} of {len(runs)} runs failed: {', '.join(run.label for run in failed)}.",
            "all of them.",
            "see above.",
        )


def _run_all(
    hosts: Sequence[Host], names: Sequence[str], run: Callable[..., RemoteRun], observer: Observer
) -> list[RemoteRun]:
    """A thread per machine; what they say is told here, in the caller's thread."""
    machines: dict[str, list[Host]] = {}
    for host in hosts:
        machines.setdefault(host.ssh, []).append(host)
    heard: queue.Queue[str] = queue.Queue()
    stop = threading.Event()
    done: dict[tuple[str, str], RemoteRun] = {}
    total = len(hosts) * len(names)

    def work(own: Sequence[Host]) -> None:
        for host in own:
            for name in names:
                if stop.is_set():
                    return
                say = functools.partial(_say, heard, host.label)
                done[host.label, name] = run(host, name, say, stop)

    def tell(wait_s: float) -> None:
        try:
            observer.note(heard.get(timeout=wait_s))
        except queue.Empty:
            observer.progress("machines", len(done), total)

    observer.stage(f"other machines: {total} runs")
    with ThreadPoolExecutor(max_workers=len(machines)) as pool:
        futures: list[Future[None]] = [pool.submit(work, own) for own in machines.values()]
        try:
            while not all(future.done() for future in futures):
                tell(0.2)
        finally:
            stop.set()  # after Ctrl-C; the pool waits until every machine has cleaned up
    for future in futures:
        future.result()
    while not heard.empty():
        tell(0)
    return [done[host.label, name] for host in hosts for name in names]


def _say(heard: queue.Queue[str], label: str, line: str) -> None:
    heard.put(f"{label}: {line}")


def _arguments(settings: ProfileSettings) -> list[str]:
    """Of the script; other options of `profile` are refused."""
    names = [name for name in vars(settings) if is_given(settings, name)]
    if others := [name for name in names if name not in (*_FORWARDED, "backend")]:
        flags = ", ".join("--" + name.replace("_", "-") for name in others)
        raise UsageError(f"{flags} with --remote.", "options that the script for boards has.")
    words = []
    for name in _FORWARDED:
        flag, value = "--" + name.replace("_", "-"), str(getattr(settings, name))
        if name != "precision" and "," in value:
            raise UsageError(f"{flag} {value} with --remote.", "one value.")
        if (name in names or name == "threads") and (name, value) != ("threads", "auto"):
            words += [flag] if name == "energy" else [flag, value]
    return words


def _backend(settings: ProfileSettings) -> str:
    """The one that was asked for; without a word TensorRT, or ONNX Runtime where there is none."""
    if settings.backend is None:
        return "auto"
    if settings.backend not in _BACKENDS:
        raise UsageError(f"--backend {settings.backend} with --remote.", "tensorrt or ort-cpu.")
    return settings.backend


def _files(bundle: Bundle) -> dict[str, bytes]:
    """All that the manifest lists, compared with its hashes, and the script."""
    from gmme_exporters.board.assemble import device_script

    files = {MANIFEST: read_bounded(bundle.path, MANIFEST, _MOST_MANIFEST_BYTES)}
    for file in bundle.manifest.files:
        files[file.path] = bundle.checked_bytes(file)
    files[SCRIPT] = device_script().encode()
    return files


def _read(
    content: bytes, host: Host, bundle: str, command: str
) -> tuple[dict[str, Any], LatencyResult]:
    """The other side's result, checked as any file of a stranger."""
    try:
        document = json.loads(content)
        document["rows"] = [{**row, "bundle": bundle} for row in document["rows"]]
        document["device"] = {"host": host.label, **document["device"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PlatformError(f"{host.name} brought no result: {error}.") from error
    document["command"] = command
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"{host.label}.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        result = load_result(path, ("latency",))
    assert isinstance(result, LatencyResult)
    return document, result
