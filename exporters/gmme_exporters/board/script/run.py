"""The run."""

import argparse
import math
import platform
import sys
from pathlib import Path
from typing import Dict, List, Tuple

from gmme_edge.profiling.noise import observe
from gmme_exporters.board.script.device import describe_device, temperature_c
from gmme_exporters.board.script.folder import (
    FOLDER,
    Failure,
    Manifest,
    golden,
    read_manifest,
    say,
    sources,
)
from gmme_exporters.board.script.measure import (
    AnyNetwork,
    Engine,
    Failures,
    check_outputs,
    choose_meter,
    open_engine,
    run_once,
    time_networks,
)
from gmme_exporters.board.script.result import add_energy, describe_rows, judge, write_result


def run_all(options: argparse.Namespace) -> int:
    """Everything for all precisions; what fails is told, and the rest goes on."""
    manifest = read_manifest()
    chosen = [name.strip() for name in (options.precision or "").split(",") if name.strip()]
    for precision in chosen:
        sources(manifest, precision)
    engine = open_engine(options.backend, options.threads)
    present = [f["precision"] for f in manifest["files"] if f["role"] == "model"]
    wanted = chosen or [name for name in engine.precisions if name in present]
    device = describe_device(engine.libraries, engine.gpus)
    meter = choose_meter(engine) if options.energy else None
    if options.stream == "paced":
        options.hop_s = options.hop_ms / 1000 if options.hop_ms else half_a_clip_s(manifest)
    networks, parity, failures = open_networks(engine, manifest, wanted, options.batch)
    if networks:
        what = f"timing {', '.join(networks)}: {options.warmup} + {options.repetitions} calls each"
        say(what if options.stream == "single" else f"{what}, {options.stream}")
        before = observe()
        timed = time_networks(networks, golden(manifest)[0], options)
        after = observe()
        failures.update(timed.failures)
        if "temperature_c" in device:
            device["temperature_after_c"] = temperature_c()
        measured = {
            "device": device,
            "parity": parity,
            "state": {"before": before.state, "after": after.state},
            "rows": describe_rows(manifest, engine, options, timed, failures),
            "noise": judge(timed, before, after),
        }
        if meter and timed.ms:
            running = [networks[precision] for precision in timed.ms]
            try:
                add_energy(measured, running, golden(manifest)[0], meter, options)
            except Failure as error:
                failures["energy"] = error
        if timed.ms:
            write_result(options, measured, failures)
    for what, failure in failures.items():
        say(f"{what}: {failure}")
    return next((failure.code for failure in failures.values()), 0)


def half_a_clip_s(manifest: Manifest) -> float:
    return float(manifest["audio"]["n_samples"] / manifest["audio"]["sample_rate_hz"] / 2)


def open_networks(
    engine: Engine, manifest: Manifest, wanted: List[str], batch: int
) -> Tuple[Dict[str, AnyNetwork], Dict[str, Dict[str, float]], Failures]:
    """The networks whose outputs agree, how well they do, and what failed."""
    networks: Dict[str, AnyNetwork] = {}
    parity: Dict[str, Dict[str, float]] = {}
    failures: Failures = {}
    for precision in wanted:
        try:
            network = engine.open(manifest, precision, batch)
            parity[precision] = check_outputs(network, manifest, precision)
            networks[precision] = network
        except Failure as error:
            failures[precision] = error
            say(f"{precision} is left out")
    return networks, parity, failures


def count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1 << 20:
        raise argparse.ArgumentTypeError("a whole number from 1 to 1048576")
    return int(text)


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 3.6e6:
        raise argparse.ArgumentTypeError("a number above 0, and at most 3.6e6")
    return value


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--precision", help="such as fp32,fp16; default: all that the engine runs")
    backends = ("tensorrt", "ort-cpu", "auto")
    parser.add_argument("--backend", choices=backends, default="tensorrt", help="(tensorrt)")
    parser.add_argument("--threads", type=count, help="of ort-cpu; default: it chooses")
    parser.add_argument("--batch", type=count, default=1, help="clips per call (1)")
    parser.add_argument("--warmup", type=count, default=50, help="untimed calls first (50)")
    parser.add_argument("--repetitions", type=count, default=300, help="timed calls (300)")
    streams = ("single", "offline", "paced")
    parser.add_argument("--stream", choices=streams, default="single", help="(single)")
    parser.add_argument("--hop-ms", type=positive, help="of paced calls; default: half a clip")
    parser.add_argument("--energy", action="store_true", help="also measure energy per clip")
    parser.add_argument("--energy-rounds", type=count, default=5, help="windows each (5)")
    parser.add_argument(
        "--energy-window-s", type=positive, default=1.0, help="at least so long (1)"
    )
    parser.set_defaults(hop_s=None)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--plan-sha256", default="", help=argparse.SUPPRESS)
    default = FOLDER / "results" / f"latency-{platform.node() or 'device'}.json"
    parser.add_argument("-o", "--output", type=Path, default=default, help="result file")
    return parser


def main() -> int:
    options = make_parser().parse_args()
    try:
        if options.memory_of:
            run_once(options)
            return 0
        return run_all(options)
    except Failure as error:
        say(str(error))
        return error.code
    except OSError as error:
        say(f"{error}\nFix: free some space, and run as a user who may write here.")
        return 3
    except KeyboardInterrupt:
        say("interrupted; engines that were complete are kept")
        return 130


if __name__ == "__main__":
    sys.exit(main())
