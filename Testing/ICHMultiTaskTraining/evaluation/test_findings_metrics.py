"""Counting how often the findings are right."""

from ICHMultiTaskLib.analysis.findings.finding import Finding, Findings
from ICHMultiTaskTrainingLib.evaluation.findings import findings_metrics, found_findings


def record(location, side, ivh, found, hemorrhage="found"):
    return {
        "patient_id": f"P-{side}",
        "location": location,
        "side": side,
        "ivh": ivh,
        "hemorrhage": hemorrhage,
        **found,
    }


def told(location, side, ivh):
    infratentorial = location in ("cerebellum", "brainstem")
    items = (Finding("location", "Location", location), Finding("ivh", "Blood in the ventricles", ivh))
    items += (Finding("side", "Side", side),)
    return found_findings(Findings(side, location, infratentorial, items))


def test_shares():
    records = [
        record("putamen", "left", "1", told("deep", "left", True)),
        record("lobar", "right", "0", told("cerebellum", "right", True)),
        record("brainstem", "midline", "0", told("cerebellum", "left", False)),
        record("thalamus", "right", "1", told("deep", "left", False)),
        record("lobar", "right", "1", found_findings(None)),
        record("lobar", "right", "1", told("lobar", "right", True), hemorrhage="uncertain"),
        record("", "", "0", found_findings(None)),
    ]
    assert findings_metrics(records) == {
        "patients": 3,  # named by the side here
        "scans": 5,
        "told": 4,
        "location": 0.5,
        "infratentorial": 0.75,
        "side": 2 / 3,
        "ivh_sensitivity": 0.5,
        "ivh_specificity": 0.5,
    }


def test_a_manifest_without_locations_gives_no_metrics():
    assert findings_metrics([record(None, None, None, told("lobar", "left", False))]) is None
    unknown = findings_metrics([record("lobar", None, None, told("lobar", "left", False))])
    assert unknown["location"] == 1.0 and unknown["side"] is None and unknown["ivh_sensitivity"] is None
