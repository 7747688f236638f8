"""Options of `ichmultitask analyze` for comparisons: segmentations, an earlier scan, clinical data."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from ..analysis.analyzer import Analyzer
from ..analysis.repeat import compare_with_previous
from ..analysis.result import Analysis
from ..common.errors import InputError
from ..common.progress import Progress, part
from ..comparison.side_by_side import compare
from ..measures.clinical_scores import SEXES, ClinicalContext
from ..measures.segment import Segment
from ..measures.segment_files import read_segments
from ..report.comparison import comparison_dict
from ..scan.head_ct import HeadCT
from ..scan.reading import read_head_ct

_YES_NO = {"yes": True, "no": False}
_FLAGS = {
    "ivh": "blood in the ventricles",
    "anticoagulation": "oral anticoagulation",
    "cognitive_impairment": "cognitive impairment before the hemorrhage",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to the parser of the command."""
    group = parser.add_argument_group("comparison")
    add = group.add_argument
    add(
        "--segmentation", metavar="FILE", type=Path, action="append", default=[],
        help="segmentation of the bleed to compare with: NIfTI, NRRD, .seg.nrrd, MetaImage or DICOM SEG; repeatable",
    )  # fmt: skip
    add("--previous", metavar="PATH", help="an earlier scan of the same patient: growth and alignment")
    add("--age", metavar="YEARS", type=float, help="for the clinical scores, like the next options")
    add("--gcs", metavar="N", type=int, help="Glasgow Coma Scale, 3 to 15")
    add("--nihss", metavar="N", type=int, help="National Institutes of Health Stroke Scale, 0 to 42")
    add("--location", metavar="PLACE", help="lobar, deep, putamen, thalamus, caudate, cerebellum or brainstem")
    for name, meaning in _FLAGS.items():
        add(f"--{name.replace('_', '-')}", choices=_YES_NO, help=meaning)
    add("--sex", choices=SEXES, help="only for models that read clinical variables, as they may the options above")
    add("--onset-hours", metavar="HOURS", type=float, help="from onset to scan, for the same models")


@dataclass(frozen=True)
class ComparisonRequest:
    """What to compare the result with, read and checked.

    Attributes
    ----------
    segments : tuple of Segment
    context : ClinicalContext or None
    previous : HeadCT or None
    """

    segments: tuple[Segment, ...] = ()
    context: ClinicalContext | None = None
    previous: HeadCT | None = None

    @property
    def clinical(self) -> dict[str, object]:
        """Known clinical data of the patient, as input of `Analyzer.analyze`."""
        return self.context.known if self.context else {}

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to compare with."""
        return not self.segments and self.context is None and self.previous is None

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> ComparisonRequest:
        """Read the files and check the values of the options.

        Raises
        ------
        InputError
            If one cannot be used.
        """
        further = {name: _YES_NO.get(getattr(options, name)) for name in _FLAGS}
        further |= {"sex": options.sex, "onset_hours": options.onset_hours}
        location = options.location and options.location.strip().lower()
        context = ClinicalContext(options.age, options.gcs, options.nihss, location, **further)
        segments = tuple(segment for path in options.segmentation for segment in read_segments(path))
        previous = None
        if options.previous is not None:
            previous = _as_earlier(lambda: read_head_ct(options.previous))
        return cls(segments, None if context.is_empty else context, previous)

    def compare(self, analyzer: Analyzer, analysis: Analysis, shown_threshold: float, progress: Progress) -> dict:
        """Compare an analysis with everything requested.

        Parameters
        ----------
        analyzer : Analyzer
            For the earlier scan.
        analysis : Analysis
        shown_threshold : float
            Threshold above which the report's pictures show attention.
        progress : callable (fraction, message)

        Returns
        -------
        dict
            From `comparison_dict`.

        Raises
        ------
        InputError
            If the earlier scan cannot be used.
        """
        compared = repeat = None
        if self.segments:
            compared = compare(analysis, self.segments, None, shown_threshold, part(progress, 0.0, 0.4))
        if self.previous is not None:
            progress(0.4, "Analyzing the earlier scan")
            previous = _as_earlier(lambda: analyzer.analyze(self.previous, attention=False))
            progress(0.7, "Aligning the scans")
            repeat = compare_with_previous(analysis, previous)
        return comparison_dict(analysis, compared, self.context, repeat)


def _as_earlier(action):
    """Name the earlier scan in error messages about it."""
    try:
        return action()
    except InputError as error:
        raise InputError(f"Earlier scan: {error}") from error
