"""Images that a model was made with, as checksums in its bundle, so that it is not judged by them unawares."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.names import first_few
from ICHMultiTaskLib.model.bundle import ModelBundle
from ICHMultiTaskLib.scan.identity import image_identity

from .manifest import Row

BYTES = 5
"""Of the checksum of an image: among 10,000 images, one of 2000 others would be taken for one of them in one of 50,000
tables."""


def checksums(images: Iterable[Path]) -> frozenset[bytes]:
    """A short checksum of each image's files, from which neither image nor patient can be found."""
    return frozenset(hashlib.sha256(repr(image_identity(image)).encode()).digest()[:BYTES] for image in images)


def as_text(found: Iterable[bytes]) -> str:
    """Checksums as text for the metadata of a bundle."""
    return base64.b64encode(b"".join(sorted(found))).decode()


def images_of(bundle: ModelBundle, *parts: str) -> frozenset[bytes]:
    """Checksums of the images that a model was made with; empty for models that do not state them.

    Parameters
    ----------
    bundle : ModelBundle
    *parts : str
        "training", which includes the validation, "calibration", or both.

    Returns
    -------
    frozenset of bytes
    """
    content = b"".join(base64.b64decode(bundle.metadata.get(part, {}).get("images", "")) for part in parts)
    return frozenset(content[n : n + BYTES] for n in range(0, len(content), BYTES))


def seen_rows(bundle: ModelBundle, rows: Sequence[Row], *parts: str) -> list[Row]:
    """Rows of a table whose images a model was made with; `parts` as in `images_of`."""
    known = images_of(bundle, *parts)
    return [row for row in rows if known and checksums([row.image]) <= known]


def check_unseen(bundle: ModelBundle, rows: Sequence[Row], purpose: str, *parts: str) -> None:
    """Refuse a table with scans that a model was made with.

    Parameters
    ----------
    bundle : ModelBundle
    rows : sequence of Row
    purpose : str
        Such as "calibrated on": why they matter.
    *parts : str
        As in `images_of`.

    Raises
    ------
    InputError
    """
    seen = seen_rows(bundle, rows, *parts)
    if seen:
        raise InputError(
            f"The model {bundle.name} cannot be {purpose} scans of its own {' or '.join(parts)}: expected others, "
            f"found {len(seen)} of {len(rows)} ({first_few([row.patient_id for row in seen])})."
        )
