"""The network that the panel holds ready: it is that of the bundle and the device that are asked for."""

from ICHMultiTaskLib.model.bundle import ModelBundle, save_bundle
from ICHMultiTaskLib.model.testing import tiny_bundle
from ICHMultiTaskLib.panel import models


def test_held_network_is_that_of_the_bundle_and_device_asked_for(tmp_path, monkeypatch):
    made = []

    class Held:
        """Stands for the analyzer, whose loading is not what is tested."""

        def __init__(self, bundle, device):
            self.weights, self.device = bundle.sha256, device
            made.append(self)

    monkeypatch.setattr(models, "Analyzer", Held)
    held, folder = models.Models(), tiny_bundle(tmp_path / "bundle")
    first = held.analyzer(folder, "cpu")
    assert held.analyzer(folder, "cpu") is first and len(made) == 1
    other = held.analyzer(folder, "cuda")
    assert other is not first and other.device == "cuda"
    back = held.analyzer(folder, "cpu")
    assert back.device == "cpu"
    # Retrained into the same folder: other weights, and so another network.
    bundle = ModelBundle.load(folder)
    state = {name: value * 2 for name, value in bundle.network().state_dict().items()}
    metadata = {key: value for key, value in bundle.metadata.items() if key != "sha256"}
    save_bundle(folder, state, metadata, "card", overwrite=True)
    assert held.analyzer(folder, "cpu").weights == ModelBundle.load(folder).sha256 != back.weights
