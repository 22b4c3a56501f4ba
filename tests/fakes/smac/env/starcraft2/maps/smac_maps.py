"""The registry of SMAC's maps: two of them; the worker registers others."""


class SMACMap:
    """Base of all map classes."""


def _marines(n, limit):
    sides = {"n_agents": n, "n_enemies": n, "limit": limit, "a_race": "T", "b_race": "T"}
    return {**sides, "unit_type_bits": 0, "map_type": "marines"}


map_param_registry = {"3m": _marines(3, 60), "8m": _marines(8, 120)}


def get_smac_map_registry():
    return map_param_registry
