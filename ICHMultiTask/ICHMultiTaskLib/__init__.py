"""Intracerebral hemorrhage on head CT: volume, prognosis and attention, on arrays with a geometry.

>>> from ICHMultiTaskLib import analyze
>>> result = analyze("folder of DICOM files, NIfTI or NRRD file")  # doctest: +SKIP
>>> print(result.volume_ml, result.volume_interval_ml, result.mortality_probability)  # doctest: +SKIP
"""

__version__ = "0.1.0"
__all__ = ["analyze"]


def __getattr__(name):
    # On first use, so that importing the package stays quick and needs no PyTorch.
    if name == "analyze":
        from .analysis.analyzer import analyze

        return analyze
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
