"""Sign NRRD files, to distinguish files written by this software from files edited since."""

import hashlib
import re
from pathlib import Path

from .writing import whole_file

_LINE = re.compile(rb"(NRRD\d{4}\r?\n)# ICHMultiTask sha256 ([0-9a-f]{64})\n")


def sign(path: Path) -> None:
    """Write the checksum of an NRRD file into a comment of its header."""
    content = path.read_bytes()
    magic, rest = content.split(b"\n", 1)
    with whole_file(path) as file:
        file.write(b"%b\n# ICHMultiTask sha256 %b\n%b" % (magic, hashlib.sha256(content).hexdigest().encode(), rest))


def is_unchanged(path: Path) -> bool:
    """Whether a file was signed by `sign` and not changed since."""
    content = path.read_bytes()
    found = _LINE.match(content)
    if found is None:
        return False
    return hashlib.sha256(found[1] + content[found.end() :]).hexdigest().encode() == found[2]
