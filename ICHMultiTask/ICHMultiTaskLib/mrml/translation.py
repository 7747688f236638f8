"""Texts for the user in the application's language and with the system's decimal sign; elsewhere unchanged.

Tables and files keep the decimal point, since other programs read them.
"""

from __future__ import annotations

import functools
import re

from ..common.translation import Text, install_translator, translated

_DECIMALS = re.compile(r"(?<![\w./:])(\d+)\.(\d+)(?![\w/]|\.\d)")
"""A number with decimals that is not part of a version, DOI or name such as ABC/2.4."""

try:
    from slicer.i18n import tr, translate
except ImportError:  # slicer-core has no translations
    translate = None

    def tr(text: str) -> str:
        """Return the text in the user's language, if a translator was installed."""
        return translated(Text(text, "panel"))


install_translator(translate)


def local(text: str) -> str:
    """Translate a text, and give its numbers the decimal sign of the system.

    Parameters
    ----------
    text : str
        Text to show, such as "23.4 mL".
    """
    return with_decimal_sign(translated(text), decimal_sign())


def with_decimal_sign(text: str, sign: str) -> str:
    """Replace the decimal points of the numbers in a text."""
    return text if sign == "." else _DECIMALS.sub(rf"\1{sign}\2", text)


@functools.cache
def decimal_sign() -> str:
    """The decimal sign of the system."""
    try:
        from qt import QLocale
    except ImportError:
        return "."
    return chr(sign) if isinstance(sign := QLocale.system().decimalPoint(), int) else str(sign)
