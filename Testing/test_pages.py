"""The pages of the documentation."""

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

from ICHMultiTaskLib import cli
from ICHMultiTaskLib.common.shell import parse
from ICHMultiTaskTrainingLib import cli as trainer

REPOSITORY = Path(__file__).parents[1]
PAGES = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("Docs/*.md"), *REPOSITORY.glob("ICHMultiTask/Resources/**/*.md")]


@cache
def text_of(page):
    """Without blocks of code, whose brackets are no links and whose comments are no headings."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors_of(page):
    """As GitHub makes them from the headings, and those that a page names itself."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)"', text_of(page)))


def test_links_lead_to_a_file_and_a_heading():
    lost, count = [], 0
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text_of(page)):
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            count += 1
            if not file.exists() or (anchor and anchor not in anchors_of(file)):
                lost.append(f"{page.relative_to(REPOSITORY)}: {target}")
    assert count > 100 and not lost


OURS = re.compile(r"\s*(?:\S+ -m |torchrun .*-m )?(ichmultitask|ichmultitask-train|ICHMultiTaskTrainingLib) (.*)")


def commands_of(page):
    """Program and arguments of each command of ours in the page's blocks of code; a line with [--option] is a usage."""
    text = (
        page.read_text(encoding="utf-8").replace("\\\n", " ").replace("python3 run.py analyze", "ichmultitask analyze")
    )
    for block in re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for line in re.split(r"\n|; do(?:ne)?\b|&&|\|\|", re.sub(r"\$\w+|…", "0", block)):
            found = OURS.match(line)
            if found and "[-" not in line:
                yield cli if found[1] == "ichmultitask" else trainer, shlex.split(found[2], comments=True)


def test_commands_that_the_pages_show_are_understood(capsys):
    refused, count = [], 0
    for page in PAGES:
        for program, arguments in commands_of(page):
            count += 1
            try:
                parse("program", program.COMMANDS, arguments, "")
            except SystemExit:
                refused.append(f"{page.name}: {' '.join(arguments)}\n{capsys.readouterr().err}")
    assert count > 50 and not refused


def test_table_of_the_rooms_is_that_of_the_code():
    made = subprocess.run(
        [sys.executable, REPOSITORY / "Testing" / "figures" / "architecture.py", "--table"],
        capture_output=True, encoding="utf-8", check=True, env={**os.environ, "PYTHONUTF8": "1"},
    )  # fmt: skip
    assert made.stdout in (REPOSITORY / "Docs" / "architecture.md").read_text(encoding="utf-8")
