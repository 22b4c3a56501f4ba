"""Tasks and task sets by name: those of the worlds that ship, and those of users."""

from hygen_lightning.tasks.battles import BattleTask
from hygen_lightning.tasks.custom import make_battle, read_task
from hygen_lightning.tasks.maps import terrain_levels
from hygen_lightning.tasks.navigation import NavigationTask
from hygen_lightning.tasks.registry import all_task_names, battle_task, load_task, register_task
from hygen_lightning.tasks.sets import (
    TASK_SETS,
    TaskName,
    TaskSet,
    absolute,
    chosen_set,
    common_widths,
    expand,
    load_task_set,
    register_task_set,
    sources,
)
from hygen_lightning.tasks.smax import SmaxTask, smax_battle

__all__ = [
    "TASK_SETS",
    "BattleTask",
    "NavigationTask",
    "SmaxTask",
    "TaskName",
    "TaskSet",
    "absolute",
    "all_task_names",
    "battle_task",
    "chosen_set",
    "common_widths",
    "expand",
    "load_task",
    "load_task_set",
    "make_battle",
    "read_task",
    "register_task",
    "register_task_set",
    "smax_battle",
    "sources",
    "terrain_levels",
]
