"""Tables as CSV files, in the variants that spreadsheets and programs write."""

from __future__ import annotations

import csv
import difflib
import io
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError
from .translation import joined
from .translation import tr as _
from .writing import write_text

_DELIMITERS = ",;\t|"
_THOUSANDS = re.compile(r"[+-]?\d{1,3}([ \u00a0\u2009\u202f'’.,])\d{3}(?:\1\d{3})*((?!\1)[.,]\d+)?")
_OTHER_FILES = {
    b"PK\x03\x04": _("an Excel workbook or a .zip"),
    b"\xd0\xcf\x11\xe0": _("an Excel workbook"),
    b"<": _("a page of the web, as some programs name .xls"),
    b"%PDF": _("a PDF"),
    b"\x1f\x8b": _("a compressed file"),
}


@dataclass(frozen=True)
class CsvTable:
    """A table read from a file.

    Attributes
    ----------
    path : Path
    header : list of str
        Unique names; a column without a name is "".
    rows : list of (int, list of str)
        Rows that are not blank: number as in a spreadsheet, and as many cells as the header.
    decimal_comma : bool
        Whether the delimiter is not a comma, so that 1,5 must be a number.
    """

    path: Path
    header: list[str]
    rows: list[tuple[int, list[str]]]
    decimal_comma: bool

    def records(self) -> list[tuple[int, dict[str, str]]]:
        """Rows as (number, dict of cells by column)."""
        return [(number, {name: cell for name, cell in zip(self.header, row) if name}) for number, row in self.rows]

    def require(self, names: Sequence[str]) -> None:
        """Refuse a table without the named columns; the message suggests similar names.

        Raises
        ------
        InputError
        """
        missing = [name for name in names if name not in self.header]
        if not missing:
            return
        likely = [(name, near) for name in missing if (near := near_name(name, self.header))]
        hint = joined(
            "", (_('; is "{found}" {name}? Then rename it').format(found=near, name=name) for name, near in likely)
        )
        raise InputError(
            _("The table {path} lacks columns: expected {names}, found no {missing} among {header}{hint}.").format(
                path=self.path,
                names=", ".join(names),
                missing=", ".join(missing),
                header=", ".join(name for name in self.header if name),
                hint=hint,
            )
        )


def read_csv(path: str | os.PathLike) -> CsvTable:
    """Read a table: UTF-8, UTF-16 or Windows-1252, delimited by commas, semicolons, tabs or bars.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    CsvTable

    Raises
    ------
    InputError
        If it cannot be read, is empty, has two columns of the same name, or a row has more cells than the header.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            _("The table does not exist: expected a CSV file, found nothing at {path}.").format(path=path)
        ) from None
    except OSError as error:
        raise InputError(
            _("The table cannot be read: expected a CSV file, found {path} ({reason}).").format(
                path=path, reason=error.strerror
            )
        ) from error
    text = _decoded(content, path)
    stated = re.match(r"sep=(.)\r?\n", text)  # Excel's statement of the delimiter
    first = 2 if stated else 1
    text = text[stated.end() :] if stated else text
    delimiter = stated[1] if stated else _delimiter(text)
    try:
        rows = [(n, [_plain_cell(cell) for cell in row]) for n, row in enumerate(_parsed(text, delimiter), start=first)]
    except csv.Error as error:
        raise InputError(
            _("The table cannot be read: expected CSV, found {path} ({error}).").format(path=path, error=error)
        ) from error
    rows = [(number, row) for number, row in rows if any(row)]
    if len(rows) < 2:
        found = _("only a header") if rows else _("nothing")
        raise InputError(
            _("The table is empty: expected a header and one row per patient, found {found} in {path}.").format(
                found=found, path=path
            )
        )
    _refuse_title(path, rows)
    header = rows[0][1]
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise InputError(
            _("Column names must differ: {path} has {twice} more than once.").format(path=path, twice=", ".join(twice))
        )
    for number, row in rows:
        if any(row[len(header) :]):
            raise InputError(
                _(
                    "Row {number} of {path} has {count} cells: expected {expected} as in the header. A "
                    "decimal comma needs quotes around the number, or semicolons between the cells."
                ).format(number=number, path=path, count=len(row), expected=len(header))
            )
    width = len(header)
    return CsvTable(path, header, [(n, (row + [""] * width)[:width]) for n, row in rows[1:]], delimiter != ",")


def write_csv(path: str | os.PathLike, rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Write a table (UTF-8, commas), atomically; None becomes an empty cell.

    Parameters
    ----------
    path : path-like
    rows : iterable of dict
    columns : sequence of str
        Columns to write, in this order.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of text in which the cells of each column stand one below the other."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def plain_name(name: str) -> str:
    """Normalize the name of a column: "Volume (mL)" becomes "volume_ml"."""
    return re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")


def near_name(name: str, columns: Sequence[str]) -> str | None:
    """The column with the name most similar to a missing one, or None if none is similar."""
    by_name = {plain_name(column): column for column in reversed(columns) if column}
    near = difflib.get_close_matches(plain_name(name), by_name, n=1, cutoff=0.75)
    return by_name[near[0]] if near else None


def parsed_number(text: str, decimal_comma: bool = False) -> float | None:
    """Parse the finite number in a cell, or return None.

    Parameters
    ----------
    text : str
    decimal_comma : bool
        Of the table. If commas are the delimiter, a quoted 1,234 may mean thousands and is not accepted.

    Thousands are recognized where nothing else can be meant: 12 345, 12'345, 1,234.5, 1.234,5 and 1.234.567.
    """
    text = text.strip().replace("−", "-")
    thousands = _THOUSANDS.fullmatch(text)
    if thousands and (thousands[1] not in ".," or thousands[2] or text.count(thousands[1]) > 1):
        text = text.replace(thousands[1], "").replace(",", ".")
    if re.fullmatch(r"[+-]?\d+,\d+" if decimal_comma else r"[+-]?\d+,(?!\d{3}$)\d+", text):
        text = text.replace(",", ".")
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def _plain_cell(text):
    """A cell without spaces around it, and without the formula by which programs keep the zeros of ="007"."""
    text = text.strip()
    return text[2:-1] if re.fullmatch('="[^"]*"', text) else text


def _refuse_title(path, rows):
    """Refuse a table with a title, or anything else that is a single cell, in place of the names of its columns."""
    title, *more = filter(None, rows[0][1])
    if not more and any(len(list(filter(None, row))) > 1 or re.search(r"[,;\t|]", row[0]) for _number, row in rows[1:]):
        raise InputError(
            _(
                "The first row of {path} is a single cell: expected the names of the columns in it, found “{title}”; "
                "remove rows above the names, and quotation marks around whole rows."
            ).format(path=path, title=title)
        )


def _decoded(content, path):
    other = next((what for start, what in _OTHER_FILES.items() if content.lstrip().startswith(start)), None)
    if other:
        raise InputError(
            _("The table cannot be read: expected CSV, found {other} at {path}; save it as CSV first.").format(
                other=other, path=path
            )
        )
    zeros = content[:200:2].count(0), content[1:200:2].count(0)  # in UTF-16, every other byte of Latin text
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
        _(
            "The table cannot be read: expected CSV in UTF-8, UTF-16 or Windows-1252, found {path}, which "
            "is none of them."
        ).format(path=path)
    )


def _delimiter(text):
    """The delimiter that splits the header into the most cells."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    return max(_DELIMITERS, key=lambda sign: len(next(csv.reader([header], delimiter=sign), ())))


def _parsed(text, delimiter):
    """Rows of cells; an unclosed quotation mark is an error, since it would swallow the following rows."""
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            raise csv.Error(_("a quotation mark is opened and never closed")) from error
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
