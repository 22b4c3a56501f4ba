"""What a task is: the map table, navigation, tasks and task sets of users, published win rates."""

from hygen_lightning.tasks.battles import BattleTask
from hygen_lightning.tasks.custom import make_battle, read_task
from hygen_lightning.tasks.maps import terrain_levels
from hygen_lightning.tasks.navigation import NavigationTask
from hygen_lightning.tasks.registry import all_task_names, battle_task, load_task, register_task
from hygen_lightning.tasks.sets import (
    DATA_WIN_RATES,
    TASK_SETS,
    TaskName,
    TaskSet,
    absolute,
    common_widths,
    data_win_rate,
    expand,
    load_task_set,
    register_task_set,
    sources,
)

__all__ = [
    "DATA_WIN_RATES",
    "TASK_SETS",
    "BattleTask",
    "NavigationTask",
    "TaskName",
    "TaskSet",
    "absolute",
    "all_task_names",
    "battle_task",
    "common_widths",
    "data_win_rate",
    "expand",
    "load_task",
    "load_task_set",
    "make_battle",
    "read_task",
    "register_task",
    "register_task_set",
    "sources",
    "terrain_levels",
]
