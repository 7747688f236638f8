"""What the tests of the trainer share."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def no_curves(request):
    """Leave out the drawing of the curves, half a second for each run, but where it is tested."""
    with pytest.MonkeyPatch.context() as patch:
        if not request.module.__name__.endswith("test_training_report"):
            patch.setattr("ICHMultiTaskTrainingLib.training.trainer.draw_curves", lambda history, path: None)
        yield
