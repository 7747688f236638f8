"""What a model made from another owes to it: its calibration, and what it has to say of it."""

import numpy as np

from ICHMultiTaskLib.model.calibration import AS_THE_NETWORK_SAYS

from .config import starting_bundle

ORIGIN = ("name", "version", "license", "training_data", "sha256")
"""Of each model that another was made from, in its metadata under `derived_from`."""
DEFAULT_NAME, DEFAULT_VERSION = "ich-multitask", "0.1.0"


def death_weight(config, death):
    """How many times more than a survival a death counts in the loss: as many as there are more survivals.

    Parameters
    ----------
    config : TrainingConfig
    death : ndarray of shape (N,)
        Outcomes of the training scans.

    Returns
    -------
    float
        1 where the settings do not ask for it, or the outcomes are probabilities.
    """
    if not config.death_weighting or config.outcome != "died" or not len(death):
        return 1.0
    mean = float(np.clip(np.mean(death), 0.05, 0.95))
    return (1.0 - mean) / mean


def uncalibrated(config, death):
    """The calibration of a run where its own scans are too few for one.

    Parameters
    ----------
    config : TrainingConfig
    death : ndarray of shape (N,)
        Outcomes of the training scans.

    Returns
    -------
    dict
        That of the bundle which the run starts from, as far as its heads were trained. Deaths that weigh more in the
        loss are weighed back: a weight of w makes the odds w times too high.
    """
    found = start_calibration(config)
    return found | {"bias": found["bias"] - float(np.log(death_weight(config, death)))}


def start_calibration(config):
    """What a run's outputs are read by while it learns: the calibration of its start, none without one.

    Returns
    -------
    dict
        `temperature`, `bias` and, where there is one, `volume_correction`.
    """
    if config.start_from is None:
        return dict(AS_THE_NETWORK_SAYS)
    bundle = starting_bundle(config.start_from)
    calibration = bundle.metadata["calibration"]
    found = dict(AS_THE_NETWORK_SAYS)
    if "prognosis" in bundle.tasks:
        found |= {name: calibration[name] for name in found if name in calibration}
    if "volume" in bundle.tasks:
        found["volume_correction"] = calibration.get("volume_correction")
    return found


def derived(metadata, bundles, how, name=None, version=None, data=None):
    """Metadata of a model made from others: a name and version of its own, and theirs.

    Parameters
    ----------
    metadata : dict
        Of the new bundle; returned changed.
    bundles : sequence of ModelBundle
        What it was made from.
    how : str
        Such as "fine-tuned"; ends the name where none is given.
    name, version : str, optional
    data : str, optional
        What was added to the training data.

    Returns
    -------
    dict
    """
    last = bundles[-1]
    licenses = list(dict.fromkeys(bundle.metadata["license"] for bundle in bundles))
    base = last.training_data.split("; calibrated on ")[0]
    return metadata | {
        "name": name or f"{last.name.removesuffix('-' + how)}-{how}",
        "version": version or DEFAULT_VERSION,
        "license": " AND ".join(licenses),
        "training_data": f"{base}; {how} {data}" if data else base,
        "derived_from": [{"how": how} | {key: bundle.metadata[key] for key in ORIGIN} for bundle in bundles],
    }
