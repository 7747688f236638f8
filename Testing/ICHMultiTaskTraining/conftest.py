"""What the tests of the trainer share."""

import json
import shutil

import pytest


@pytest.fixture(scope="module", autouse=True)
def no_figures(request):
    """Leave out curves and figures, one to two seconds for each run, but where they are tested."""
    name = request.module.__name__.rpartition(".")[2]
    with pytest.MonkeyPatch.context() as patch:
        if name != "test_training_report":
            patch.setattr("ICHMultiTaskTrainingLib.training.trainer.draw_curves", lambda history, path: None)
        if name not in ("test_training_report", "test_evaluation"):
            for place in ("cross_validation", "evaluation"):
                drawing = f"ICHMultiTaskTrainingLib.evaluation.{place}.write_figures"
                patch.setattr(drawing, lambda *arguments, **options: [])
        yield


@pytest.fixture(scope="session", autouse=True)
def scans_prepared_once(tmp_path_factory):
    """Give each run the scans that an earlier one has prepared with the same settings, a second for each run.

    They lie in its cache, as if it were continued; the run itself finds out whether it can use them.
    """
    from ICHMultiTaskTrainingLib.training import trainer

    real, stores = trainer.prepare_all, {}

    def prepare_all(rows, settings, folder, *arguments):
        key = json.dumps([str(rows[0].image.parent), settings])
        store = stores[key] = stores.get(key) or tmp_path_factory.mktemp("prepared")
        shutil.copytree(store, folder, dirs_exist_ok=True)
        files = real(rows, settings, folder, *arguments)
        for file in files:
            if file is not None:
                shutil.copy2(file, store)
        return files

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "prepare_all", prepare_all)
        yield
