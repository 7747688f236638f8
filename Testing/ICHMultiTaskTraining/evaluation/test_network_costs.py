"""The networks' cost beside the published one, and on grids that do not fit all of them."""

import pytest

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskTrainingLib.evaluation import network_costs
from ICHMultiTaskTrainingLib.evaluation.network_costs import PUBLISHED, as_published, cost_rows


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_cost_with_the_published_input_and_output_is_as_published(name):
    published = PUBLISHED[name]
    cost = as_published(name, published)
    assert cost.parameters == pytest.approx(published.parameters_m * 1e6, rel=2e-3)
    if published.multiply_adds_g is not None:
        assert cost.multiply_adds == pytest.approx(published.multiply_adds_g * 1e9, rel=1e-2)


def test_networks_are_built_for_the_grid_and_one_that_cannot_read_it_is_named(monkeypatch):
    monkeypatch.setattr(network_costs, "TRAINABLE", ("tin18", "timesformer", "uniformizing3d"))
    monkeypatch.setattr(network_costs, "PUBLISHED", {})
    headings, rows = cost_rows([(16, 64, 64)])
    assert headings[3] == "G multiply-adds, 16×64×64"
    assert {row[1]: row[3] for row in rows} == {"tin18": "2.3", "timesformer": "31.5", "uniformizing3d": "1.4"}
    with pytest.raises(InputError, match="uniformizing3d cannot read 3×64×64 voxels"):
        cost_rows([(3, 64, 64)])
