"""Every row of Docs/reliability.md names a test that exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "Docs" / "reliability.md"
FILES = {path.name: path for path in (ROOT / "Testing").rglob("*.py")}


def named_tests():
    """Row, file and test of everything in the last column of the tables; “…::name” is of the file named before."""
    file = None
    for row in PAGE.read_text(encoding="utf-8").splitlines():
        if not row.startswith("| ") or row.startswith(("| Kind", "| run")):
            continue
        for name in re.findall(r"`([^`]+)`", row.rsplit("|", 2)[-2]):
            path, _, test = name.partition("::")
            if path.endswith(".py"):
                file = path
            if test or path.endswith(".py"):
                yield row, file, test


def test_every_row_names_a_test_or_repeats_the_one_above():
    rows = {row for row, _, _ in named_tests()}
    tables = [
        line
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if re.match(r"\| (?!Kind|run|`OPENBLAS)[^-]", line)
    ]
    others = [row for row in tables if row not in rows and "| the same" not in row]
    assert len(rows) > 120 and not others


def test_every_test_that_the_page_names_exists():
    missing = []
    for _, file, test in named_tests():
        path = FILES.get(file.rsplit("/", 1)[-1])
        found = path is not None and path.as_posix().endswith(file)
        if not found or (test and not re.search(rf"^ *def {test}\(", path.read_text(encoding="utf-8"), re.MULTILINE)):
            missing.append(f"{file}::{test}")
    assert not missing
