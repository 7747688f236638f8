"""Tables as files: CSV as spreadsheets and programs write it."""

import csv
import difflib
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError
from .writing import write_text

_DELIMITERS = ",;\t|"
_WORKBOOKS = {b"PK\x03\x04": "an Excel workbook or a .zip", b"\xd0\xcf\x11\xe0": "an Excel workbook"}


@dataclass(frozen=True)
class CsvTable:
    """A table as it was read.

    Attributes
    ----------
    path : Path
    header : list of str
        No name stands twice; a column without a name is "".
    rows : list of (int, list of str)
        Those that are not blank, each with its number as a spreadsheet counts it and as many cells as the header.
    decimal_comma : bool
        Other signs stand between the cells, so that 1,5 can only be a number.
    """

    path: Path
    header: list
    rows: list
    decimal_comma: bool

    def records(self):
        """Rows as (number, dict of cells by column)."""
        return [(number, {name: cell for name, cell in zip(self.header, row) if name}) for number, row in self.rows]

    def require(self, names):
        """Refuse a table that lacks columns, in words that name those that may be meant.

        Raises
        ------
        InputError
        """
        missing = [name for name in names if name not in self.header]
        if not missing:
            return
        likely = [(name, near) for name in missing if (near := near_name(name, self.header))]
        hint = "".join(f'; is "{near}" {name}? Then rename it' for name, near in likely)
        raise InputError(
            f"The table {self.path} lacks columns: expected {', '.join(names)}, found no {', '.join(missing)} among "
            f"{', '.join(name for name in self.header if name)}{hint}."
        )


def read_csv(path):
    """Read a table: UTF-8, UTF-16 or Windows-1252, with commas, semicolons, tabs or bars between the cells.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    CsvTable

    Raises
    ------
    InputError
        If it cannot be read, is empty, names a column twice, or a row has more cells than the header.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"The table does not exist: expected a CSV file, found nothing at {path}.") from None
    except OSError as error:
        raise InputError(f"The table cannot be read: expected a CSV file, found {path} ({error.strerror}).") from error
    text = _decoded(content, path)
    stated = re.match(r"sep=(.)\r?\n", text)  # Excel writes and heeds it
    first = 2 if stated else 1
    text = text[stated.end() :] if stated else text
    delimiter = stated[1] if stated else _delimiter(text)
    try:
        rows = [(n, [cell.strip() for cell in row]) for n, row in enumerate(_parsed(text, delimiter), start=first)]
    except csv.Error as error:
        raise InputError(f"The table cannot be read: expected CSV, found {path} ({error}).") from error
    rows = [(number, row) for number, row in rows if any(row)]
    if len(rows) < 2:
        found = "only a header" if rows else "nothing"
        raise InputError(f"The table is empty: expected a header and one row per patient, found {found} in {path}.")
    header = rows[0][1]
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise InputError(f"Column names must differ: {path} has {', '.join(twice)} more than once.")
    for number, row in rows:
        if any(row[len(header) :]):
            raise InputError(
                f"Row {number} of {path} has {len(row)} cells: expected {len(header)} as in the header. A decimal "
                "comma needs quotes around the number, or semicolons between the cells."
            )
    width = len(header)
    return CsvTable(path, header, [(n, (row + [""] * width)[:width]) for n, row in rows[1:]], delimiter != ",")


def write_csv(path, rows, columns):
    """Write a table (UTF-8, commas), whole or not at all; None is an empty cell.

    Parameters
    ----------
    path : path-like
    rows : iterable of dict
    columns : sequence of str
        Those to be written, in this order.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def plain_name(name):
    """A column's name in lower case with underscores, so that "Volume (mL)" equals "volume_ml"."""
    return re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")


def near_name(name, columns):
    """The column whose name is nearest to one that is missing, or None where none is near."""
    by_name = {plain_name(column): column for column in reversed(columns) if column}
    near = difflib.get_close_matches(plain_name(name), by_name, n=1, cutoff=0.75)
    return by_name[near[0]] if near else None


def parsed_number(text, decimal_comma=False):
    """The finite number that a cell is, or None.

    Parameters
    ----------
    text : str
    decimal_comma : bool
        Of the table. Where commas stand between the cells, 1,234 in quotes may be thousands and is no number.
    """
    text = text.strip().replace("−", "-")
    if re.fullmatch(r"[+-]?\d+,\d+" if decimal_comma else r"[+-]?\d+,(?!\d{3}$)\d+", text):
        text = text.replace(",", ".")
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def _decoded(content, path):
    workbook = next((what for start, what in _WORKBOOKS.items() if content.startswith(start)), None)
    if workbook:
        raise InputError(f"The table cannot be read: expected CSV, found {workbook} at {path}; save it as CSV first.")
    zeros = content[:200:2].count(0), content[1:200:2].count(0)  # every other byte of most letters in UTF-16
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    elif max(zeros) > 0.4 * len(content[:200:2]):
        encodings = ["utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"]
    else:
        encodings = ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise InputError(
        f"The table cannot be read: expected CSV in UTF-8, UTF-16 or Windows-1252, found {path}, which is none of them."
    )


def _delimiter(text):
    """The sign that cuts the header into the most cells."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    return max(_DELIMITERS, key=lambda sign: len(next(csv.reader([header], delimiter=sign), ())))


def _parsed(text, delimiter):
    """Rows of cells; a quotation mark that is never closed is an error, for it would swallow the rows behind it."""
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            raise csv.Error("a quotation mark is opened and never closed") from error
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
