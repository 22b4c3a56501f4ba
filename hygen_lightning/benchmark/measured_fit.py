"""A short `fit` in a process of its own, which writes down what it measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hygen_lightning.specs import UserError

QUIET = {
    "--trainer.enable_progress_bar": "false",
    "--files.curve": "false",
    "--files.battle_gif": "false",
    "--files.skills": "false",
}


def measured_fit(
    words: Sequence[str], options: Mapping[str, str], threads: int | None, own_core: bool = False
) -> dict[str, Any]:
    """What `FitTimes` wrote during `fit` with these words and, over them, options.

    threads: CPU threads, None for as many as torch takes. UserError with fit's last line if it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "measured.json"
        profiler = {
            "class_path": "hygen_lightning.benchmark.fit_times.FitTimes",
            "init_args": {"path": str(written), "own_core": own_core},
        }
        everything = {"--run.root": folder, **QUIET, **options, "--trainer.profiler": json.dumps(profiler)}
        done = subprocess.run(
            [sys.executable, "-m", "hygen_lightning", "fit", *words]
            + [piece for pair in everything.items() for piece in pair],
            env={**os.environ, **({} if threads is None else {"OMP_NUM_THREADS": str(threads)})},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0 or not written.exists():
            why = (done.stderr.strip() or "no message").splitlines()[-1]
            raise UserError(f"the measured fit ended with code {done.returncode}: {why}")
        return dict(json.loads(written.read_text()))
