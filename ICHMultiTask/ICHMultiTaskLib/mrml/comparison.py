"""Comparison of an analysis with segments of the scene, and its tables. Needs no Qt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from ..analysis.result import Analysis
from ..common.errors import InputError
from ..common.numbers import NOT_COMPUTED, number, with_interval, yes_no
from ..common.progress import Progress
from ..common.translation import Text
from ..comparison.side_by_side import Comparison, SegmentComparison, compare
from ..measures.agreement import PLANIMETRY, VolumeComparison
from ..measures.formulas import DEFINITIONS_VERSION, present_name
from ..measures.segment import SegmentMeasures
from . import results
from .scene import nodes_of_class
from .segments import SegmentChoice, concerns, read_segment
from .translation import tr as _

if TYPE_CHECKING:
    import slicer

TABLES = ("volume comparison", "segment measures", "readers")
_DEFINITIONS = "ICHMultiTask.FormulaDefinitions"
"""Attribute of a table: version of the definitions of the formulas' names in it."""


Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Titles of the columns, and rows of cells."""


@dataclass(frozen=True)
class SceneComparison:
    """A comparison and its inputs.

    Attributes
    ----------
    comparison : Comparison
    scan_node : vtkMRMLScalarVolumeNode
    choices : tuple of SegmentChoice
        Of `comparison.segments`, in the same order.
    remarks : tuple of str
        Segments that could not be read, and doubts about whether they belong to the scan.
    run : str
        Identifies the scan's analysis that was compared.
    """

    comparison: Comparison
    scan_node: slicer.vtkMRMLScalarVolumeNode
    choices: tuple[SegmentChoice, ...]
    remarks: tuple
    run: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Short unique names of the segments, such as "Draft" and "Dr. A"."""
        short = [choice.short_name for choice in self.choices]
        return tuple(
            name if short.count(name) == 1 else f"{name} ({choice.name})" if not choice.alone else f"{name} {n}"
            for n, (name, choice) in enumerate(zip(short, self.choices), start=1)
        )


def comparison_work(
    analysis: Analysis,
    scan_node: slicer.vtkMRMLScalarVolumeNode,
    choices: Sequence[SegmentChoice],
    threshold: float,
    run: str = "",
) -> Callable[[Progress], SceneComparison]:
    """Read segments immediately, and return their comparison as a callable (progress) -> SceneComparison.

    Parameters
    ----------
    analysis : Analysis
        With the map on display.
    scan_node : vtkMRMLScalarVolumeNode
    choices : sequence of SegmentChoice
    threshold : float
        Threshold of the attention on display.
    run : str
        Identifies the scan's analysis.
    """
    scene, segments, read, remarks = scan_node.GetScene(), [], [], []
    for choice in choices:
        node = scene.GetNodeByID(choice.node_id)
        try:
            segments.append(read_segment(node, choice.segment_id))
        except InputError as error:
            remarks.append(
                Text("{name} ({reader}): {error}").format(name=choice.name, reader=choice.reader, error=error)
            )
            continue
        read.append(choice)
        remarks += [sentence for sentence in concerns(node, scan_node) if sentence not in remarks]
    return lambda progress: SceneComparison(
        compare(analysis, segments, analysis.attention, threshold, progress),
        scan_node,
        tuple(read),
        tuple(remarks),
        run,
    )


def write_tables(scene: slicer.vtkMRMLScene, compared: SceneComparison) -> dict[str, slicer.vtkMRMLTableNode]:
    """Write a SceneComparison to the tables of its scan.

    Returns
    -------
    dict of str to vtkMRMLTableNode
        By `TABLES`; "readers" with two segments or more.

    Raises
    ------
    InputError
        If the scan is no longer in the scene.
    """
    nodes, scan_node = {}, compared.scan_node
    for kind, (titles, rows) in zip(TABLES, (volume_table(compared), measure_table(compared), reader_table(compared))):
        if rows:
            nodes[kind] = results.write_rows(scene, scan_node, kind, titles, rows)
        else:
            results.remove_result(scene, scan_node, kind)
    if TABLES[0] in nodes:
        nodes[TABLES[0]].SetAttribute(_DEFINITIONS, str(DEFINITIONS_VERSION))
    return nodes


def remove_tables(scene: slicer.vtkMRMLScene, scan_node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Remove the tables written by `write_tables`; does nothing if the scan is gone."""
    if scan_node.GetScene() is scene:
        for kind in TABLES:
            results.remove_result(scene, scan_node, kind)


def rename_formulas(scene: slicer.vtkMRMLScene) -> None:
    """Update the names of formulas in tables written by earlier versions."""
    for table in nodes_of_class(scene, "vtkMRMLTableNode"):
        if results.kind_of(table) != TABLES[0] or table.GetAttribute(_DEFINITIONS):
            continue
        for row in range(table.GetNumberOfRows()):
            table.SetCellText(row, 1, present_name(table.GetCellText(row, 1), None))
        table.SetAttribute(_DEFINITIONS, str(DEFINITIONS_VERSION))


def volume_table(compared: SceneComparison) -> Table:
    """Titles and cells of the table of volumes, as text; the model comes first. Drafts are not compared with it.

    Parameters
    ----------
    compared : SceneComparison
    """
    titles = (
        _("Segment"), _("Method (definitions {version})").format(version=DEFINITIONS_VERSION), _("Volume (mL)"),
        _("± model (mL)"), _("± model (%)"), _("In interval"), _("Within 5 mL"), _("Within 20 %"),
    )  # fmt: skip
    comparison, rows = compared.comparison, []
    if comparison.segments:
        volume = with_interval(comparison.model_ml, comparison.interval_ml)
        rows.append(("", _("Model"), volume, *[NOT_COMPUTED] * 5))
    for name, segment in zip(compared.names, comparison.segments):
        rows += [(name, method_name(row.method), *cells(row)) for row in segment.volumes]
    return titles, rows


def method_name(method: str) -> str:
    """Display name of a method; formulas have the same name in every language."""
    return _("Planimetry") if method == PLANIMETRY else method


def cells(row: VolumeComparison) -> tuple[str, ...]:
    """Volume, differences and agreement of a VolumeComparison as text."""
    return (
        number(row.volume_ml),
        number(row.difference_ml, sign=True),
        number(row.difference_percent, 0, sign=True),
        *(yes_no(value) for value in (row.inside_interval, row.within_5_ml, row.within_20_percent)),
    )


def measure_table(compared: SceneComparison) -> Table:
    """Titles and cells of the table of measurements, as text; values that were not measured have no row."""
    rows = []
    for name, segment in zip(compared.names, compared.comparison.segments):
        found, attention = segment.measures, segment.attention
        lines = [
            (_("Planimetry"), number(found.volume_ml, 2), "mL"),
            ("A", number(found.a_mm), "mm"),
            ("B", number(found.b_mm), "mm"),
            ("C", number(found.c_mm), "mm"),
            (_("C (Kothari)"), number(found.c_kothari_mm), "mm"),
            (_("Slices"), number(found.slices, 0), ""),
            (_("Largest slice area"), number(found.largest_area_cm2), "cm²"),
            (_("Components"), number(len(found.components_ml), 0), ""),
            (_("Greatest diameter"), number(found.max_diameter_mm), "mm"),
            (_("Surface"), number(found.surface_cm2), "cm²"),
            (_("Irregularity index"), number(found.irregularity_index, 0), ""),
            (_("Mean"), number(found.hu_mean), "HU"),
            (_("Standard deviation"), number(found.hu_sd), "HU"),
            (_("Lowest"), number(found.hu_min, 0), "HU"),
            (_("Highest"), number(found.hu_max, 0), "HU"),
        ]
        if attention is not None:
            lines += [
                (_("Hottest point of attention inside"), yes_no(attention.peak_inside), ""),
                (_("Distance of the hottest point"), number(attention.peak_distance_mm), "mm"),
                (_("Share of attention inside"), number(attention.attention_inside_fraction, 0, 100), "%"),
                (_("Best overlap with attention (Dice)"), number(attention.best_dice, 2), ""),
                (_("at the threshold"), number(attention.best_threshold, 2), ""),
                (_("Overlap at the shown threshold (Dice)"), number(attention.shown_dice, 2), ""),
                (_("at the threshold"), number(attention.shown_threshold, 2), ""),
            ]
        rows += [(name, *line) for line in lines if line[1] != NOT_COMPUTED]
        rows += [(name, _("Note"), note, "") for note in segment.notes]
    return (_("Segment"), _("Measure"), _("Value"), _("Unit")), rows


def reader_table(compared: SceneComparison) -> Table:
    """Titles and cells of the table that compares segments with each other, as text."""
    titles = (
        _("First"), _("Second"), _("Dice"), _("Hausdorff 95 % (mm)"), _("Second - first (mL)"),
        _("Second - first (% of first)"),
    )  # fmt: skip
    rows = [
        (
            *names,
            number(pair.dice, 2),
            number(pair.hausdorff_95_mm),
            number(pair.volume_difference_ml, sign=True),
            number(pair.volume_difference_percent, 0, sign=True),
        )
        for names, pair in zip(combinations(compared.names, 2), compared.comparison.readers)
    ]
    return titles, rows


def attention_sentence(segment: SegmentComparison, head: str) -> str | None:
    """Agreement of attention and a segment in one sentence; None if they cannot be compared.

    Parameters
    ----------
    segment : SegmentComparison
    head : str
        Output that the map explains.
    """
    found = segment.attention
    if found is None or found.peak_inside is None:
        return None
    away = _("hottest point {distance:.0f} mm away")
    parts = [_("hottest point inside") if found.peak_inside else away.format(distance=found.peak_distance_mm)]
    if found.attention_inside_fraction is not None:
        parts.append(_("{percent:.0f} % of it inside").format(percent=100 * found.attention_inside_fraction))
    if found.best_dice is not None:
        words = _("overlap (Dice) {dice:.2f} at the best threshold {threshold:.2f}")
        parts.append(words.format(dice=found.best_dice, threshold=found.best_threshold))
    if found.shown_dice is not None:
        words = _("{dice:.2f} at the shown {threshold:.2f}")
        parts.append(words.format(dice=found.shown_dice, threshold=found.shown_threshold))
    head = _("volume") if head == "volume" else _("prognosis")
    return _("Attention of the {head} head: {findings}.").format(head=head, findings=", ".join(parts))


def measures_sentence(found: SegmentMeasures) -> str:
    """A, B, C and other measurements in one line; empty if nothing was measured.

    Parameters
    ----------
    found : SegmentMeasures
    """
    parts = []
    if found.a_mm is not None:
        parts.append(f"A × B × C {found.a_mm:.0f} × {found.b_mm:.0f} × {found.c_mm:.0f} mm")
    if found.surface_cm2 is not None:
        parts.append(_("surface {area:.0f} cm²").format(area=found.surface_cm2))
    if found.irregularity_index is not None:
        parts.append(_("irregularity {index:.0f}").format(index=found.irregularity_index))
    if found.hu_mean is not None:
        parts.append(f"{found.hu_mean:.0f} ± {found.hu_sd:.0f} HU")
    return ", ".join(parts) + "." if parts else ""
