"""What descriptions say, held against those of real consoles and archives.

`series_descriptions.csv` lists descriptions with the class that they mean, their maker and where they were found; those
marked “(u)” are a maker's usual names, not seen in a public source. The rows marked “held_back” were not looked at
while the words were collected: at their first run all 72 of the first batch were right, and 118 of 134 of the second
(four that mean several things were left out of the table afterwards, words were added for the other twelve). Of three
further batches, written as people type in seven languages, 326 of 383, 255 of 293 and 89 of 102 were right at first;
those that were not, and a quarter of the others, are the rows “written as people type”.
"""

import csv
from pathlib import Path

import pytest

from ICHMultiTaskLib.scan.series_words import SeriesClass, classes_in, denies_contrast, is_sharp_kernel, kernel_in

NAMES = {
    "plain": SeriesClass.PLAIN, "sharp": SeriesClass.SHARP, "contrast": SeriesClass.CONTRAST,
    "angiography": SeriesClass.ANGIOGRAPHY, "perfusion": SeriesClass.PERFUSION, "localizer": SeriesClass.LOCALIZER,
    "slab": SeriesClass.SLAB, "reformat": SeriesClass.OTHER_PLANE, "axial reformat": SeriesClass.AXIAL_REFORMAT,
    "material": SeriesClass.MATERIAL, "capture": SeriesClass.CAPTURE, "other": SeriesClass.OTHER_PART,
    "attenuation": SeriesClass.ATTENUATION,
}  # fmt: skip
with (Path(__file__).parent / "series_descriptions.csv").open(encoding="utf-8", newline="") as file:
    ROWS = list(csv.DictReader(file))


def test_table_is_large_and_every_row_has_a_source():
    assert len(ROWS) >= 120
    assert sum(row["held_back"] == "yes" for row in ROWS) >= len(ROWS) / 3
    assert all(row["source"] and row["vendor"] for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=[row["description"] for row in ROWS])
def test_description(row):
    found = classes_in(row["description"])
    assert (found or [SeriesClass.PLAIN])[0] is NAMES[row["expected"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CAPUT 5.0", SeriesClass.PLAIN),  # “CAP” inside a word
        ("COMPARTMENT", SeriesClass.PLAIN),  # “ART” and “MPR”-like letters inside a word
        ("Vermis 5mm", SeriesClass.PLAIN),
        ("HEAD POST FOSSA 5.0", SeriesClass.PLAIN),
        ("HEAD POST OP 5.0", SeriesClass.PLAIN),
        ("HEAD POST 5.0", SeriesClass.CONTRAST),
        ("kontrastfrei", SeriesClass.PLAIN),
        ("head w/ and w/o contrast", SeriesClass.CONTRAST),
        ("head w/wo", SeriesClass.CONTRAST),
        ("C+ head", SeriesClass.CONTRAST),
        ("C- head", SeriesClass.PLAIN),
        ("cranio s/c", SeriesClass.PLAIN),
        ("cranio c/c", SeriesClass.CONTRAST),
        ("head m.d.c.", SeriesClass.CONTRAST),
        ("senza m.d.c.", SeriesClass.PLAIN),
        ("Head with C-spine", SeriesClass.PLAIN),
        ("Head + C-Spine", SeriesClass.PLAIN),
        ("Hemiparesis", SeriesClass.PLAIN),
        ("Hjärna utan kontrast", SeriesClass.PLAIN),
        ("Hjerne med kontrast", SeriesClass.CONTRAST),
        ("Głowa bez kontrastu", SeriesClass.PLAIN),
        ("Mozek po kontrastu", SeriesClass.CONTRAST),
        ("kontrasztanyag nélkül", SeriesClass.PLAIN),
        ("kontrasztos koponya", SeriesClass.CONTRAST),
        ("Beyin kontrastsız", SeriesClass.PLAIN),
        ("Beyin kontrastlı", SeriesClass.CONTRAST),
        ("Мозг без контраста 5мм", SeriesClass.PLAIN),
        ("Мозг с контрастированием", SeriesClass.CONTRAST),
        ("Кости черепа", SeriesClass.SHARP),
        ("头颅平扫", SeriesClass.PLAIN),
        ("头颅增强 5mm", SeriesClass.CONTRAST),
        ("颅脑非增强", SeriesClass.PLAIN),
        ("头颅骨窗", SeriesClass.SHARP),
        ("頭部単純", SeriesClass.PLAIN),
        ("頭部造影なし", SeriesClass.PLAIN),
        ("頭部造影", SeriesClass.CONTRAST),
        ("두부 조영", SeriesClass.CONTRAST),
        ("뇌 비조영", SeriesClass.PLAIN),
        ("頭部 遅延相", SeriesClass.CONTRAST),
        ("头 动脉期", SeriesClass.CONTRAST),
        ("뇌 관류", SeriesClass.PERFUSION),
        ("Schädel spätarteriell", SeriesClass.CONTRAST),
        ("Gefäßdarstellung", SeriesClass.ANGIOGRAPHY),
        ("Tissue Classification", SeriesClass.PERFUSION),
        ("Débit sanguin cérébral", SeriesClass.PERFUSION),
        ("Crâne filtre dur", SeriesClass.SHARP),
        ("Accident vasculaire cérébral", SeriesClass.PLAIN),  # a stroke, not a vessel
        ("DE Head PureCalcium", SeriesClass.MATERIAL),
        ("Head XperCT", SeriesClass.CONE_BEAM),
        ("PET/CT brain AC CT", SeriesClass.ATTENUATION),
    ],
)
def test_texts_are_split_into_words(text, expected):
    assert (classes_in(text) or [SeriesClass.PLAIN])[0] is expected


@pytest.mark.parametrize(
    "agent",
    [
        "NO CONTRAST", "without", "W/O", "-", "None", "no", "0", "kein KM", "sans", "N/A", "w/o IV contrast", "NIL",
        "KEINES", "nicht", "aucun", "pas de produit", "ninguno", "nessun MDC", "nenhum", "geen", "NOT GIVEN", "0 ml",
        "non administré", "No se administra", "none given", "KM: nein", "NOIV", "NO_CONTRAST", "IV CONTRAST: NONE", ".",
        "no intravenous contrast", "Not Applicable", "S/C", "unspecified", "без контраста", "无",
    ],
)  # fmt: skip
def test_texts_that_mean_no_contrast(agent):
    assert denies_contrast(agent)


@pytest.mark.parametrize(
    "agent",
    [
        "IOMERON", "Omnipaque 350", "CE", "CONTRAST", "APPLIED", "100 ml Ultravist 370", "IV", "100", "100 ml", "given",
        "nonionic contrast", "Non-ionic iodinated", "Ultravist, no reaction", "KM i.v.", "ja", "yes", "oral & IV",
        "Омнипак", "碘海醇", "造影剤",
    ],
)  # fmt: skip
def test_agents(agent):
    assert not denies_contrast(agent)


@pytest.mark.parametrize(
    ("kernel", "sharp"),
    [
        ("H31s", False), ("H60s", True), ("Hr40f 3", False), ("Hr59 3", True), ("J70h", True), ("STANDARD", False),
        ("SOFT", False), ("BONEPLUS", True), ("EDGE", True), ("STD+", False), ("FC26", False), ("FC30", True),
        ("FC81", True), ("FC68", False), ("UB", False), ("YA", True), ("YC", True), ("", False), ("B70f", True),
        ("H_SHARP_C", True), ("LUNG", True),
    ],
)  # fmt: skip
def test_sharp_kernels(kernel, sharp):
    assert is_sharp_kernel(kernel) is sharp


def test_kernel_at_the_end_of_a_description():
    assert [kernel_in(text) for text in ("Head  5.0  H31s", "HEAD 0.75 Hr69", "Brain FC30", "Head 5.0", "A2 T3")] == [
        "H31s", "Hr69", "FC30", "", "",
    ]  # fmt: skip
