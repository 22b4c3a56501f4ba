"""Which tests need a device that not every machine has."""

from __future__ import annotations

import pytest
import torch

NEEDS_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
