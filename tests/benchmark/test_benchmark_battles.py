"""The command `benchmark battles`: what it reports, not how fast it is."""

from __future__ import annotations

import json

import pytest

from hygen_lightning.benchmark.battles import battles
from hygen_lightning.envs.simulator import switch
from hygen_lightning.envs.simulator.step import Dynamics
from hygen_lightning.specs import UserError


def test_both_ways_and_their_ratio_are_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(switch, "code_of", lambda *_: None)
    monkeypatch.setattr(switch, "CompiledDynamics", lambda *_: Dynamics.plain())
    arguments = {"tasks": ["3m", "5m"], "episodes": 2, "rollout_episodes": 3}
    assert battles(**arguments, json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["jobs"]) == ["evaluation: 2 tasks x 2 battles", "rollout: 3 battles of 3m"]
    for row in found["jobs"].values():
        assert row["ratio"] == pytest.approx(row["plain"]["seconds"] / row["compiled"]["seconds"])
        assert all(0 < row[way]["share"] < 1 for way in ("plain", "compiled"))
    assert set(found["ready_s"]) == {"3m", "5m"}
    assert battles(**arguments) == 0
    told = capsys.readouterr().out
    assert "compiled or loaded in" in told
    assert "evaluation: 2 tasks x 2 battles" in told, "no line of the table is broken"


def test_wrong_numbers_and_a_missing_compiler_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="--episodes"):
        battles(episodes=0)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"no C\+\+ compiler \(no-such-compiler\) found"):
        battles(tasks=["3m"])
