"""From recordings to a comparison without the command line: train, calibrate, export, profile.

    python examples/python/pipeline.py SOUNDS -o OUT [--epochs 20] [--networks A,B]

SOUNDS has a folder per class. Needs `gmme-edge[train,export]`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gmme_edge
from gmme_edge.observer import Observer
from gmme_edge.report.render.terminal import comparison_tables
from gmme_edge.workflows.settings.calibration import CalibrationSettings
from gmme_edge.workflows.settings.export import BundleSettings, ExportSettings
from gmme_edge.workflows.settings.profiling import ProfileSettings
from gmme_edge.workflows.settings.training import (
    LearningData,
    NetworkSettings,
    RecipeSettings,
    RunSettings,
)
from gmme_edge.workflows.training import TrainingJob


class Printer(Observer):
    """Tells each stage on a line of its own."""

    def stage(self, name: str) -> None:
        print(name, flush=True)


def make_bundle(network: str, sounds: Path, out: Path, epochs: int) -> Path:
    """Train one network on the sounds; export it in float32 and, calibrated on them, in INT8."""
    checkpoint, bundle = out / f"{network}-checkpoint", out / f"{network}-bundle"
    job = TrainingJob(
        data=LearningData(dataset="folder", data=sounds, cache=out / "cache"),
        run=RunSettings(output=checkpoint),
        network=NetworkSettings(model=network, task="speech-commands"),
        recipe=RecipeSettings(epochs=epochs, batch_size=16),
    )
    gmme_edge.train(job)
    settings = ExportSettings(
        bundle=BundleSettings(output=bundle, precision="fp32,int8-ort"),
        calibration=CalibrationSettings(
            calib_dataset="folder", calib_data=sounds, calib_size=32, calib_method="mean+std"
        ),
    )
    return gmme_edge.export(checkpoint, settings, Printer()).bundle.path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sounds", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--networks", default="eat-s-aa,eat-s-gmme-k32c8")
    parser.add_argument("--repetitions", type=int, default=50)
    given = parser.parse_args()
    bundles = [
        make_bundle(network, given.sounds, given.output, given.epochs)
        for network in given.networks.split(",")
    ]
    measured = gmme_edge.profile(bundles, ProfileSettings(repetitions=given.repetitions))
    comparison = gmme_edge.compare([measured])
    from rich.console import Console

    Console().print(comparison_tables(comparison))


if __name__ == "__main__":
    main()
