"""Translation of what a user reads: the application's inside 3D Slicer; elsewhere the text stays as it is."""

try:
    from slicer.i18n import tr
except ImportError:  # slicer-core has no translations

    def tr(text):
        """Return the text."""
        return text
