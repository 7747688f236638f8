"""Table of scans from segmentations: measurements of each scan in a folder, checks, and writing of the table.

Volumes are measured on the segmentations, each on its own grid. Outcomes come from a table of patients.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ICHMultiTaskLib.common.errors import ICHMultiTaskError, InputError
from ICHMultiTaskLib.common.names import first_few, shown
from ICHMultiTaskLib.common.progress import NO_PROGRESS, Progress
from ICHMultiTaskLib.common.tables import aligned, plain_name, read_csv, write_csv
from ICHMultiTaskLib.common.writing import check_folder, new_folder
from ICHMultiTaskLib.measures.labeled_scan import choose_segment, label_of
from ICHMultiTaskLib.measures.segment_files import read_segments
from ICHMultiTaskLib.scan.identity import image_identity
from ICHMultiTaskLib.scan.reading import read_head_ct

from .labeled_files import Found, Pair, core_name, home_of

COLUMNS = ("patient_id", "image", "volume_ml", "died", "mask", "segmentation", "segment")
SCENE_FILES = "scans"
"""Suffix of the folder, and kind of result, for scans that are exported from scenes."""
MAX_DIGITS = 4
"""A longer number is not taken for a series number."""
_DIED = {"1": 1, "yes": 1, "true": 1, "dead": 1, "died": 1, "death": 1,
         "0": 0, "no": 0, "false": 0, "alive": 0, "survived": 0, "survival": 0}  # fmt: skip


@dataclass
class Entry:
    """One scan with its segmentation, outcome and problems.

    Attributes
    ----------
    image : Path
        Path of the image, as listed in the table.
    source : Path
        File or folder that was found: the image, or the scene that contains it.
    patient_id : str
    segmentation : Path or None
    segment : str
    volume_ml : float or None
    died : int or None
    mask : Path or None
        The segmentation, if it can be a mask in training: on the scan's grid, with no other segment in its file.
    extra : dict of str to str
        Additional columns of the table of outcomes.
    problems : list of str
        Reasons why it cannot be used for training; empty if it can.
    export : callable (folder), or None
        Writes image and mask of a scan from a scene into a folder, under the names in `image` and `mask`.
    """

    image: Path
    source: Path
    patient_id: str = ""
    segmentation: Path | None = None
    segment: str = ""
    volume_ml: float | None = None
    died: int | None = None
    mask: Path | None = None
    extra: dict = field(default_factory=dict)
    problems: list = field(default_factory=list)
    export: Callable | None = None


class Outcomes:
    """Outcomes by patient.

    Parameters
    ----------
    path : path or None
        Table with `patient_id` and `died` (0 or 1, or yes and no); other columns are kept. None: no outcomes are known.

    Raises
    ------
    InputError
        If rows are unusable; the message lists all of them.
    """

    def __init__(self, path: str | os.PathLike | None):
        self._rows, problems = {}, []
        if path is None:
            return
        table = read_csv(path)
        table.require(("patient_id", "died"))
        for number, record in table.records():
            died = _DIED.get(re.sub(r"\.0+$", "", record["died"].strip().casefold()))
            key = _key(record["patient_id"])
            if not key:
                problems.append(f"row {number}: patient_id is empty")
            elif died is None:
                problems.append(f"row {number}: died must be 0 or 1, found {record['died']!r}")
            elif key in self._rows and self._rows[key][1] != died:
                problems.append(f"row {number}: {record['patient_id']} appears more than once, with different outcomes")
            else:
                self._rows[key] = record, died
        if problems:
            raise InputError(f"The table of outcomes {path} has {len(problems)} unusable rows: " + "; ".join(problems))

    def __bool__(self):
        return bool(self._rows)

    def find(self, names: Sequence[str]) -> list[tuple[dict[str, str], int, str]]:
        """Patients who are listed under any of these names: (record, outcome, name), each patient once."""
        found = {_key(name): name for name in reversed(names)}
        return [(*self._rows[key], name) for key, name in found.items() if key in self._rows]

    def without(self, patients: Iterable[str]) -> list[str]:
        """Patients of the table who are not in `patients`."""
        known = {_key(name) for name in patients}
        return [record["patient_id"] for key, (record, _) in self._rows.items() if key not in known]


def measure_pair(
    pair: Pair, segment: str | None = None, segmentation: str | None = None, may_be_empty: bool = False
) -> Entry:
    """Measure a scan's segmentation.

    Parameters
    ----------
    pair : Pair
    segment : str, optional
        Name of the segment, as in `choose_segment`.
    segmentation : str, optional
        Pattern (with *) for the file name, to choose among several segmentations of a scan.
    may_be_empty : bool
        As in `label_of`.

    Returns
    -------
    Entry
        Its `problems` list everything that is wrong.
    """
    entry = Entry(pair.scan.path, pair.scan.path)
    files = [path for path in pair.segmentations if segmentation is None or path.match(segmentation)]
    if not files:
        what = f" that is called {segmentation}" if segmentation else ""
        entry.problems.append(f"it has no segmentation{what}")
        return entry
    entry.segmentation = files[0]
    try:
        scan = read_head_ct(pair.scan.path)
        if len(pair.scan.series) > 1 and scan.facts.series_uid in pair.scan.series and pair.scan.path.is_dir():
            entry.image = pair.scan.series[scan.facts.series_uid]  # so that training reads the same series
        if scan.facts.simulated:
            entry.extra["simulated"] = "1"
        found = [(path, part) for path in files for part in read_segments(path)]
        chosen = choose_segment([part for _, part in found], segment)
        entry.segmentation = next(path for path, part in found if part is chosen)
        label = label_of(chosen, scan, may_be_empty)
    except (ICHMultiTaskError, OSError) as error:
        entry.problems.append(str(error).rstrip("."))
        return entry
    entry.segment, entry.volume_ml = chosen.name, label.volume_ml
    entry.problems += label.problems
    # Training uses all of the file as the mask.
    if label.on_grid and sum(path == entry.segmentation for path, _ in found) == 1:
        entry.mask = entry.segmentation
    return entry


def name_patients(entries: Sequence[Entry], folder: Path, outcomes: Outcomes, ids: dict) -> None:
    """Find each entry's patient and outcome, by DICOM header, folder names or file name.

    Parameters
    ----------
    entries : sequence of Entry
        Changed in place.
    folder : Path
    outcomes : Outcomes
    ids : dict of Path to str
        Patient IDs stated in the files, by path of the scan.
    """
    by_number = defaultdict(list)
    for entry in entries:
        inside = entry.source.relative_to(folder).parent.parts[::-1]
        own = core_name(entry.source)
        names = [name for name in (ids.get(entry.source), entry.source.stem.split(".")[0], own, *inside) if name]
        found = outcomes.find(names)
        entry.patient_id = (inside[-1] if inside and not own else own) or names[0]
        if len(found) == 1:
            record, entry.died, name = found[0]
            entry.patient_id = record["patient_id"]
            taken = {"patient_id", "died", *COLUMNS}
            entry.extra |= {name: cell for name, cell in record.items() if plain_name(name) not in taken and name}
            if name.isdecimal() and len(name) <= MAX_DIGITS:
                by_number[entry.patient_id].append(entry)
            continue
        listed = ", ".join(dict.fromkeys(map(repr, names)))
        if found:
            patients = ", ".join(record["patient_id"] for record, _, _ in found)
            entry.problems.append(
                f"it is not clear whose scan it is: expected one patient under {listed}, found {patients}"
            )
        else:
            entry.problems.append(
                f"the patient has no outcome: expected a row in the table of outcomes, found none under {listed}"
            )
    for patient, same in by_number.items():
        homes = {home_of(entry.source, folder) for entry in same}
        for entry in same if len(homes) > 1 else ():
            entry.problems.append(
                f"it is not clear whose scan it is: {len(homes)} folders contain a scan named {patient}, which may be "
                "a series number; expected the patient's name or ID"
            )


def check_twice(entries: Sequence[Entry]) -> None:
    """Report duplicate images, of the same or different patients, in the entries' problems."""
    same = defaultdict(list)
    for entry in entries:
        if entry.export is None and entry.source.exists():
            same[image_identity(entry.source)].append(entry)
    for copies in same.values():
        for entry in copies[1:]:
            entry.problems.append(f"the image is a duplicate of {shown(copies[0].source)}")


def listing(entries: Sequence[Entry], found: Found, outcomes: Outcomes, folder: Path) -> list[str]:
    """Summary as lines of text: a table of the scans, then all problems."""
    rows = [("patient", "scan", "segment", "mL", "died", "")]
    for entry in entries:
        volume = "" if entry.volume_ml is None else f"{entry.volume_ml:.1f}"
        died = "" if entry.died is None else str(entry.died)
        segment = f"{shown(entry.segmentation.name)}: {entry.segment}" if entry.segmentation else ""
        state = "left out" if entry.problems else "mask" if entry.mask else ""
        rows.append((entry.patient_id, shown(entry.source.relative_to(folder)), segment, volume, died, state))
    lines = aligned(rows)
    lines += ["", *(f"{shown(entry.source.relative_to(folder))}: {problem}" for entry in entries
                    for problem in entry.problems)]  # fmt: skip
    lines += [f"{shown(path.relative_to(folder))}: {why}" for path, why in [*found.alone, *found.unreadable]]
    absent = outcomes.without(entry.patient_id for entry in entries)
    if absent:
        names = first_few(absent, 10)
        lines.append(f"Patients of the table of outcomes without a scan ({len(absent)}): {names}.")
    good = [entry for entry in entries if not entry.problems]
    patients = {entry.patient_id for entry in good}
    lines.append(
        f"{len(good)} of {len(entries)} scans can be used: {len(patients)} patients, "
        f"{len({entry.patient_id for entry in good if entry.died})} of them died."
    )
    return lines


def write_manifest(entries: Sequence[Entry], output: Path, progress: Progress = NO_PROGRESS) -> None:
    """Write the table of scans, completely or not at all; scans from scenes are exported to a folder beside it.

    Parameters
    ----------
    entries : sequence of Entry
        The usable entries.
    output : Path
    progress : callable (fraction, message), optional

    Raises
    ------
    OutputError
    """
    output, exported = Path(output), [entry for entry in entries if entry.export is not None]
    columns = [*COLUMNS, *dict.fromkeys(name for entry in entries for name in entry.extra)]
    beside = output.with_name(f"{output.stem}-{SCENE_FILES}")
    if not exported:
        write_csv(output, [_record(entry, output.parent) for entry in entries], columns)
        return
    with new_folder(beside, SCENE_FILES, overwrite=True) as folder:
        for n, entry in enumerate(exported):
            progress(n / len(exported), f"Writing scan {n + 1} of {len(exported)}")
            entry.export(folder)
    for entry in exported:
        entry.image = beside / entry.image
        entry.mask = entry.mask and beside / entry.mask
    try:
        write_csv(output, [_record(entry, output.parent) for entry in entries], columns)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def check_output(output: Path, entries: Sequence[Entry]) -> None:
    """Check before the work that the output can be written.

    Raises
    ------
    OutputError
    """
    if any(entry.export is not None for entry in entries):
        check_folder(Path(output).with_name(f"{Path(output).stem}-{SCENE_FILES}"), SCENE_FILES, overwrite=True)


def is_manifest(path: Path) -> bool:
    """Whether a file is a table written by `write_manifest`, which may be overwritten."""
    try:
        return set(COLUMNS) <= set(read_csv(path).header)
    except InputError:
        return False


def _record(entry, folder):
    names = {"patient_id": entry.patient_id, "volume_ml": f"{entry.volume_ml:.4f}", "died": entry.died}
    paths = {name: _relative(getattr(entry, name), folder) for name in ("image", "mask", "segmentation")}
    return {**entry.extra, **names, **paths, "segment": entry.segment}


def _relative(path, folder):
    """A path as written in the table: relative to the table's folder, with slashes."""
    if path is None:
        return ""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # on another drive of Windows
        return path.resolve().as_posix()


def _key(name):
    """Normalized name of a patient: case is ignored, and so are leading zeros, which spreadsheets drop."""
    name = name.strip().casefold()
    return name.lstrip("0") or "0" if name.isdecimal() else name
