"""Draw the rooms of the two libraries, what imports what, and the way of the data: Docs/architecture.png.

python Testing/figures/architecture.py [--output FILE] [--table]

Rooms and arrows are read from the code; the layers are those that pyproject.toml holds the code to.
"""

import argparse
import ast
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARIES = {"ICHMultiTaskLib": "ICHMultiTask", "ICHMultiTaskTrainingLib": "ICHMultiTaskTraining"}
LAYERS = {
    "ICHMultiTaskLib": [
        ["common"], ["scan"], ["measures"], ["model", "simulation"], ["analysis"], ["comparison"], ["report"], ["mrml"],
        ["cli"], ["panel"],
    ],
    "ICHMultiTaskTrainingLib": [
        ["data"], ["training"], ["evaluation"], ["bundles"], ["experiments", "federated"], ["mrml"], ["cli"], ["panel"],
    ],
}  # fmt: skip
WAY = {
    "scan": "HeadCT: HU [k, j, i], IJK to RAS",
    "model": "NetworkInput → Prediction",
    "analysis": "Analysis: volume, prognosis, attention",
    "report": "report.html, report.json, attention.nrrd",
    "mrml": "nodes, scene.mrb",
}
"""What a room hands on."""


def purpose(folder):
    """First sentence of the room's docstring."""
    return ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))).split("\n")[0]


def rooms():
    """Files, lines and purpose by library and room."""
    found = {}
    for library, place in LIBRARIES.items():
        for folder in sorted(path.parent for path in (REPOSITORY / place / library).glob("*/__init__.py")):
            files = list(folder.rglob("*.py"))
            lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
            found[library, folder.name] = (len(files), lines, purpose(folder))
    return found


def arrows():
    """Pairs of rooms ((library, room), (library, room)): the first imports the second."""
    import grimp

    sys.path[:0] = [str(REPOSITORY / place) for place in LIBRARIES.values()]
    graph = grimp.build_graph(*LIBRARIES, exclude_type_checking_imports=True, cache_dir=None)
    pairs = set()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            ends = [tuple(name.split(".")[:2]) for name in (module, imported)]
            if all(len(end) == 2 for end in ends) and ends[0] != ends[1]:
                pairs.add(tuple(ends))
    return pairs


def not_implied(pairs):
    """The arrows without those that follow from others (transitive reduction)."""
    targets = {}
    for start, end in pairs:
        targets.setdefault(start, set()).add(end)

    def reaches(start, end, seen=()):
        return any(
            step == end or (step not in seen and reaches(step, end, (*seen, step))) for step in targets.get(start, ())
        )

    return {(a, c) for a, c in pairs if not any(b != c and reaches(b, c) for b in targets[a])}


def places():
    """Center of each room in the picture."""
    found = {}
    for column, (library, layers) in enumerate(LAYERS.items()):
        bottom = 0 if column == 0 else 2
        for row, names in enumerate(layers):
            for n, name in enumerate(names):
                found[library, name] = (column * 4.6 + (n - (len(names) - 1) / 2) * 1.75, bottom + row)
    return found


def draw(path):
    """Draw the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    figure = Figure(figsize=(12, 9.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    at, known = places(), rooms()
    for start, end in sorted(not_implied(arrows())):
        if start in at and end in at:
            across = start[0] != end[0]
            bend = 0.0 if across or at[start][1] - at[end][1] <= 1 else 0.3
            arrow = FancyArrowPatch(
                at[start], at[end], connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>", mutation_scale=9, shrinkA=16,
                shrinkB=16, linewidth=1.1, color="#b3401f" if across else "#7d8a97", alpha=0.8,
            )  # fmt: skip
            axes.add_patch(arrow)
    for key, (x, y) in at.items():
        files, lines, _ = known[key]
        box = FancyBboxPatch(
            (x - 0.75, y - 0.27), 1.5, 0.54, boxstyle="round,pad=0.02", facecolor="white", edgecolor="#16202a", zorder=3
        )
        axes.add_patch(box)
        axes.text(x, y + 0.07, key[1], ha="center", va="center", fontsize=11, weight="bold", zorder=4)
        axes.text(x, y - 0.15, f"{files} files, {lines} lines", ha="center", va="center", fontsize=7.5, zorder=4)
        if key[0] == "ICHMultiTaskLib" and key[1] in WAY:
            side = -0.85
            axes.text(x + side, y, WAY[key[1]], ha="right", va="center", fontsize=8.5, color="#b3401f", zorder=4)
    for column, library in enumerate(LIBRARIES):
        top = max(y for (name, _), (_, y) in at.items() if name == library)
        axes.text(column * 4.6, top + 0.6, library, ha="center", fontsize=13, weight="bold")
    words = "Arrows point to what is imported; those that follow from others are left out. Red: from the trainer."
    axes.text(-4.6, -0.55, words, fontsize=9)
    axes.set(xlim=(-4.7, 6.6), ylim=(-0.8, 10.1))
    axes.axis("off")
    figure.savefig(path, dpi=110)


def table():
    """The rooms as a table in Markdown."""
    rows = [f"| `{library}/{name}` | {words} |" for (library, name), (_, _, words) in rooms().items()]
    return "\n".join(["| room | what for |", "|---|---|", *rows])


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=REPOSITORY / "Docs" / "architecture.png", metavar="FILE")
    parser.add_argument("--table", action="store_true", help="print the rooms as a table, draw nothing")
    options = parser.parse_args()
    print(table()) if options.table else draw(options.output)


if __name__ == "__main__":
    main()
