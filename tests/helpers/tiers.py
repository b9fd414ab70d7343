"""The two tiers of tests: `make test` proves an installation, `make soak` runs the long forms.

@pytest.mark.parametrize("seed", [1, soak(2), soak(3)])  # one proves it
"""

from __future__ import annotations

import pytest
from _pytest.mark.structures import ParameterSet


def soak(*values: object) -> ParameterSet:
    """A set of parameters that only `make soak` runs."""
    return pytest.param(*values, marks=pytest.mark.soak)
