"""The model card: a bundle's metadata in words."""

from ICHMultiTaskLib.model.bundle import MODEL_CARD, ModelBundle, default_bundle
from ICHMultiTaskTrainingLib.bundles.model_card import model_card

VOLUME = {"patients": 40, "mae_ml": 2.34, "within_5_ml": 0.9}


def test_card_of_the_shipped_model_says_what_its_metadata_say():
    bundle = ModelBundle.load(default_bundle())
    assert (bundle.folder / MODEL_CARD).read_text(encoding="utf-8") == model_card(bundle.metadata)


def test_metrics_are_in_words_with_their_intervals():
    bundle = ModelBundle.load(default_bundle())
    held_out = {"volume": VOLUME, "prognosis": None, "intervals_95": {"volume": {"mae_ml": [1.5, 3.25]}}}
    card = model_card(bundle.metadata | {"metrics": {"held_out": held_out, "validation_scans": 70}})
    for line in (
        "| Hematoma volume | 40 patients |",
        "| Mean absolute error | 2.34 (1.50 to 3.25) mL |",
        "| Within 5 mL | 90 % |",
        "Prognosis: not evaluated.",
        "Validation of the run that trained it, on 70 scans, those without a hemorrhage included: not measured.",
    ):
        assert f"{line}\n" in card
    assert "ICC" not in card and "| subgroup |" not in card


def test_card_says_whether_masks_were_used():
    metadata = ModelBundle.load(default_bundle()).metadata
    without = metadata["training"] | {"config": metadata["training"]["config"] | {"mask_weight": 0}}
    assert "where the table of scans had them, masks." in model_card(metadata)
    assert "It learned from volumes and outcomes." in model_card(metadata | {"training": without})
    assert "What it learned from is not recorded." in model_card(metadata | {"training": {}})
