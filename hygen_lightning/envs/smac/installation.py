"""What playing in StarCraft II needs on a machine, in the order in which it is mended."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from hygen_lightning.envs.base import Check
from hygen_lightning.envs.smac.game import Game, GameLostError, SmacOptions, answers
from hygen_lightning.specs import TaskSpec, UserError

INSTALL = "install git+https://github.com/oxwhirl/smac.git"
GAME = "https://blzdistsc2-a.akamaihd.net/Linux/SC2.4.10.zip"
BUILD, VERSION = 75689, "4.10"
"""Build of the version that SMAC's published results on Linux are of (pysc2 lists both)."""
MAPS = {
    "SMAC's": ("https://github.com/oxwhirl/smac", "smac/smac/env/starcraft2/maps/SMAC_Maps"),
    "ODIS'": ("https://github.com/LAMDA-RL/ODIS", "ODIS/smac_patch/SMAC_Maps"),
}
"""Repositories with map files, and the folder in a clone where these lie."""
OWN_INTERPRETER = "~/smac-env"
"""Where a remedy puts the interpreter of the games."""


def checks(options: SmacOptions, tasks: Sequence[TaskSpec], thorough: bool) -> list[Check]:
    """What the environment needs for these tasks. thorough: import SMAC's package too, in seconds."""
    interpreter, facts = _interpreter(options, thorough)
    found = [interpreter, _package(options, facts)]
    if thorough:
        found += [_protobuf(options, facts), _imports(options, facts)]
    if sys.platform == "linux":  # elsewhere the game lies where its installer puts it
        found += [_game(), *([_version()] if thorough else []), *map_checks(tasks)]
    return found


def _interpreter(options: SmacOptions, thorough: bool) -> tuple[Check, dict[str, Any]]:
    """The check, and what the interpreter tells of itself."""
    path = options.interpreter
    folder = Path(path).parent.parent if options.python else Path(OWN_INTERPRETER)
    remedy = f"python3 -m venv {shlex.quote(str(folder))}"
    try:
        with closing(Game(options)) as game:
            (answer,) = answers([game], "probe", [{"imports": thorough}])
    except UserError as error:
        return Check("interpreter", str(error), False, remedy), {}
    if isinstance(answer, GameLostError):
        return Check("interpreter", f"{path}: {answer}", False, remedy), {}
    return Check("interpreter", f"{path}, Python {answer[0]['python']}", True), answer[0]


def _pip(options: SmacOptions, words: str) -> str:
    """The command that installs something for the games; not beside wandb, which needs another protobuf."""
    if options.python is not None:
        return f"{shlex.quote(options.interpreter)} -m pip {words}"
    return (
        f"python3 -m venv {OWN_INTERPRETER} && {OWN_INTERPRETER}/bin/python -m pip {INSTALL} && "
        f"printf 'env: smac\\npython: {OWN_INTERPRETER}/bin/python\\n' > smac.yaml  "
        "# and from now on --env smac.yaml"
    )


def _package(options: SmacOptions, facts: dict[str, Any]) -> Check:
    if facts.get("starcraft"):
        return Check("SMAC's package", str(facts["package"]), True)
    if facts.get("package"):
        told = f"{facts['package']} is another project: PyPI's smac is SMAC3"
        mend = f"uninstall --yes smac && {shlex.quote(options.interpreter)} -m pip {INSTALL}"
        return Check("SMAC's package", told, False, _pip(options, mend))
    return Check("SMAC's package", "missing", False, _pip(options, INSTALL))


def _protobuf(options: SmacOptions, facts: dict[str, Any]) -> Check:
    """SMAC's package asks for protobuf below 3.21, and brings it."""
    version = facts.get("protobuf") or "missing"
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    remedy = _package(options, facts).remedy or _pip(options, "install 'protobuf<3.21'")
    return Check("protobuf below 3.21", version, () < numbers < (3, 21), remedy)


def _imports(options: SmacOptions, facts: dict[str, Any]) -> Check:
    if not facts.get("starcraft"):
        return Check("the package can be imported", "not tried", False, _package(options, facts).remedy)
    remedy = _pip(options, f"{INSTALL} --force-reinstall 'protobuf<3.21'")
    return Check("the package can be imported", facts.get("error", "yes"), "error" not in facts, remedy)


def game_folder() -> Path:
    """Where StarCraft II's client looks for the game."""
    return Path(os.environ.get("SC2PATH", "~/StarCraftII")).expanduser()


def _game() -> Check:
    """The folder of the game."""
    folder = game_folder()
    there = (folder / "Versions").is_dir()
    told = str(folder) if there else f"{folder} holds no folder Versions"
    return Check("StarCraft II (SC2PATH)", told, there, _unpack(folder.parent))


def _version() -> Check:
    """The game plays its newest version; win rates of different versions do not compare."""
    names = [path.name[4:] for path in game_folder().glob("Versions/Base*")]
    builds = sorted(int(name) for name in names if name.isdecimal())
    told = f"builds {', '.join(map(str, builds))}" if builds else "no build"
    where = game_folder().parent / f"starcraft-{VERSION}" if builds else game_folder().parent
    ok = bool(builds) and builds[-1] == BUILD
    return Check(f"version {VERSION} (build {BUILD})", told, ok, _unpack(where))


def _unpack(where: Path) -> str:
    """The command that puts the game into a folder. The password says that one agrees to its licence."""
    to = shlex.quote(str(where))
    unzip = f"unzip -P iagreetotheeula SC2.{VERSION}.zip -d {to}"
    return f"wget {GAME} && {unzip} && export SC2PATH={to}/StarCraftII"


def map_checks(tasks: Sequence[TaskSpec]) -> list[Check]:
    """Whether every map file of the tasks is there; none without tasks, or where the game lies elsewhere."""
    if not tasks or sys.platform != "linux":
        return []
    folder = game_folder() / "Maps/SMAC_Maps"
    missing = [task.name for task in tasks if not (folder / f"{task.name}.SC2Map").is_file()]
    told = f"{folder} lacks {', '.join(missing)}" if missing else f"all {len(tasks)} in {folder}"
    to = shlex.quote(str(folder))
    copies = [f"git clone --depth 1 {url} && cp {place}/* {to}" for url, place in MAPS.values()]
    return [Check("map files", told, not missing, f"mkdir -p {to} && {' && '.join(copies)}")]
