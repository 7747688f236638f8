"""From trained weights to a model bundle and its model card: export, averaging, recalibration."""
