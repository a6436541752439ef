"""On a machine without a GPU the GPU's benchmark says so, and measures nothing."""

import pytest
import torch

from benchmarks.gpu.__main__ import main


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_it_says_so_in_one_line_and_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err == "No GPU: torch sees no CUDA device here, so nothing was measured.\n"
