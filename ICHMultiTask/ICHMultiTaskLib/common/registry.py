"""One way to name the things of a kind: networks, attention methods, file formats, outputs, commands."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from .errors import InputError


class Registry(Mapping):
    """The known things of one kind, by name; each is imported on first use.

    A name, its label and the place of its code are known without importing it, so that ``--help``, panels and checks
    need no PyTorch.

    Parameters
    ----------
    kind : str
        What the things are, for messages: "network", "attention method".
    package : str
        Package that relative places start from; ``__package__`` of the registry's file.
    entries : dict of str to (str, str)
        Label for a reader and place "module:attribute", by name, in the order in which they are shown.
    """

    def __init__(self, kind: str, package: str, entries: Mapping[str, tuple[str, str]]):
        self.kind = kind
        self._package = package
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> Any:
        """The class or function of that name.

        Raises
        ------
        InputError
            If the name is unknown; the sentence lists the known ones.
        """
        self.check(name)
        module, _, attribute = self._entries[name][1].partition(":")
        return getattr(import_module(module, self._package), attribute)

    def __iter__(self):
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries  # Mapping's own would import the code

    def label(self, name: str) -> str:
        """Text for a reader."""
        self.check(name)
        return self._entries[name][0]

    def check(self, name: object) -> None:
        """Raise InputError unless the name is known."""
        if name not in self._entries:
            known = ", ".join(self._entries)
            raise InputError(f"The {self.kind} is unknown: expected one of {known}, found {name!r}.")

    def add(self, name: str, label: str, place: str) -> None:
        """Register one more; for extensions and tests. A name is given only once."""
        if name in self._entries:
            raise InputError(f"The {self.kind} {name!r} is registered already.")
        self._entries[name] = (label, place)
