"""Head CT: file readers, choice of the series, geometry, checks."""
