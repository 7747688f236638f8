"""The model beside segmentations, bedside formulas, clinical scores, earlier scans and other readers."""
