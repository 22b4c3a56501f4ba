"""The JSON of marl-eval: a value per battle for every evaluation, and the final one by itself."""

from __future__ import annotations

from pathlib import Path

from finished_runs import finished_run

from hygen_lightning.report.find import find_runs
from hygen_lightning.report.marl_eval import marl_eval_json
from hygen_lightning.report.runs import grouped

BATTLES = """stage,step,task,seed,success,ret,length,allies_left,enemies_left
val,10,3m,1,False,4.0,19,0,2
val,10,3m,2,True,20.0,20,1,0
val,20,3m,1,True,20.0,20,2,0
test,20,3m,5,True,19.5,20,2,0
"""


def test_battles_are_lists_by_step(tmp_path: Path) -> None:
    run = finished_run(tmp_path, "a", 4, {"3m": 10})
    (run / "evaluations.csv").write_text(BATTLES)
    (run / "metrics.csv").write_text("step,progress/minutes\n10,0.5\n15,\n")
    told = marl_eval_json(grouped(find_runs([tmp_path])[0])[0])
    assert told == {
        "simulator": {
            "3m": {
                "a": {
                    "seed_4": {
                        "step_0": {
                            **{"step_count": 10, "elapsed_time": 30.0},
                            **{"win_rate": [0.0, 1.0], "return": [4.0, 20.0]},
                        },
                        "step_1": {"step_count": 20, "win_rate": [1.0], "return": [20.0]},
                        "absolute_metrics": {"win_rate": [1.0], "return": [19.5]},
                    }
                }
            }
        }
    }


def test_a_run_without_its_battles_has_its_win_rate(tmp_path: Path) -> None:
    finished_run(tmp_path, "a", 1, {"3m": 7})
    told = marl_eval_json(grouped(find_runs([tmp_path])[0])[0])
    assert told["simulator"]["3m"]["a"]["seed_1"] == {"absolute_metrics": {"win_rate": [0.7]}}
