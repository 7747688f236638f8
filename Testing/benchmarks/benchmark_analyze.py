"""Speed and memory of an analysis, as ratios within one run: they mean the same on any machine.

    python Testing/benchmarks/benchmark_analyze.py --output FOLDER

Everything compared is run in turns, and ratios are taken within each turn, so that other load on the machine falls on
both sides. Prints tables in Markdown and writes `benchmark.png`.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "ICHMultiTask"), str(REPOSITORY / "ICHMultiTaskTraining")]
TARGETS = {
    "Analyze ÷ forward pass": 1.5,
    "with ÷ without attention": 1.1,
    "320 ÷ 32 slices": 3.0,
    "32 slices": 1.5,
}
CHILD = """
import resource, sys
sys.path[:0] = {paths!r}
import numpy as np
from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.scan.head_ct import HeadCT, ScanFacts
import SimpleITK, torch, torch.nn.functional, safetensors.torch
import ICHMultiTaskLib.model.networks.resnet, ICHMultiTaskLib.model.runtime
torch.ones(64, 64) @ torch.ones(64, 64)
def memory(name):
    try:  # getrusage would count the parent's memory on Linux
        lines = open("/proc/self/status").read().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024 / 1e9
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9
libraries = memory("VmRSS")
scan = HeadCT(np.load({scan!r}), np.load({affine!r}), ScanFacts())
analyzer = Analyzer({bundle!r}, {device!r})
for _ in range(2):
    result = analyzer.analyze(scan)
print(memory("VmHWM") - libraries)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder for benchmark.png")
    parser.add_argument("--model", type=Path, help="default: the shipped one")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--skip-formats", action="store_true", help="do not compare number formats and compilation")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(options, Path(folder))


def run(options, folder):
    from ICHMultiTaskLib.analysis.analyzer import Analyzer
    from ICHMultiTaskLib.model.bundle import default_bundle
    from ICHMultiTaskTrainingLib.evaluation.network_costs import hardware

    bundle = options.model or default_bundle()
    thick, thin = head(32, 5.0), head(320, 0.5)
    analyzer = Analyzer(bundle, options.device)
    print(
        f"{hardware('cpu')}; {options.device}, {analyzer.runner.number_format}; median of {options.turns} turns.\n",
        flush=True,
    )
    ratios, seconds, steps = compare(analyzer, thick, thin, options.turns)
    table(("ratio", "value", "target"), [(name, f"{value:.2f}", TARGETS[name]) for name, value in ratios.items()])
    table(("run", "seconds"), [(name, f"{value:.3f}") for name, value in seconds.items()])
    memory = {
        "32 slices": peak_memory_gb(thick, bundle, options.device, folder),
        "320 slices": peak_memory_gb(thin, bundle, options.device, folder),
    }
    table(
        ("peak memory above the libraries", "GB", "target"),
        [(name, _shown(value, "not measured"), TARGETS.get(name, "")) for name, value in memory.items()],
    )
    steps = {
        **read_seconds(thick, folder),
        **steps,
        "of which map back": map_back_seconds(analyzer, thick),
        **display_seconds(analyzer, thick),
    }
    table(("step, 32 slices", "seconds"), [(name, f"{value:.3f}") for name, value in steps.items()])
    formats = {} if options.skip_formats else format_seconds(analyzer, thick, options.turns)
    table(("network", "seconds"), [(name, _shown(value, "fails")) for name, value in formats.items()])
    options.output.mkdir(parents=True, exist_ok=True)
    draw(steps, formats, options.output / "benchmark.png")


def head(slices, step_mm):
    """A phantom of 512 × 512 pixels; thin slices are thick ones repeated, since building them would take gigabytes."""
    from dataclasses import replace

    from ICHMultiTaskLib.model.testing import phantom

    scan = phantom((32, 512, 512), (5.0, 0.45, 0.45))
    affine = scan.ijk_to_ras.copy()
    affine[:3, 2] *= step_mm / 5.0
    return replace(scan, hu=np.repeat(scan.hu, slices // 32, axis=0), ijk_to_ras=affine)


def compare(analyzer, thick, thin, turns):
    """Median ratios of what is compared, median seconds of each, and median seconds of the steps of an analysis."""
    import torch

    from ICHMultiTaskLib.model.preprocessing import prepare

    image = torch.from_numpy(prepare(thick, analyzer.settings).array)[None].to(analyzer.runner.device)

    def forward():
        with torch.no_grad(), analyzer.runner.runtime.context():
            analyzer.runner.network(analyzer.runner.runtime.arrange(image))[0].item()

    runs = {
        "forward pass": forward,
        "Analyze, no attention": lambda: analyzer.analyze(thick, attention=False),
        "Analyze": lambda: analyzer.analyze(thick),
        "Analyze, 320 slices": lambda: analyzer.analyze(thin),
    }
    times, laps = {name: [] for name in runs}, []
    for turn in range(turns + 1):
        for name, function in runs.items():
            start = time.perf_counter()
            result = function()
            if turn:  # the first turn warms up
                times[name].append(time.perf_counter() - start)
            if turn and name == "Analyze":
                laps.append(result.timing_s)
    times = {name: np.array(values) for name, values in times.items()}
    ratios = {
        "Analyze ÷ forward pass": times["Analyze"] / times["forward pass"],
        "with ÷ without attention": times["Analyze"] / times["Analyze, no attention"],
        "320 ÷ 32 slices": times["Analyze, 320 slices"] / times["Analyze"],
    }
    steps = {name: float(np.median([lap[name] for lap in laps])) for name in laps[0]}
    return (
        {name: float(np.median(values)) for name, values in ratios.items()},
        {name: float(np.median(values)) for name, values in times.items()},
        steps,
    )


def peak_memory_gb(scan, bundle, device, folder):
    """Highest memory above the imported libraries, scan and network included; None where it cannot be measured."""
    if sys.platform == "win32":
        return None
    paths = {"scan": str(folder / "scan.npy"), "affine": str(folder / "affine.npy")}
    np.save(paths["scan"], scan.hu)
    np.save(paths["affine"], scan.ijk_to_ras)
    code = CHILD.format(paths=sys.path[:2], bundle=str(bundle), device=device, **paths)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def read_seconds(scan, folder):
    """Of a DICOM series and a compressed NIfTI file, from a disk that has them in memory."""
    from ICHMultiTaskLib.scan.reading import read_head_ct
    from ICHMultiTaskLib.simulation.writers import write_dicom, write_nifti

    write_dicom(scan, folder / "dicom")
    write_nifti(scan.hu, scan.ijk_to_ras, folder / "scan.nii.gz")
    return {
        "read DICOM": best(lambda: read_head_ct(folder / "dicom")),
        "read NIfTI": best(lambda: read_head_ct(folder / "scan.nii.gz")),
    }


def map_back_seconds(analyzer, scan):
    """The part of the attention step that resamples the map to the scan's voxels."""
    prediction = analyzer.analyze(scan, stage="stage4").prediction
    grid = prediction.features["stage4"][0, 0].float().cpu().numpy()
    return best(lambda: prediction.network_input.to_scan(grid, prediction.runner.network.feature_strides["stage4"]))


def display_seconds(analyzer, scan):
    """Results as nodes in a scene; empty where Slicer is not installed."""
    try:
        from ICHMultiTaskLib.mrml.results import show_analysis
        from ICHMultiTaskLib.mrml.scene import create_scene
        from ICHMultiTaskLib.mrml.volumes import head_ct_to_node

        scene = create_scene()
    except ImportError:
        return {}
    node = head_ct_to_node(scene, scan, "scan")
    analysis = analyzer.analyze(scan)
    return {"display": best(lambda: show_analysis(scene, analysis, node))}


def format_seconds(analyzer, scan, turns):
    """The forward pass in each number format and layout; None for one that fails here."""
    import torch

    from ICHMultiTaskLib.model.preprocessing import prepare
    from ICHMultiTaskLib.model.runtime import Runtime

    image = torch.from_numpy(prepare(scan, analyzer.settings).array)[None].to(analyzer.runner.device)
    network = analyzer.bundle.network(analyzer.runner.device).requires_grad_(False)
    plain, last = Runtime(analyzer.runner.device), Runtime(analyzer.runner.device, channels_last=True)
    half = Runtime(analyzer.runner.device, torch.bfloat16, channels_last=True)

    def once(runtime, model=network):
        runtime.arrange(network)
        arranged = runtime.arrange(image)
        start = time.perf_counter()
        with torch.no_grad(), runtime.context():
            model(arranged)[0].item()
        return time.perf_counter() - start

    compiled = torch.compile(network)
    variants = {
        plain.name: lambda: once(plain),
        last.name: lambda: once(last),
        "float32, compiled": lambda: once(plain, compiled),
    }
    times = {name: [] for name in variants}
    for turn in range(turns + 1):
        for name, variant in list(variants.items()):
            try:
                seconds = variant()
            except Exception as error:  # compilation needs a C++ compiler and fails in many ways without
                print(f"{name} does not work here: {type(error).__name__}\n", file=sys.stderr)
                del variants[name]
                continue
            if turn:
                times[name].append(seconds)
    found = {name: float(np.median(values)) if values else None for name, values in times.items()}
    # One pass only: without hardware for it, bfloat16 is tens of times slower.
    return found | {half.name + ", 1 pass": once(half)}


def best(function, repeats=3):
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def table(header, rows):
    if rows:
        for row in (header, ["---"] * len(header), *rows):
            print("| " + " | ".join(str(cell) for cell in row) + " |")
        print(flush=True)


def _shown(value, missing):
    return missing if value is None else f"{value:.3g}"


def draw(steps, formats, path):
    from matplotlib.figure import Figure

    groups = {"Steps of one analysis": steps, "Forward pass": {k: v for k, v in formats.items() if v}}
    groups = {title: bars for title, bars in groups.items() if bars}
    figure = Figure(figsize=(5 * len(groups), 3.2), layout="constrained")
    for axes, (title, bars) in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups.items()):
        container = axes.barh(list(bars), list(bars.values()))
        axes.bar_label(container, fmt="%.3g", padding=3)
        axes.invert_yaxis()
        axes.margins(x=0.15)
        if max(bars.values()) > 20 * min(bars.values()) and title == "Forward pass":
            axes.set_xscale("log")  # one format can be tens of times slower
        axes.set(title=title, xlabel="seconds")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
