"""One hospital's part: train for some epochs from the averaged weights, and return its own weights.

NVIDIA FLARE runs this file as a script in the hospital's process; `Site` itself does not depend on FLARE.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskTrainingLib.data.manifest import read_manifest
from ICHMultiTaskTrainingLib.training.config import TrainingConfig, make_config

START = "start"
"""Name of the server's first message. It has no weights: all hospitals initialize the same ones from the seed."""


class Site:
    """One hospital's part of a federated training.

    Parameters
    ----------
    manifest : path
        Manifest of the hospital's own scans.
    output : path
        Its run folder.
    settings : dict
        Arguments of `make_config`, including `preset`; equal in all hospitals.
    device : str
    """

    def __init__(self, manifest: str | os.PathLike, output: str | os.PathLike, settings: dict, device: str = "auto"):
        from ICHMultiTaskTrainingLib.training.trainer import Trainer

        config = make_config(**settings)
        check_settings(config)
        self.output = Path(output)
        self.trainer = Trainer(read_manifest(manifest), config, self.output, device, log=print)

    @property
    def scans(self) -> int:
        """Number of training scans: the hospital's weight in the average."""
        return len(self.trainer.scans.died)

    def round(self, weights: Mapping[str, np.ndarray], number: int, rounds: int) -> dict[str, np.ndarray]:
        """Take part in a round. The last round writes the bundle of the averaged weights, without any training.

        Parameters
        ----------
        weights : mapping of str to ndarray
            Average of all hospitals' weights; ignored in the first round.
        number, rounds : int
            Number of the round, from 0, and number of all rounds.

        Returns
        -------
        dict of str to ndarray
            The hospital's weights; in the last round those that it received.
        """
        import torch

        trainer = self.trainer
        if number:
            state = trainer.network.state_dict()
            received = {name: torch.from_numpy(np.array(value)).to(state[name]) for name, value in weights.items()}
            trainer.network.load_state_dict(state | received)
        if number == rounds - 1:
            self._write_bundle()
        else:
            trainer.run(until=round((number + 1) * len(trainer.reductions) / (rounds - 1)))
        return {
            name: value.detach().cpu().numpy()
            for name, value in trainer.network.state_dict().items()
            if value.is_floating_point()  # batch norm's counter of batches stays local
        }

    def _write_bundle(self):
        from ICHMultiTaskTrainingLib.bundles.export import export_bundle
        from ICHMultiTaskTrainingLib.training.selection import Selection

        trainer = self.trainer
        note = (
            "The weights are the average over several hospitals after each round of a federated training; calibration "
            "and validation used only this hospital's patients."
        )
        entry = trainer.measured(trainer.network) | {"epoch": trainer.epoch, "reduction": 1}
        choice = Selection(trainer.network.state_dict(), entry, note)
        data = f"scans of several hospitals, of which {self.scans} of {trainer.manifest_name}"
        data = f"simulated {data}" if trainer.simulated else data
        export_bundle(trainer, self.output / "bundle", None, None, data, "ichmultitask-train federate", choice)


def check_settings(config: TrainingConfig) -> None:
    """Check that the settings suit a federated training.

    Raises
    ------
    InputError
        If an input would depend on one hospital's patients, or hospitals would train for different numbers of epochs.
    """
    if config.clinical and config.start_from is None:
        raise InputError(
            "Clinical variables need a common standardization: expected start_from with a model that defines it, found "
            "none."
        )
    if config.patience is not None:
        raise InputError(
            f"All hospitals must train for the same number of epochs: expected no patience, found {config.patience}."
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Take part until the server ends the training."""
    parser = argparse.ArgumentParser()
    parser.add_argument("plan", help="path, URL-encoded, of JSON with manifest, output, settings and device")
    options = parser.parse_args(arguments)
    import nvflare.client as flare

    plan = json.loads(Path(unquote(options.plan)).read_text(encoding="utf-8"))
    flare.init()
    site = Site(plan["manifest"], plan["output"], plan["settings"], plan["device"])
    while flare.is_running():
        received = flare.receive()
        if received is None:
            break
        params = site.round(received.params, received.current_round, received.total_rounds)
        flare.send(flare.FLModel(params=params, meta={"NUM_STEPS_CURRENT_ROUND": site.scans}))


if __name__ == "__main__":
    main(sys.argv[1:])
