"""An algorithm in a file of one's own: trained, and its checkpoint played by every command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from short_battles import short_battles
from tiny_runs import tiny_fit

from hygen_lightning.checkpoint import load_policy, read_checkpoint
from hygen_lightning.cli import main
from hygen_lightning.data.datamodule import HybridDataModule
from hygen_lightning.envs import make_env
from hygen_lightning.rollouts.runner import play
from hygen_lightning.specs import DataStatistics, UserError
from hygen_lightning.tasks import load_task

MINE = '''
import torch

from hygen_lightning.algorithms.bc import BC


class Wanting(BC):
    """A clone that keeps count of what it still wants of the best return of the recordings."""

    def __init__(self, widths, width: int = 8, share: float = 0.5):
        super().__init__(widths, width=2 * width)
        self.save_hyperparameters()  # as users of Lightning are used to
        self.share = share

    def initial_hidden(self, task, num_envs):
        best = max(data.best_return for data in self.data_statistics.values())
        return super().initial_hidden(task, num_envs), torch.full((num_envs,), self.share * best)

    def act(self, task, observation, last_actions, last_reward, hidden):
        hidden, wanted = hidden
        wanted = wanted - last_reward
        output = super().act(task, observation, last_actions, last_reward, hidden)
        output.skills = (1000 * wanted).round().long()[:, None].expand_as(output.actions)
        output.hidden = output.hidden, wanted
        return output
'''
HELD = DataStatistics(16, 0.5, 10.0, 20.0, 25.0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """last.ckpt of a run of two steps; its class can be imported in this module's tests."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "mine.py").write_text(MINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setattr(HybridDataModule, "statistics", {"3m": HELD}, raising=False)
        words, dropped = tiny_fit(folder), "--model.init_args."
        words = [
            w for i, w in enumerate(words) if not (w.startswith(dropped) or words[i - 1].startswith(dropped))
        ]
        words += [
            "--model=mine.Wanting",
            f"{dropped}width=8",
            f"{dropped}share=0.25",
            "--trainer.max_steps=2",
        ]
        with short_battles():
            assert main(words) == 0
        (path,) = folder.rglob("last.ckpt")
        yield path


def test_its_checkpoint_holds_the_options_of_its_class_in_plain_python(checkpoint: Path) -> None:
    content = read_checkpoint(checkpoint)
    assert content["model_config"] == {"class_path": "mine.Wanting", "init_args": {"width": 8, "share": 0.25}}
    assert content["hyper_parameters"].keys() == {"widths", "width", "share"}


@pytest.mark.whole_battles
def test_acting_sees_the_reward_and_what_the_data_hold(checkpoint: Path) -> None:
    task = load_task("4m")
    policy: Any = load_policy(checkpoint, task)
    drawn = torch.Generator().manual_seed(0)
    played = play(make_env("simulator", task, 4), policy, torch.arange(4), epsilon=1.0, generator=drawn)
    assert played.skills is not None
    best = policy.data_statistics["3m"].best_return
    wanted = 0.25 * best - played.episodes.last_reward.cumsum(1)
    seen, filled = played.skills[..., 0] / 1000, played.episodes.filled
    torch.testing.assert_close(seen[filled], wanted[filled], rtol=0, atol=2e-3)
    assert best > 0
    assert played.returns.max() > 0


def test_stock_lightning_loads_its_checkpoint(checkpoint: Path) -> None:
    from mine import Wanting  # type: ignore[import-not-found]

    model = Wanting.load_from_checkpoint(checkpoint)
    assert (model.share, model.network.entities.width) == (0.25, 16)
    saved = read_checkpoint(checkpoint)["state_dict"]
    assert all(torch.equal(x, saved[name]) for name, x in model.state_dict().items())


def test_every_command_plays_it(checkpoint: Path, tmp_path: Path) -> None:
    path, folder = str(checkpoint), tmp_path / "data"
    few = ["--data.eval_tasks=[4m]", "--data.eval_episodes=2", "--trainer.accelerator=cpu"]
    assert main(["validate", "--ckpt_path", path, f"--run.root={tmp_path}", *few]) == 0
    assert main(["collect", "3m", f"--dataset_dir={folder}", "--episodes=2", f"--policy={path}"]) == 0
    assert main(["render", "--task=3m", f"--policy={path}", f"--out={tmp_path / 'battle.png'}"]) == 0
    assert (tmp_path / "battle.png").is_file()


def test_a_class_that_is_gone_is_one_line(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not (Path(p) / "mine.py").is_file()])
    with pytest.raises(UserError, match=r"mine\.Wanting, which cannot be imported .* PYTHONPATH"):
        load_policy(checkpoint, load_task("3m"))
