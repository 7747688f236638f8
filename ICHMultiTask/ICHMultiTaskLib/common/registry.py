"""Registries of plug-ins by name: networks, attention methods, outputs, commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from .errors import InputError
from .translation import tr as _


class Registry(Mapping):
    """Entries of one kind, by name; each is imported on first use.

    Name, label and location of an entry are known without importing it, so that ``--help``, panels and checks need no
    PyTorch.

    Parameters
    ----------
    kind : str
        Kind of the entries, for messages: "network", "attention method".
    package : str
        Package that relative locations refer to: ``__package__`` of the registry's file.
    entries : dict of str to (str, str)
        Label for users and location "module:attribute", by name, in display order.
    """

    def __init__(self, kind: str, package: str, entries: Mapping[str, tuple[str, str]]):
        self.kind = kind
        self._package = package
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> Any:
        """Import the class or function of that name.

        Raises
        ------
        InputError
            If the name is unknown; the message lists the known ones.
        """
        self.check(name)
        module, _, attribute = self._entries[name][1].partition(":")
        return getattr(import_module(module, self._package), attribute)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries  # Mapping's own would import the code

    def label(self, name: str) -> str:
        """Label for users."""
        self.check(name)
        return self._entries[name][0]

    def check(self, name: object) -> None:
        """Raise InputError unless the name is known."""
        if name not in self._entries:
            known = ", ".join(self._entries)
            raise InputError(
                _("The {kind} is unknown: expected one of {known}, found {name!r}.").format(
                    kind=self.kind, known=known, name=name
                )
            )

    def add(self, name: str, label: str, place: str) -> None:
        """Register one more entry; for extensions and tests. Names are unique."""
        if name in self._entries:
            raise InputError(_("The {kind} {name!r} is already registered.").format(kind=self.kind, name=name))
        self._entries[name] = (label, place)
