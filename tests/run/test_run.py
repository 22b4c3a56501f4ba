"""How a run begins and ends: where it may write, who listens, what it says of an early end."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, Timer
from processes import new_interpreter
from refusals import refused
from tiny_runs import callback, the_run, tiny_fit, weights

from hygen_lightning.cli import main
from hygen_lightning.run.run import early_end, is_finished, spent


def trainer_at(step: int, steps: int, *callbacks: Callback, max_epochs: int = -1) -> Any:
    """What `early_end` reads of a trainer."""
    return SimpleNamespace(
        global_step=step, max_steps=steps, callbacks=callbacks, max_epochs=max_epochs, current_epoch=1
    )


def timer(seconds: int) -> Timer:
    return Timer(duration={"seconds": seconds})


def stopping(message: str | None) -> EarlyStopping:
    found = EarlyStopping(monitor="val/mean/seen_score")
    found.stopping_reason_message = message
    return found


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        (trainer_at(10, 10), None),
        (trainer_at(7, -1, timer(0)), None),
        (trainer_at(7, 10, timer(0)), "stopped at step 7 of 10, because trainer.max_time is over"),
        (trainer_at(7, 10, timer(60)), "stopped at step 7 of 10, because a callback asked for it"),
        (
            trainer_at(7, 10, stopping("Metric x\n did not improve")),
            "stopped at step 7 of 10, because EarlyStopping says: Metric x did not improve",
        ),
        (trainer_at(7, 10, stopping(None), max_epochs=1), "because trainer.max_epochs is 1"),
    ],
)
def test_an_early_end_has_its_reason(trainer: Any, said: str | None) -> None:
    found = early_end(trainer, saved_step=trainer.global_step)
    assert found == said if said is None else said in str(found)


def test_a_run_whose_end_could_not_be_saved_is_not_finished() -> None:
    assert "checkpoint that was written is of step 6" in str(early_end(trainer_at(10, 10), saved_step=6))


def test_a_run_that_ends_early_says_so_and_goes_on(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(tiny_fit(tmp_path, *callback("StopsEarly", step=6))) == 0
    said = "stopped at step 6 of 10, because a callback asked for it"
    assert f"{said}; --resume auto goes on from there" in capsys.readouterr().out
    results = the_run(tmp_path) / "results.json"
    assert {"finished": False, "stopped": said}.items() <= json.loads(results.read_text()).items()
    assert main(tiny_fit(tmp_path, "--resume", "auto")) == 0
    assert is_finished(the_run(tmp_path))
    mine, theirs = weights(the_run(tmp_path)), weights(tiny_run)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_time_limit_counts_from_every_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = tiny_fit(tmp_path, "--trainer.max_steps=100000", "--trainer.max_time=00:00:00:01")
    steps = []
    for _ in range(2):
        assert main([*words, "--rollouts.episodes_per_step=0", "--resume=auto"]) == 0
        results = json.loads((the_run(tmp_path) / "results.json").read_text())
        assert not results["finished"]
        steps.append(results["optimiser_steps"])
    assert 0 < steps[0] < steps[1]
    assert "trainer.max_time is over; --resume auto goes on" in capsys.readouterr().out


def test_ctrl_c_twice_ends_with_the_exit_code_of_ctrl_c(tmp_path: Path) -> None:
    assert main(tiny_fit(tmp_path, *callback("CtrlCTwice", step=3))) == 130
    assert not list(tmp_path.rglob("last.ckpt"))


@pytest.mark.parametrize("root", ["/proc/runs", "/dev/null/runs"])
def test_a_root_that_may_not_be_written_to_is_refused(
    root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "give another place to write to" in refused(tiny_fit(tmp_path, "--run.root", root), capsys)


# A terminal that goes away


@pytest.mark.slow
def test_a_run_outlives_the_reader_of_its_output(tmp_path: Path) -> None:
    with new_interpreter(*tiny_fit(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(240) == 0
    assert is_finished(the_run(tmp_path))


def test_a_run_tells_what_it_spent_up_to_its_last_evaluation(tmp_path: Path) -> None:
    assert spent(tmp_path) == {}
    header = "step,progress/episodes,progress/env_steps,progress/minutes"
    (tmp_path / "metrics.csv").write_text(f"{header}\n10,4,90,0.5\n20,8,170,1.25\n25,,,\n")
    assert spent(tmp_path) == {"battles": 8.0, "env_steps": 170.0, "minutes": 1.25}
