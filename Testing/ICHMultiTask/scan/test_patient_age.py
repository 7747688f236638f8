"""The patient's age in a DICOM header, as makers and de-identification leave it."""

import pytest

from ICHMultiTaskLib.scan.patient_age import patient_age


@pytest.mark.parametrize(
    "stated, birth, study, years",
    [
        ("071Y", "", "20240301", 71),
        (" 71y ", "", "", 71),
        ("", "19550302", "20240301", 68),
        ("", "19550301", "20240301", 69),
        ("069Y", "19550302", "20240301", 69),
        ("030M", "", "", 2),
        ("", "", "", None),
        ("000Y", "", "", None),
        ("071", "", "", None),
        ("999Y", "", "", None),
        ("040Y", "19550302", "20240301", None),
        ("", "19000101", "20240301", None),
        ("071Y", "19000101", "20240301", 71),
        ("", "20240301", "19550301", None),
        ("", "anonymous", "20240301", None),
    ],
)
def test_age(stated, birth, study, years):
    assert patient_age(stated, birth, study) == years
