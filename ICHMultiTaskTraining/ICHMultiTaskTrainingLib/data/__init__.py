"""Tables of scans, labels, splits, the cache of prepared scans, and batches."""
