"""Analysis of one scan, and comparison of two scans of one patient."""
