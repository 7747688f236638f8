"""HTML pages from Jinja2 templates: one style, no external resources, readable on screen and on paper."""

import base64
import os
from pathlib import Path
from typing import Any

from ..common import numbers
from ..common.clinical_variables import read_with
from ..common.research_use import RESEARCH_USE_IN_FULL
from ..model.attention import stage_words

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, folder: str | os.PathLike = TEMPLATES, **values: Any) -> str:
    """Fill a template; every text is escaped.

    Parameters
    ----------
    template : str
        File name.
    folder : path
        Folder of the template; templates that it extends or includes may also be in `TEMPLATES`.
    **values
        Variables of the template. The functions of `common.numbers` are filters; the filter `png` makes the source of
        an image from the bytes of a PNG file.

    Returns
    -------
    str
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([str(folder), str(TEMPLATES)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    names = (
        "number", "percent", "probability", "probability_range", "interval", "p_value", "yes_no", "position", "date",
        "counted",
    )  # fmt: skip
    environment.filters |= {name: getattr(numbers, name) for name in names} | {
        "png": _png,
        "read_with": read_with,
        "stage_words": stage_words,
    }
    return environment.get_template(template).render(research_use=RESEARCH_USE_IN_FULL, **values)


def _png(data):
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
