"""Sentences of the library in English, which know how to be shown in the user's language.

A module imports `tr` as ``_``, marks its sentences by it as literals, and fills in their placeholders afterward by
`format`. What it gets is the English sentence, so that reports, tables, scenes and the shell are the same in every
language. Only what shows the sentence asks for its translation, by `translated`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any


class Text(str):
    """An English text that remembers the words and values it was made of.

    Operations other than `format` give a plain string, which stays English.

    Attributes
    ----------
    context : str
        Where the words were marked, as Slicer's tools name it: folder and file, such as "analysis.growth". Empty if
        there are no words to translate, only values.
    words : str
        The marked words, with their placeholders.
    values : dict of str to object
        What was put into the placeholders.
    """

    context: str
    words: str
    values: Mapping[str, Any]

    def __new__(cls, text: str, context: str = "", words: str = "", values: Mapping[str, Any] | None = None) -> Text:
        """Make the text of these parts."""
        self = super().__new__(cls, text)
        self.context, self.words, self.values = context, words or text, values or {}
        return self

    def format(self, **values: Any) -> Text:
        """Fill in the placeholders; values that are texts, or errors raised with one, are translated with it."""
        values = {name: message(value) if isinstance(value, BaseException) else value for name, value in values.items()}
        return Text(super().format(**values), self.context, self.words, values)


_translate: Callable[[str, str], str] | None = None


def install_translator(translate: Callable[[str, str], str] | None) -> None:
    """Set what translates words for the screen.

    Parameters
    ----------
    translate : callable (context, words) -> str, or None
        None: texts are shown in English.
    """
    global _translate
    _translate = translate


def tr(text: str) -> Text:
    """Mark words for translation; imported as ``_`` and called with a literal, so that Slicer's tools find them.

    Returns
    -------
    Text
        The same words.
    """
    path = PurePath(sys._getframe(1).f_code.co_filename)
    return Text(text, f"{path.parent.name}.{path.stem}")


def message(error: BaseException) -> str:
    """What an error says, as the text that it was raised with."""
    said = error.args[0] if len(error.args) == 1 else None
    return said if isinstance(said, Text) else str(error)


def translated(text: str | BaseException) -> str:
    """What the user reads.

    Parameters
    ----------
    text : str or Exception
        A `Text`, or an error raised with one, is translated; every other string stays as it is.
    """
    if isinstance(text, BaseException):
        text = message(text)
    if not isinstance(text, Text) or _translate is None:
        return str(text)
    words = _translate(text.context, text.words) if text.context else text.words
    if not text.values:
        return words
    values = {name: translated(value) if isinstance(value, Text) else value for name, value in text.values.items()}
    try:
        return words.format(**values)
    except (KeyError, IndexError, ValueError):  # placeholders were altered in the translation
        return str(text)


def joined(separator: str, texts: Iterable[str]) -> Text:
    """Join texts, each of which is translated when the whole is shown.

    Parameters
    ----------
    separator : str
    texts : iterable of str

    Returns
    -------
    Text
    """
    texts = list(texts)
    words = separator.join(f"{{t{n}}}" for n in range(len(texts)))
    return Text(words, "", words).format(**{f"t{n}": text for n, text in enumerate(texts)})


def records_of(tree: Any) -> dict[str, list]:
    """Parts of all texts in a tree of dicts and lists, to be stored with it as JSON.

    Returns
    -------
    dict of str to list
        Context, words and values by English text, for `with_texts`.
    """
    records = {}
    if isinstance(tree, Text):
        values = {name: _plain(value) for name, value in tree.values.items()}
        records[str(tree)] = [tree.context, tree.words, values]
        for value in tree.values.values():
            records |= records_of(value)
    elif isinstance(tree, Mapping):
        for value in tree.values():
            records |= records_of(value)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            records |= records_of(value)
    return records


def with_texts(tree: Any, records: object) -> Any:
    """Put stored texts in place of the English strings in a tree of dicts and lists.

    Parameters
    ----------
    tree : dict, list or value, as read from JSON
    records : dict
        From `records_of`; unreadable ones are ignored, so that their strings stay English.
    """
    if not isinstance(records, dict):
        return tree
    if isinstance(tree, str):
        record = records.get(tree)
        if not isinstance(record, list) or len(record) != 3 or not isinstance(record[2], dict):
            return tree
        inner = {key: value for key, value in records.items() if key != tree}
        return Text(tree, str(record[0]), str(record[1]), with_texts(record[2], inner))
    if isinstance(tree, dict):
        return {key: with_texts(value, records) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [with_texts(value, records) for value in tree]
    return tree


def _plain(value):
    """A value of a placeholder as JSON holds it."""
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    return value.item() if hasattr(value, "item") else str(value)
