"""The pages of the documentation."""

import re
from functools import cache
from pathlib import Path

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
