"""One thread for a while, and the former number afterwards, whatever happens."""

from __future__ import annotations

import pytest
import torch

from explorer.weights.threads import one_thread


def test_the_thread_count_comes_back_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="inside"), one_thread():
        assert torch.get_num_threads() == 1
        raise ValueError("inside")
    assert torch.get_num_threads() == before
