"""A head CT: readers of files, choice of the series, geometry, checks."""
