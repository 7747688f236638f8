"""Comparison of an analysis with segments of the scene, and its tables. Needs no Qt."""

from dataclasses import dataclass

from ..common.errors import InputError
from ..comparison.side_by_side import Comparison, compare
from ..measures.agreement import PLANIMETRY
from . import results
from .segments import SegmentChoice, concerns, read_segment

NOT_COMPUTED = "–"
VOLUME_TITLES = (
    "Segment", "Method", "Volume (mL)", "± model (mL)", "± model (%)", "In interval", "Within 5 mL",
    "Within 20 %",
)  # fmt: skip
MEASURE_TITLES = ("Segment", "Measure", "Value", "Unit")
READER_TITLES = (
    "First", "Second", "Dice", "Hausdorff 95 % (mm)", "Second - first (mL)", "Second - first (% of first)",
)  # fmt: skip


@dataclass(frozen=True)
class SceneComparison:
    """A comparison with what it was made of.

    Attributes
    ----------
    comparison : Comparison
    scan_node : vtkMRMLScalarVolumeNode
    choices : tuple of SegmentChoice
        Of `comparison.segments`, in the same order.
    remarks : tuple of str
        Segments that could not be read, and doubts whether they belong to the scan.
    """

    comparison: Comparison
    scan_node: object
    choices: tuple[SegmentChoice, ...]
    remarks: tuple


def comparison_work(analysis, attention, scan_node, choices, threshold):
    """Read segments at once, and return their comparison as a callable (progress) -> SceneComparison.

    Parameters
    ----------
    analysis : Analysis
    attention : Attention or None
        The map on show.
    scan_node : vtkMRMLScalarVolumeNode
    choices : sequence of SegmentChoice
    threshold : float
        From which attention is shown.
    """
    scene, segments, read, remarks = scan_node.GetScene(), [], [], []
    for choice in choices:
        node = scene.GetNodeByID(choice.node_id)
        try:
            segments.append(read_segment(node, choice.segment_id))
        except InputError as error:
            remarks.append(f"{choice.name} ({choice.reader}): {error}")
            continue
        read.append(choice)
        remarks += [sentence for sentence in concerns(node, scan_node) if sentence not in remarks]
    return lambda progress: SceneComparison(
        compare(analysis, segments, attention, threshold, progress), scan_node, tuple(read), tuple(remarks)
    )


def write_tables(scene, scan_node, comparison):
    """Write a comparison into the tables of its scan.

    Returns
    -------
    dict of str to vtkMRMLTableNode
        "volume comparison", "segment measures", and "readers" with two segments or more.

    Raises
    ------
    InputError
        If the scan is no longer in the scene.
    """
    tables = {
        "volume comparison": (VOLUME_TITLES, volume_rows(comparison)),
        "segment measures": (MEASURE_TITLES, measure_rows(comparison)),
        "readers": (READER_TITLES, reader_rows(comparison)),
    }
    nodes = {}
    for kind, (titles, rows) in tables.items():
        if rows:
            nodes[kind] = results.write_rows(scene, scan_node, kind, titles, rows)
        else:
            results.remove_result(scene, scan_node, kind)
    return nodes


def remove_tables(scene, scan_node):
    """Remove the tables that `write_tables` wrote; no-op if the scan is gone."""
    if scan_node.GetScene() is scene:
        for kind in ("volume comparison", "segment measures", "readers"):
            results.remove_result(scene, scan_node, kind)


def volume_rows(comparison):
    """Cells of the table of volumes, as text, in the order of VOLUME_TITLES; the model's own row first."""
    if not comparison.segments:
        return []
    interval = comparison.interval_ml
    span = f" ({interval[0]:.1f} to {interval[1]:.1f})" if interval else ""
    rows = [("", "Model", f"{comparison.model_ml:.1f}{span}", *[NOT_COMPUTED] * 5)]
    for segment in comparison.segments:
        rows += [(segment.label, row.method, *cells(row)) for row in segment.volumes]
    return rows


def cells(row):
    """Volume, differences and verdicts of a VolumeComparison as text."""
    return (
        number(row.volume_ml),
        number(row.difference_ml, "+.1f"),
        number(row.difference_percent, "+.0f"),
        verdict(row.inside_interval),
        verdict(row.within_5_ml),
        verdict(row.within_20_percent),
    )


def measure_rows(comparison):
    """Cells of the table of measures, as text, in the order of MEASURE_TITLES; only what was measured has a row."""
    rows = []
    for segment in comparison.segments:
        found, attention = segment.measures, segment.attention
        lines = [
            (PLANIMETRY, number(found.volume_ml, ".2f"), "mL"),
            ("A", number(found.a_mm), "mm"),
            ("B", number(found.b_mm), "mm"),
            ("C", number(found.c_mm), "mm"),
            ("C (Kothari)", number(found.c_kothari_mm), "mm"),
            ("Slices", number(found.slices, "d"), ""),
            ("Largest slice area", number(found.largest_area_cm2), "cm²"),
            ("Components", number(len(found.components_ml), "d"), ""),
            ("Greatest diameter", number(found.max_diameter_mm), "mm"),
            ("Surface", number(found.surface_cm2), "cm²"),
            ("Irregularity index", number(found.irregularity_index, ".0f"), ""),
            ("Mean", number(found.hu_mean), "HU"),
            ("Standard deviation", number(found.hu_sd), "HU"),
            ("Lowest", number(found.hu_min, ".0f"), "HU"),
            ("Highest", number(found.hu_max, ".0f"), "HU"),
        ]
        if attention is not None:
            lines += [
                ("Hottest point of attention inside", verdict(attention.peak_inside), ""),
                ("Distance of the hottest point", number(attention.peak_distance_mm), "mm"),
                ("Share of attention inside", number(_percent(attention.attention_inside_fraction), ".0f"), "%"),
                ("Best overlap with attention (Dice)", number(attention.best_dice, ".2f"), ""),
                ("at the threshold", number(attention.best_threshold, ".2f"), ""),
                ("Overlap at the shown threshold (Dice)", number(attention.shown_dice, ".2f"), ""),
                ("at the threshold", number(attention.shown_threshold, ".2f"), ""),
            ]
        rows += [(segment.label, *line) for line in lines if line[1] != NOT_COMPUTED]
        rows += [(segment.label, "Note", note, "") for note in segment.notes]
    return rows


def reader_rows(comparison):
    """Cells of the table of readers, as text, in the order of READER_TITLES."""
    return [
        (
            pair.first,
            pair.second,
            number(pair.dice, ".2f"),
            number(pair.hausdorff_95_mm),
            number(pair.volume_difference_ml, "+.1f"),
            number(pair.volume_difference_percent, "+.0f"),
        )
        for pair in comparison.readers
    ]


def attention_sentence(segment, head):
    """Where attention and a segment agree, in one sentence; None without attention or without anything to compare.

    Parameters
    ----------
    segment : SegmentComparison
    head : str
        Which output the map explains.
    """
    found = segment.attention
    if found is None or found.peak_inside is None:
        return None
    parts = ["hottest point inside" if found.peak_inside else f"hottest point {found.peak_distance_mm:.0f} mm away"]
    if found.attention_inside_fraction is not None:
        parts.append(f"{100 * found.attention_inside_fraction:.0f} % of it inside")
    if found.best_dice is not None:
        parts.append(f"overlap (Dice) {found.best_dice:.2f} at the best threshold {found.best_threshold:.2f}")
    if found.shown_dice is not None:
        parts.append(f"{found.shown_dice:.2f} at the shown {found.shown_threshold:.2f}")
    return f"Attention of the {head} head: {', '.join(parts)}."


def measures_sentence(found):
    """A, B and C and what else was measured, in one line; empty where nothing was.

    Parameters
    ----------
    found : SegmentMeasures
    """
    parts = []
    if found.a_mm is not None:
        parts.append(f"A × B × C {found.a_mm:.0f} × {found.b_mm:.0f} × {found.c_mm:.0f} mm")
    if found.surface_cm2 is not None:
        parts.append(f"surface {found.surface_cm2:.0f} cm²")
    if found.irregularity_index is not None:
        parts.append(f"irregularity {found.irregularity_index:.0f}")
    if found.hu_mean is not None:
        parts.append(f"{found.hu_mean:.0f} ± {found.hu_sd:.0f} HU")
    return ", ".join(parts) + "." if parts else ""


def number(value, spec=".1f"):
    """A number as text, or the mark of a cell that was not computed."""
    if value is None:
        return NOT_COMPUTED
    text = format(value, spec)
    return text if any(digit in text for digit in "123456789") else text.replace("-", "+")  # no minus zero


def verdict(value):
    """Yes, no, or the mark of a cell that was not computed."""
    return NOT_COMPUTED if value is None else "yes" if value else "no"


def _percent(fraction):
    return None if fraction is None else 100 * fraction
