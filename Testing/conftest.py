"""What every test file shares."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny networks on many threads spend their time waiting for each other, the more so on a busy machine."""
    torch.set_num_threads(1)
