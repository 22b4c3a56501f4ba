"""The names that `from hygen_lightning import ...` offers."""

from __future__ import annotations

import pytest

import hygen_lightning


@pytest.mark.parametrize("name", sorted(hygen_lightning.PUBLIC))
def test_every_public_name_leads_to_what_it_says(name: str) -> None:
    thing = getattr(hygen_lightning, name)
    assert thing.__name__ == name
    assert thing.__doc__


def test_all_public_names_are_listed_and_an_unknown_one_is_an_attribute_error() -> None:
    assert set(hygen_lightning.PUBLIC) < set(dir(hygen_lightning))
    assert set(hygen_lightning.__all__) == {"__version__", *hygen_lightning.PUBLIC}
    with pytest.raises(AttributeError, match="no attribute 'HyGem'"):
        hygen_lightning.HyGem  # noqa: B018
