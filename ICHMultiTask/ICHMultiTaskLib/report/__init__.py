"""Results as files: HTML pages, tables, JSON, images; one writer for each output of an analysis."""

from ..common.registry import Registry

WRITERS = Registry(
    "output",
    __package__,
    {
        "json": ("report.json", ".result:write_json"),
        "html": ("report.html", ".result:write_html"),
        "attention": ("attention.nrrd", ".result:write_attention"),
    },
)
"""Each takes a `ReportContent` and an existing folder, and returns the path of the file it wrote, or None."""
