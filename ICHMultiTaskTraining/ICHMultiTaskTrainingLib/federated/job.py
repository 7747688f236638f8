"""Federated training as an NVIDIA FLARE job, simulated on this machine with one process per hospital."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from ICHMultiTaskLib.common.errors import DependencyError, InputError, OutputError
from ICHMultiTaskLib.common.writing import write_json

from ..data.manifest import read_manifest
from ..training.config import make_config
from ..training.run_folder import check_start
from .site import START, check_settings

if TYPE_CHECKING:
    from nvflare.job_config.api import FedJob

SITE = Path(__file__).with_name("site.py")
JOB = "ichmultitask"
MIN_SITES = 2


def federate(sites: Mapping[str, Path], output: Path, rounds: int, settings: dict, device: str = "auto") -> dict:
    """Train one model on several separate manifests, each in its own process on this machine.

    Parameters
    ----------
    sites : mapping of str to path
        Manifest of each hospital, by the hospital's name.
    output : path
        New or empty folder. Receives one run folder per hospital, with `bundle` in it, and FLARE's files in `flare`.
    rounds : int
        Training rounds; after each, the weights are averaged, weighted by the hospitals' numbers of scans.
    settings : dict
        Arguments of `make_config`, including `preset`.
    device : str

    Returns
    -------
    dict of str to Path
        Bundle of each hospital: shared weights, calibrated on the hospital's own validation patients.

    Raises
    ------
    DependencyError
        If NVIDIA FLARE is not installed.
    InputError
        If settings or a manifest cannot be used.
    OutputError
        If a hospital's process ended without writing a bundle.
    """
    from ICHMultiTaskLib.model.runtime import choose_device

    choose_device(device)  # refused here and not by each hospital's process
    output = Path(output).resolve()
    job = make_job(sites, output, rounds, settings, device)
    with _importable():
        status = job.simulator_run(str(output / "flare"), clients=list(sites), threads=len(sites))
    bundles = {name: output / name / "bundle" for name in sites}
    missing = [name for name, bundle in bundles.items() if not (bundle / "configs" / "metadata.json").is_file()]
    if missing or status:
        found = f"none of {', '.join(missing)}" if missing else f"an error of NVIDIA FLARE (status {status})"
        raise OutputError(
            f"The federated training failed: expected a model of every hospital, found {found}. See the logs below "
            f"{output / 'flare'}."
        )
    return bundles


@contextmanager
def _importable() -> Iterator[None]:
    """Let the hospitals' processes import this software, even if it is not installed."""
    modules = Path(__file__).resolve().parents[2]
    before = os.environ.get("PYTHONPATH")
    folders = [str(modules), str(modules.parent / "ICHMultiTask"), *([before] if before else [])]
    os.environ["PYTHONPATH"] = os.pathsep.join(folders)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def make_job(sites: Mapping[str, Path], output: Path, rounds: int, settings: dict, device: str = "auto") -> FedJob:
    """Check settings and manifests, and make the job for NVIDIA FLARE.

    Takes the parameters of `federate`, and raises the same errors.

    Returns
    -------
    nvflare.job_config.api.FedJob
        For FLARE's simulator on this machine.
    """
    config = make_config(**settings)
    check_settings(config)
    if len(sites) < MIN_SITES:
        raise InputError(f"There are too few hospitals: expected at least {MIN_SITES}, found {len(sites)}.")
    epochs = len(config.reductions())
    if not 1 <= rounds <= epochs:
        raise InputError(f"Each round needs at least one epoch: expected 1 to {epochs} rounds, found {rounds}.")
    for name, manifest in sites.items():
        try:
            check_start(read_manifest(manifest), config)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
    try:
        from nvflare.app_common.workflows.fedavg import FedAvg
        from nvflare.client.config import ExchangeFormat
        from nvflare.fuel.utils.constants import FrameworkType
        from nvflare.job_config.api import FedJob
        from nvflare.job_config.script_runner import ScriptRunner
    except ImportError as error:
        raise DependencyError(
            f"NVIDIA FLARE is needed for a federated training; {error.name} is not installed: pip install nvflare."
        ) from error
    output = Path(output)
    if output.exists() and any(output.iterdir()):
        raise OutputError(f"The folder {output} is not empty: expected a new folder.")
    plans = {name: output / f"{name}.json" for name in sites}
    output.mkdir(parents=True, exist_ok=True)
    for name, manifest in sites.items():
        where = {"manifest": str(Path(manifest).resolve()), "output": str(output / name)}
        write_json(plans[name], where | {"settings": settings, "device": device})
    job = FedJob(name=JOB, min_clients=len(sites))
    # In one additional round, each hospital calibrates the averaged model on its own patients. The server only
    # averages: it needs neither PyTorch nor the network.
    job.to_server(FedAvg(num_clients=len(sites), num_rounds=rounds + 1, persistor_id="", model={START: 0.0}))
    for name, plan in plans.items():
        runner = ScriptRunner(
            str(SITE),
            quote(str(plan)),  # FLARE splits a script's arguments at every space
            framework=FrameworkType.RAW,
            server_expected_format=ExchangeFormat.RAW,
        )
        job.to(runner, name)
    return job
