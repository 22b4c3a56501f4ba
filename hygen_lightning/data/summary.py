"""What a data set holds, gathered block by block: returns, wins, lengths, actions, features."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from hygen_lightning.specs import Episodes, TaskSpec


class Summary:
    """Statistics of the episodes of one task and quality; all of them lie in `to_dict()`."""

    def __init__(self, task: TaskSpec) -> None:
        self.task = task
        self.episode_keys: Counter[bytes] = Counter()
        """How often each different episode occurs."""
        self._returns: list[Tensor] = []
        self._lengths: list[Tensor] = []
        self._outcomes: Counter[str] = Counter()
        self._wins, self._tells_success = 0, True
        self._actions = torch.zeros(task.layout.n_actions, dtype=torch.int64)
        self._obs = _FeatureRange(task.layout.obs_feature_names(task.enemy_name))
        self._state = _FeatureRange(task.layout.state_feature_names(task.enemy_name))

    def add(self, block: Episodes) -> None:
        """Take in episodes [B, T, ...] that passed the checks."""
        self.episode_keys.update(_episode_keys(block))
        self._returns.append((block.reward.double() * block.mask).sum(dim=1))
        self._lengths.append(block.length)
        self._outcomes.update({kind: int(which.sum()) for kind, which in self.task.outcomes(block).items()})
        wins = self.task.success(block)
        self._wins += 0 if wins is None else int(wins.sum())
        self._tells_success = wins is not None
        acted = block.actions[block.mask].flatten()
        self._actions += torch.bincount(acted, minlength=len(self._actions))
        self._obs.add(block.obs[block.filled].flatten(0, 1))
        self._state.add(block.state[block.filled])

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON. Lengths count stored steps, `steps` those that were played."""
        if not self._lengths:
            return {"episodes": 0}
        lengths, returns = torch.cat(self._lengths), torch.cat(self._returns)
        return {
            "episodes": len(lengths),
            "steps": int((lengths - 1).sum()),
            "return": _range_of(returns),
            "length": _range_of(lengths),
            "win_rate": self._wins / len(lengths) if self._tells_success else None,
            "outcomes": dict(self._outcomes),
            "duplicates": len(lengths) - len(self.episode_keys),
            "actions": dict(zip(self.task.layout.action_names(self.task.enemy_name), self._actions.tolist())),
            "features": {"obs": self._obs.to_dict(), "state": self._state.to_dict()},
        }


class _FeatureRange:
    """Least, mean and greatest value of each named number."""

    def __init__(self, names: list[str]) -> None:
        self.names, self.count = names, 0
        self.total = torch.zeros(len(names), dtype=torch.float64)
        self.least = torch.full((len(names),), torch.inf)
        self.greatest = torch.full((len(names),), -torch.inf)

    def add(self, values: Tensor) -> None:
        """values [N, features]."""
        self.count += len(values)
        self.total += values.sum(dim=0, dtype=torch.float64)
        self.least = torch.minimum(self.least, values.amin(dim=0))
        self.greatest = torch.maximum(self.greatest, values.amax(dim=0))

    def to_dict(self) -> dict[str, dict[str, float]]:
        columns = zip(self.least.tolist(), (self.total / self.count).tolist(), self.greatest.tolist())
        return {
            name: {"min": least, "mean": mean, "max": greatest}
            for name, (least, mean, greatest) in zip(self.names, columns)
        }


def _range_of(values: Tensor) -> dict[str, float]:
    exact = values.double()
    return {"mean": float(exact.mean()), "min": float(exact.min()), "max": float(exact.max())}


def _episode_keys(block: Episodes) -> Iterator[bytes]:
    """One digest per episode: equal episodes have equal ones."""
    arrays = [x.numpy() for x in (block.obs, block.state, block.actions, block.reward, block.filled)]
    for row in range(len(block)):
        digest = hashlib.blake2b(digest_size=16)
        for array in arrays:
            digest.update(array[row].tobytes())
        yield digest.digest()
