"""The trainer and the files of a run."""
