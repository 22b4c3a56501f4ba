"""Battles of each skill before stage two: which one it begins with, and what they cost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from refining_runs import both_stages, logged, refining
from tiny_runs import callback

from hygen_lightning.algorithms.skills import HEAD_START
from hygen_lightning.cli import main
from hygen_lightning.envs.base import BattleEnv
from hygen_lightning.rollouts.callback import clear_best
from hygen_lightning.rollouts.runner import Rollout, play


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize(("gap", "chosen"), [(4.0, 2), (20.0, 0)])
def test_stage_two_begins_with_the_skill_it_is_told_unless_a_prediction_is_surer(
    ema_decay: float, gap: float, chosen: int
) -> None:
    module = refining(ema_decay=ema_decay)
    local_logits = torch.tensor([[gap, 0.0, 0.0]])
    assert list(module.candidates()) == ["learned", "skill 0", "skill 1", "skill 2"]
    module.begin_with("learned")
    assert float(module.network.q_head.bias.detach().abs().sum()) == 0
    module.begin_with("skill 2")
    for network in (module.network, module.acting):
        assert network.q_head.bias.tolist() == [0, 0, HEAD_START], "once, though both may be the same one"
    q = module.network.q_head.bias.detach()[None]
    chances = module.refinement.skill_log_probs(module.skill_scores(q, local_logits))
    assert float(chances[0, 2] - chances[0, 0]) == pytest.approx(HEAD_START - gap)
    assert module.choose(q, local_logits).tolist() == [chosen]


@pytest.mark.parametrize(
    ("won", "best"),
    [
        ([[0.4], [0.4], [0.7]], 2),
        ([[0.4], [0.5], [0.4]], 0),
        ([[0.5, 0.5], [1.0, 0.3], [0.2, 1.0]], 1),
        ([[0.0], [1 / 30]], 0),
    ],
)
def test_a_candidate_must_win_more_by_a_standard_error(won: list[list[float]], best: int) -> None:
    """Of 30 battles .4 and .5 have one of .13, .4 and .7 one of .12; .65 and .5 of two tasks one of .08.
    One lucky battle decides nothing: 0 and 1 / 30 have one of .05."""
    assert clear_best(torch.tensor(won), 30) == best


def won_by_skill(env: BattleEnv, *args: Any) -> Rollout:
    """`play`, but battles on 3m are won with skill 1, and every second one on 5m with skill 2."""
    played = play(env, *args)
    assert played.skills is not None
    winner, share = (1, 1) if env.task.name == "3m" else (2, 2)
    is_won = (played.skills[:, 0] == winner).all(dim=1) & (torch.arange(len(played.skills)) % share == 0)
    return replace(played, success=is_won)


TRIED = [f"{task}/win_rate_skill{k}" for task in ("3m", "5m") for k in range(3)]


def test_a_run_plays_its_skills_once_and_begins_with_the_one_that_wins_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hygen_lightning.rollouts.callback.play", won_by_skill)
    given: dict[str, Any] = {
        "refine_skill_battles": 6,
        "n_skills": 3,
        "skill_steps": 0,
        "ema_decay": 0.9,
    }
    words = [*both_stages(tmp_path, "3m", "5m", **given), "--checkpoint.every_n_steps=1"]
    assert main([*words, "--run.name=whole"]) == 0
    told = capsys.readouterr().out
    assert "%, skill 0 0 %, skill 1 50 %, skill 2 25 %; stage two begins with skill 1" in told
    assert main([*words, "--run.name=broken", *callback("StopAt", step=2)]) == 130
    assert main([*words, "--run.name=broken", "--resume=auto"]) == 0
    whole, broken = (next((tmp_path / "runs" / name).iterdir()) for name in ("whole", "broken"))
    for folder in (whole, broken):
        tried = [{name: row[f"rollout/{name}"] for name in TRIED} for row in logged(folder)]
        (row,) = [row for row in tried if any(row.values())]
        assert row == dict(zip(TRIED, ("0.0", "1.0", "0.0", "0.0", "0.0", "0.5")))
        results = json.loads((folder / "results.json").read_text())
        assert results["battles"] == 2 * (4 * 6 + 2 * 4), "these battles count too"
    biases = [
        torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]["network.q_head.bias"]
        for folder in (whole, broken)
    ]
    assert biases[0].argmax() == 1
    assert torch.equal(*biases), "a run that goes on does not add it again"
