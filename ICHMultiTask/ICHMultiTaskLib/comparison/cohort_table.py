"""Tables of a cohort: one or several CSV files, wide or long, as cells by column and patient."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from ..common.errors import InputError
from ..common.names import spelled_twice
from ..common.tables import near_name, parsed_number, plain_name, read_csv
from ..common.translation import joined
from ..common.translation import tr as _

PATIENT = ("patient_id", "patient", "subject_id", "subject", "scan_id", "scan", "case_id", "case", "id")
"""Names by which the column of patients is recognized."""
SUMMARY = re.compile(
    r"((mean|average|avg|median|totals?|sum|std|stdev|standard (deviation|error)|range|iqr|count"
    r"|mittelwert|durchschnitt|summe|gesamt|standardabweichung|anzahl|moyenne|m[ée]diane|somme|[ée]cart[- ]type"
    r"|media|mediana|promedio|suma|totale|somma|gemiddelde|totaal|平均值?|合计|总计|中位数)([ .:=±(+/].*)?"
    r"|(n|sd|min|max|minimum|maximum)[.:]?)",
    re.IGNORECASE,
)
"""What stands in place of a patient in the last rows of a table, which spreadsheets calculate from the others."""
Tables = str | os.PathLike | Sequence[str | os.PathLike] | Mapping[str, Sequence]
"""A CSV file, several, or columns by name."""


@dataclass
class Table:
    """Cells of the tables by column and patient.

    Attributes
    ----------
    cells : dict of str to dict of str to (str, str)
        By column and patient: the text and its location, such as "row 5".
    patients : dict of str to True
        In the order of the table.
    conflicts : dict of str to list of str
        By column: patients with two different values.
    methods : list of str
        Methods named in a long table; they are also columns of `cells`.
    decimal_comma : bool
        As in `CsvTable`.
    warnings : list of str
    """

    cells: dict = field(default_factory=dict)
    patients: dict = field(default_factory=dict)
    conflicts: dict = field(default_factory=dict)
    methods: list = field(default_factory=list)
    decimal_comma: bool = False
    warnings: list = field(default_factory=list)

    def number(self, text: str) -> float | None:
        """Parse a finite number, or return None."""
        return parsed_number(text, self.decimal_comma)

    def put(self, column: str, patient: str, text: str, place: str) -> None:
        """Store a cell; note a conflict with an earlier one."""
        cells = self.cells.setdefault(column, {})
        before, where = cells.get(patient, ("", ""))
        if not before:
            cells[patient] = (text, place)
        elif text and text != before and (self.number(text) is None or self.number(text) != self.number(before)):
            words = _("patient {patient} has {before} in {where} and {value} in {place}")
            conflict = words.format(patient=patient, before=before, where=where, value=text, place=place)
            self.conflicts.setdefault(column, []).append(conflict)


def read_tables(
    tables: Tables, patient: str | None = None, method_column: str | None = None, volume_column: str | None = None
) -> Table:
    """Read tables and join them by patient.

    Parameters
    ----------
    tables : path, sequence of path, or mapping of str to sequence
        Files for `common.tables.read_csv`, or columns.
    patient : str, optional
        Column that identifies the patient; several columns, separated by commas, if one does not identify patients.
    method_column, volume_column : str, optional
        In a long table, which has a row for each patient and method.

    Returns
    -------
    Table

    Raises
    ------
    InputError
        If a table cannot be read or lacks one of these columns.
    """
    if not tables:
        raise InputError(_("No table was given: expected CSV files, or columns by name."))
    table = Table()
    if hasattr(tables, "keys"):
        sources = [("the table", *_columns(tables))]
    else:
        paths = [tables] if isinstance(tables, (str, Path)) else list(tables)
        sources = [(str(path), *_rows(Path(path), table, len(paths) > 1)) for path in paths]
    long = [method_column, volume_column] if method_column else []
    for source, header, rows in sources:
        if patient:
            key = [name.strip() for name in patient.split(",")]
        else:
            key = [detect(PATIENT, header) or missing_column("patient", PATIENT, header)]
        of_methods = long if len(sources) == 1 or set(long) <= set(header) else []
        absent = [name for name in key + of_methods if name not in header]
        if absent:
            likely = [near for name in absent if (near := near_name(name, header))]
            hint = _(" Is {names} meant?").format(names=" or ".join(likely)) if likely else ""
            raise InputError(
                _("There is no column {absent} in {source}: found {header}.{hint}").format(
                    absent=", ".join(absent), source=source, header=", ".join(header), hint=hint
                )
            )
        _fill(table, header, _of_patients(table, header, rows, key), key, of_methods)
    _refuse_spellings(table.patients)
    return table


def _refuse_spellings(patients):
    """Refuse two spellings of one patient, whose volumes would not meet."""
    twice = [_("{one} and {other}").format(one=one, other=other) for one, other, *_more in spelled_twice(patients)]
    if twice:
        raise InputError(
            _(
                "Patients seem to be spelled in several ways: expected one name for each, as in every table, found "
                "{listed}."
            ).format(listed=listed(twice, 3))
        )


def plain_volume(name: str) -> str:
    """The `plain_name` of a column, with cc, ccm and cm³ as mL, which they are."""
    return plain_name(re.sub(r"(?<![a-z])(ccm?|cm ?\^?[3³])(?![a-z0-9])", "ml", name, flags=re.IGNORECASE))


def detect(standard: Sequence[str], columns: Sequence[str]) -> str | None:
    """The column with the first of the standard names that occurs, or None."""
    by_name = {plain_volume(column): column for column in reversed(columns)}
    return next((by_name[name] for name in standard if name in by_name), None)


def missing_column(role: str, standard: Sequence[str], columns: Sequence[str]) -> NoReturn:
    """Raise InputError: no column has a standard name of this role."""
    raise InputError(
        _(
            "No column was recognized as the {role}: expected a name such as {standard}, or an option that "
            "names it; found {columns}."
        ).format(role=role, standard=", ".join(standard[:4]), columns=", ".join(columns))
    )


def listed(items: Sequence[str], most: int = 10) -> str:
    """Join items to one text; beyond `most`, only count them."""
    more = [_("and {count} more").format(count=len(items) - most)] if len(items) > most else []
    return joined("; ", (*items[:most], *more))


def _columns(mapping):
    columns = {str(name): list(values) for name, values in mapping.items()}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1:
        raise InputError(_("The columns must have the same length: found {lengths}.").format(lengths=lengths))
    texts = zip(*(["" if value is None else str(value).strip() for value in values] for values in columns.values()))
    return list(columns), [(f"row {number}", list(row)) for number, row in enumerate(texts, start=1)]


def _rows(path, table, several):
    read = read_csv(path)
    table.decimal_comma = table.decimal_comma or read.decimal_comma
    where = f" of {path.name}" if several else ""
    return read.header, [(f"row {number}{where}", cells) for number, cells in read.rows]


def _of_patients(table, header, rows, key):
    """The rows without those at the end that summarize the others; a warning names these."""
    names = [" ".join(filter(None, (cells[header.index(name)] for name in key))) for _place, cells in rows]
    end = len(rows)
    while end and (not names[end - 1] or SUMMARY.fullmatch(names[end - 1])):
        end -= 1
    left_out = [f"{place[0]} ({name})" for place, name in zip(rows[end:], names[end:]) if name]
    if not end or not left_out:
        return rows
    table.warnings.append(
        _("Left out, since they summarize the table and are no patients: {listed}.").format(listed=listed(left_out))
    )
    return [row for n, row in enumerate(rows) if n < end or not names[n]]


def _fill(table, header, rows, key, of_methods):
    column = {name: n for n, name in enumerate(header) if name}
    others = [name for name in column if name not in key + of_methods]
    places, nameless = {}, []
    for place, cells in rows:
        if not all(cells[column[name]] for name in key):
            nameless.append(place)
            continue
        patient = " ".join(cells[column[name]] for name in key)
        method, volume = (cells[column[name]] for name in of_methods) if of_methods else ("", "")
        table.patients[patient] = True
        places.setdefault((patient, method), []).append(place)
        for name in others:
            table.put(name, patient, cells[column[name]], place)
        if method:
            table.put(method, patient, volume, place)
            if method not in table.methods:
                table.methods.append(method)
    if nameless:
        table.warnings.append(
            _("Left out because {key} is empty: {listed}.").format(key=" or ".join(key), listed=listed(nameless))
        )
    repeated = {}
    for (patient, _key), found in places.items():
        if len(found) > 1:
            repeated.setdefault(patient, []).extend(found)
    if repeated:
        examples = [f"{name} ({', '.join(found[:2])}{', …' * (len(found) > 2)})" for name, found in repeated.items()]
        table.warnings.append(
            _(
                "{count} of {patients} patients appear more than once, with the same volumes, and are "
                "counted once: {listed}."
            ).format(count=len(repeated), patients=len(table.patients), listed=listed(examples, 3))
        )
