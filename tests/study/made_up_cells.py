"""Cells whose process takes milliseconds: it leaves a run folder as `fit` would."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from hygen_lightning.study.plan import Cell

SCRIPT = """
import json, sys, time
from pathlib import Path
folder, seed, code, seconds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
run = folder / f"20260101-000000-s{seed}"
(run / "checkpoints").mkdir(parents=True, exist_ok=True)
(run / "checkpoints" / "last.ckpt").touch()
with (folder / "started").open("a") as file:
    print(seed, file=file)
time.sleep(seconds)
if code:
    sys.exit("it broke")
tasks = {"3m": {"seen": True, "win_rate": 0.5, "episodes": 8, "return": 1.0, "length": 2.0}}
means = {"mean_seen_win_rate": 0.5, "mean_unseen_win_rate": None}
facts = {"algorithm": "BC", "seed": int(seed), "optimiser_steps": 9, "finished": True}
(run / "results.json").write_text(json.dumps({"tasks": tasks, **means, **facts}))
"""


@dataclass(frozen=True)
class QuickCell(Cell):
    """Ends with `code` after so many seconds; with code 0 its run is finished then."""

    code: int = 0
    seconds: float = 0.0

    def command(self, root: Path) -> list[str]:
        words = [str(root / self.name), str(self.seed), str(self.code), str(self.seconds)]
        return [sys.executable, "-c", SCRIPT, *words]


def started(root: Path, name: str) -> list[str]:
    """Seeds whose processes were started, in order, each as often as it was."""
    file = root / name / "started"
    return file.read_text().split() if file.exists() else []
