"""The network that the panel holds ready: it is that of the bundle and the device that are asked for."""

from ICHMultiTaskLib.model.bundle import ModelBundle, save_bundle
from ICHMultiTaskLib.model.testing import tiny_bundle
from ICHMultiTaskLib.panel import analysis_logic


def test_held_network_is_that_of_the_bundle_and_device_asked_for(tmp_path, monkeypatch):
    made = []

    class Held:
        """Stands for the analyzer, whose loading is not what is tested."""

        def __init__(self, bundle, device):
            self.weights, self.device = bundle.sha256, device
            made.append(self)

    monkeypatch.setattr(analysis_logic, "Analyzer", Held)
    cache, folder = analysis_logic.AnalyzerCache(), tiny_bundle(tmp_path / "bundle")
    first = cache.get(folder, "cpu")
    assert cache.get(folder, "cpu") is first and len(made) == 1
    other = cache.get(folder, "cuda")
    assert other is not first and other.device == "cuda"
    back = cache.get(folder, "cpu")
    assert back.device == "cpu"
    # Retrained into the same folder: other weights, and so another network.
    bundle = ModelBundle.load(folder)
    state = {name: value * 2 for name, value in bundle.network().state_dict().items()}
    metadata = {key: value for key, value in bundle.metadata.items() if key != "sha256"}
    save_bundle(folder, state, metadata, "card", overwrite=True)
    assert cache.get(folder, "cpu").weights == ModelBundle.load(folder).sha256 != back.weights
