"""The `ichmultitask analyze` command."""

from __future__ import annotations

import argparse
import textwrap
import time
from dataclasses import replace
from pathlib import Path

from ..analysis.findings.finding import findings_text
from ..analysis.prognosis_range import MEANING
from ..analysis.result import Analysis
from ..analysis.second_look import WITHOUT_PROGNOSIS
from ..common.choices import Head, Stage
from ..common.clinical_variables import read_with
from ..common.names import safe_name, stem
from ..common.numbers import NOT_COMPUTED, number, percent, position, probability, probability_range
from ..common.progress import ShellProgress
from ..common.research_use import RESEARCH_USE_IN_FULL
from ..common.writing import new_folder
from ..model.attention import LOCATOR, METHODS, SHOWN_FROM, map_words
from ..model.bundle import ModelBundle, default_bundle
from ..report.comparison import comparison_lines
from ..report.result import HTML_FILE, JSON_FILE, SCENE_FILE, write_report
from ..scan.reading import list_series, read_head_ct
from ..simulation import DEMONSTRATION_SEED, simulate_patient, write_dicom
from . import analyze_options, scan_options

DEMO_FOLDER = "simulated-dicom"
QUICK = ("json", "attention")
"""Outputs of ``--quick``, by their names in `report.WRITERS`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = (
        "Analyze one head CT and write report.html, report.json, attention.nrrd, slices/*.png and scene.mrb. Without "
        "PATH, a head CT with a hemorrhage is simulated, written as a DICOM series and analyzed."
    )
    scan_options.add_options(parser, nargs="?")
    parser.add_argument(
        "--output", metavar="DIR", type=Path,
        help="new or empty folder for the result (default: a new one under ./ichmultitask-output)",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier result in DIR")
    parser.add_argument(
        "--quick", action="store_true", help="write only report.json and attention.nrrd, without loading 3D Slicer"
    )
    parser.add_argument("--list-series", action="store_true", help="list the DICOM series in PATH and stop")
    parser.add_argument(
        "--head",
        choices=Head.values(),
        default=Head.VOLUME,
        help="output that the attention map explains (default: volume)",
    )
    parser.add_argument(
        "--stage", choices=Stage.values(), default=LOCATOR.stage, help="network stage of the map (default: %(default)s)"
    )
    parser.add_argument(
        "--method", choices=tuple(METHODS), default=LOCATOR.method, help="kind of attention map (default: %(default)s)"
    )
    analyze_options.add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """List the series, or analyze the scan."""
    if options.path is None and (options.series or options.list_series):
        options.parser.error("--series and --list-series need the PATH of a folder, file or .zip of DICOM images")
    _list_series(options) if options.list_series else _analyze(options)


def _list_series(options):
    for series in list_series(options.path):
        thickness = "" if series.thickness is None else f", {series.thickness:.3g} mm"
        print(f"{'*' if series.chosen else ' '} {series.uid}")
        print(f"    {series.description or 'no description'}: {series.slices} slices{thickness}; {series.why}")


def _analyze(options):
    destination = options.output or _default_output(options.path)
    inputs = [path for path in (options.path, options.previous, *options.segmentation) if path is not None]
    with new_folder(destination, "analysis", options.overwrite, inputs) as folder, ShellProgress() as bar:
        bundle = ModelBundle.load(options.model or default_bundle())  # fails before the long work starts
        request = analyze_options.ComparisonRequest.from_options(options)
        truth = None
        if options.path is None:
            truth = _simulate(folder / DEMO_FOLDER, bar.step("Simulating a head CT", 0, 0.1))
        clock = time.perf_counter()
        head_ct = _read(options, folder, destination, bar.step("Reading the scan", 0.1, 0.3))
        timing = {"read": time.perf_counter() - clock}
        bar.step("Loading the model", 0.3, 0.4)(0.0, "")
        clock = time.perf_counter()
        analyzer = scan_options.load_analyzer(options, bundle, options.stage, options.method)
        timing["load_model"] = time.perf_counter() - clock
        analysis = analyzer.analyze(
            head_ct,
            options.head,
            options.stage,
            options.method,
            progress=bar.step("Analyzing", 0.4, 0.55),
            prognosis_range=True,
            clinical=request.clinical,
        )
        comparison = None
        if not request.is_empty or analysis.findings is not None:
            comparison = request.compare(analyzer, analysis, SHOWN_FROM, bar.step("Comparing", 0.55, 0.6))
        if options.quick:
            analysis = replace(analysis, timing_s=timing | analysis.timing_s)
            write_report(analysis, folder, comparison=comparison, outputs=QUICK)
        else:
            _write_all(analysis, timing, folder, bar, comparison)
    print(summary(analysis, truth, comparison))
    if options.quick:
        print(f"Report      {destination.resolve() / JSON_FILE}")
        return
    print(f"Report      {destination.resolve() / HTML_FILE}")
    print(f"Scene       {destination.resolve() / SCENE_FILE}  (opens in 3D Slicer)")


def _write_all(analysis, timing, folder, bar, comparison):
    """Write every output; Slicer's libraries are imported here, since they take seconds to load."""
    bar.step("Loading into a Slicer scene", 0.6, 0.65)(0.0, "")
    clock = time.perf_counter()
    from ..mrml.result_folder import write_result_folder
    from ..mrml.results import show_analysis
    from ..mrml.scene import create_scene
    from ..mrml.volumes import head_ct_to_node

    scene = create_scene()
    volume = head_ct_to_node(scene, analysis.head_ct, analysis.head_ct.facts.series_description or "Head CT")
    nodes = show_analysis(scene, analysis, volume)
    timing["display"] = time.perf_counter() - clock
    analysis = replace(analysis, timing_s=timing | analysis.timing_s)
    progress = bar.step("Writing the report", 0.65, 1)
    write_result_folder(scene, analysis, volume, nodes.attention, folder, progress, comparison)


def _default_output(path):
    name = "simulated" if path is None else safe_name(stem(path), "scan")
    base = Path("ichmultitask-output") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    number = 1
    while (folder := base if number == 1 else base.with_name(f"{base.name}-{number}")).exists():
        number += 1
    return folder


def _simulate(folder, progress):
    """Write a simulated patient as a DICOM series; return the true volume in mL."""
    patient = simulate_patient(DEMONSTRATION_SEED, progress=progress)
    write_dicom(patient.head_ct, folder)
    return patient.volume_ml


def _read(options, folder, destination, progress):
    if options.path is not None:
        return read_head_ct(options.path, options.series, progress)
    head_ct = read_head_ct(folder / DEMO_FOLDER, None, progress)
    # The folder of the scan will be renamed to its final name.
    return replace(head_ct, facts=replace(head_ct.facts, path=str(destination.resolve() / DEMO_FOLDER)))


def summary(analysis: Analysis, true_volume_ml: float | None = None, comparison: dict | None = None) -> str:
    """Summarize the result in a few lines of plain text.

    Parameters
    ----------
    analysis : Analysis
    true_volume_ml : float, optional
        Known for a simulated scan.
    comparison : dict, optional
        From `report.comparison.comparison_dict`.

    Returns
    -------
    str
    """
    interval, attention = analysis.volume_interval_ml, analysis.attention
    volume = number(analysis.volume_ml)
    lines = [("Volume", f"{volume} mL")]
    if interval is not None:
        lines[0] = (
            "Volume",
            f"{volume} mL  ({percent(analysis.interval_coverage)} interval {interval[0]:.1f} to {interval[1]:.1f} mL)",
        )
    if analysis.outlined_volume_ml is not None:
        read, outlined = number(analysis.network_volume_ml), number(analysis.outlined_volume_ml)
        lines.append(("", f"the network reads {read} mL; {outlined} mL are outlined in the scan"))
    if true_volume_ml is not None:
        lines.append(("", f"the simulated hematoma has {true_volume_ml:.1f} mL"))
    if analysis.findings is not None:
        lines.append(("Findings", f"{findings_text(analysis.findings)}  (from the marked bleed; to be checked)"))
    if analysis.hemorrhage_reason:
        lines.insert(0, ("Hemorrhage", analysis.hemorrhage_reason))
    prognosis = WITHOUT_PROGNOSIS.get(analysis.hemorrhage, NOT_COMPUTED)
    if analysis.prognosis and analysis.hemorrhage not in WITHOUT_PROGNOSIS:
        prognosis = f"{analysis.prognosis}  (probability of death {probability(analysis.mortality_probability)})"
        prognosis += f", {read_with(analysis.clinical)}" if analysis.clinical else ""
    lines.append(("Prognosis", prognosis))
    if analysis.mortality_range is not None:
        lines.append(("", f"range {probability_range(analysis.mortality_range)}: {MEANING}"))
    if attention is not None and attention.peak_ras_mm is not None:
        peak = position(attention.peak_ras_mm)
        kind = f"for the {attention.head}: {map_words(attention.stage, attention.method)}"
        lines.append(("Attention", f"peak at {peak}  ({kind})"))
    lines += [("Warning", sentence) for sentence in analysis.warnings]
    lines += comparison_lines(comparison) if comparison else []
    lines.append(("Model", f"{analysis.model['name']} {analysis.model['version']}"))
    lines.append(("Trained on", analysis.model["training_data"]))
    lines.append(("", RESEARCH_USE_IN_FULL))
    return "\n".join(
        textwrap.fill(text, 110, initial_indent=f"{name:<12}", subsequent_indent=" " * 12) for name, text in lines
    )
