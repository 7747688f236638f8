"""What a user reads, in his language and with his decimals: the application's; elsewhere texts stay as they are.

Tables and files keep the point: they are read by other programs.
"""

from __future__ import annotations

import functools
import re

_DECIMALS = re.compile(r"(?<![\w./:])(\d+)\.(\d+)(?![\w/]|\.\d)")
"""A number with decimals, and no version, DOI or name such as ABC/2.4."""

try:
    from slicer.i18n import tr
except ImportError:  # slicer-core has no translations

    def tr(text: str) -> str:
        """Return the text."""
        return text


def local(text: str) -> str:
    """Give the numbers of a text the decimal sign of the system.

    Parameters
    ----------
    text : str
        What is shown, such as "23.4 mL".
    """
    return with_decimal_sign(text, decimal_sign())


def with_decimal_sign(text: str, sign: str) -> str:
    """Replace the decimal points of the numbers in a text."""
    return text if sign == "." else _DECIMALS.sub(rf"\1{sign}\2", text)


@functools.cache
def decimal_sign() -> str:
    """What the system writes between the digits of a number."""
    try:
        from qt import QLocale
    except ImportError:
        return "."
    return chr(sign) if isinstance(sign := QLocale.system().decimalPoint(), int) else str(sign)
