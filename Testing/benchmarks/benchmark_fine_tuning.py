"""What the preset `fine-tune` does to the shipped model's error, for several numbers of local patients.

    python Testing/benchmarks/benchmark_fine_tuning.py --output DIR [--patients 300 --local 20 50 200 --draws 10]

Simulates the same patients scanned in several ways. For each, local patients are drawn again and again, the model is
fine-tuned on them, and measured on all that were not drawn. The trainer itself runs, but on pooled features of the
encoder that are computed once, since the preset leaves the encoder as it is. Prints a table in Markdown.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "ICHMultiTask"), str(ROOT / "ICHMultiTaskTraining")]

from ICHMultiTaskLib.common.tables import read_csv, write_csv  # noqa: E402
from ICHMultiTaskLib.model.calibration import output_to_volume  # noqa: E402
from ICHMultiTaskLib.model.networks.base import STAGES  # noqa: E402
from ICHMultiTaskLib.model.volume_correction import correct_volume  # noqa: E402
from ICHMultiTaskLib.simulation import SimulationSettings, write_cohort  # noqa: E402
from ICHMultiTaskTrainingLib.data.batches import load  # noqa: E402
from ICHMultiTaskTrainingLib.data.cache import CachedScans, prepare_all  # noqa: E402
from ICHMultiTaskTrainingLib.data.manifest import read_manifest  # noqa: E402
from ICHMultiTaskTrainingLib.training.config import SHIPPED, make_config, starting_bundle  # noqa: E402
from ICHMultiTaskTrainingLib.training.trainer import Trainer  # noqa: E402

SCANNERS = {
    "like those of its training": {},
    "7 mm slices, noise of 8 HU, +4 HU": {"thickness_mm": 7.0, "noise_hu": 8.0, "offset_hu": 4.0},
    "8 mm slices, +6 HU": {"thickness_mm": 8.0, "offset_hu": 6.0},
    "a sharp kernel": {"kernel": "sharp"},
    "10 mm slices, +14 HU": {"thickness_mm": 10.0, "offset_hu": 14.0},
}


class OnFeatures(Trainer):
    """A trainer whose images are pooled features, and that keeps no checkpoints."""

    def _build(self):
        super()._build()
        take_features(self.network)
        # The other weights stay where they are, so that pulling them to the start only takes time.
        head = self.optimization.network = self.network.volume_head
        self.optimization.anchors = [parameter.detach().clone() for parameter in head.parameters()]

    def network_of(self, state, architecture=None):
        """As in `Trainer`, for pooled features."""
        return take_features(super().network_of(state, architecture))

    def use(self, features):
        """Replace the images of the scans; `features` are by patient."""
        for scans, rows in ((self.scans, self.training_rows), (self.validation, self.validation_rows)):
            own = torch.from_numpy(np.stack([features[row.patient_id] for row in rows]))
            scans.take = lambda chosen, device, own=own: [255 * own[chosen], torch.zeros(len(chosen), 1, 1, 1)]

    def _save(self):
        pass

    _keep_best = _save


def take_features(network):
    """Let a network take pooled features [N, 1, C, 1, 1] in place of images."""
    network.features = lambda x: ((stage, x.transpose(1, 2)) for stage in STAGES)
    return network


def features_of(rows, bundle, cache):
    """Pooled features [C, 1, 1] and crop volume of each scan."""
    scans = CachedScans(rows, prepare_all(rows, bundle.metadata["preprocessing"], cache))
    network, found = bundle.network().eval(), []
    with torch.no_grad():
        for n in range(len(rows)):
            features = dict(network.features(load(scans, np.array([n]), 1, "cpu")[0]))[STAGES[-1]]
            found.append(network.neck(features).mean((2, 3, 4))[0, :, None, None].numpy())
    return np.stack(found), scans.crop_volume_mm3


def errors(state, features, crops, truth, bundle):
    """Absolute errors in mL of the volume head's weights, with the correction of the start."""
    weight, bias = (state[f"volume_head.dense.{name}"].float().numpy() for name in ("weight", "bias"))
    output = features[:, :, 0, 0] @ weight.reshape(-1) + bias
    volumes = output_to_volume(output, bundle.metadata["target"], crops)
    return np.abs(correct_volume(volumes, bundle.metadata["calibration"].get("volume_correction")) - truth)


def draws_of(count, manifest, features, crops, bundle, options):
    """Changes of the MAE by the last epoch and by the preset, and whether the start was given back, for each draw."""
    rows = read_manifest(manifest).rows
    table = [record for _, record in read_csv(manifest).records()]
    truth, found = np.array([row.volume_ml for row in rows]), []
    by_patient = {row.patient_id: values for row, values in zip(rows, features)}
    for draw in range(options.draws):
        local = np.random.default_rng([count, draw]).permutation(len(rows))[:count]
        outside = np.setdiff1d(np.arange(len(rows)), local)
        with tempfile.TemporaryDirectory() as folder:
            records = [
                table[n] | {key: str(getattr(rows[n], key).resolve()) for key in ("image", "mask")} for n in local
            ]
            write_csv(Path(folder) / "manifest.csv", records, tuple(records[0]))
            config = make_config("fine-tune", start_from=options.model, seed=draw)
            trainer = OnFeatures(
                read_manifest(Path(folder) / "manifest.csv"), config, Path(folder) / "run", "cpu", cache=options.cache
            )
            validated = {row.patient_id for row in trainer.validation_rows}
            trainer.training_rows = [rows[n] for n in local if rows[n].patient_id not in validated]
            trainer.use(by_patient)
            trainer.run()
            choice = trainer.choose()
        before, last, chosen = (
            errors(state, features[outside], crops[outside], truth[outside], bundle).mean()
            for state in (trainer.start_state, trainer.network.state_dict(), choice.state)
        )
        found.append((last - before, chosen - before, choice.is_start))
    return np.array(found)


def main():
    """Simulate, fine-tune, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument(
        "--patients", type=int, default=300, help="simulated patients, local ones and those for testing"
    )
    parser.add_argument("--local", type=int, nargs="+", default=[20, 50, 200])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--seed", type=int, default=94)
    parser.add_argument("--matrix", type=int, default=256)
    parser.add_argument("--model", default=SHIPPED)
    parser.add_argument("--processes", type=int, default=1, help="for the simulation")
    parser.add_argument("--scanners", type=int, nargs="+", default=range(len(SCANNERS)), help="numbers, from 0")
    options = parser.parse_args()
    options.cache, bundle = options.output / "cache", starting_bundle(options.model)
    print(f"{bundle.name} {bundle.metadata['version']}, {options.patients} patients, {options.draws} draws\n")
    head = (
        "local scans",
        "start's MAE",
        "local patients",
        "last epoch: mean, worst",
        "preset: mean, worst",
        "start kept",
    )
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for number, (name, scanner) in enumerate(SCANNERS.items()):
        if number not in options.scanners:
            continue
        settings = SimulationSettings(slices=None, matrix=options.matrix, **scanner)
        manifest = write_cohort(
            options.patients,
            options.seed,
            options.output / f"scans-{number}",
            settings=settings,
            processes=options.processes,
        )
        rows = read_manifest(manifest).rows
        features, crops = features_of(rows, bundle, options.cache)
        truth = np.array([row.volume_ml for row in rows])
        start = errors(bundle.network().state_dict(), features, crops, truth, bundle).mean()
        for count in options.local:
            last, chosen, kept = draws_of(count, manifest, features, crops, bundle, options).T
            cells = [f"{values.mean():+.2f}, {values.max():+.2f}".replace("-", "−") for values in (last, chosen)]
            kept = f"{kept.sum():.0f} of {len(kept)}"
            print(f"| {' | '.join((name, f'{start:.2f}', str(count), *cells, kept))} |", flush=True)


if __name__ == "__main__":
    main()
