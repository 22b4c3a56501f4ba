"""Environments: the protocol and the registry (base), the embedded simulator, StarCraft II."""

from hygen_lightning.envs.base import (
    ENVIRONMENTS,
    BattleEnv,
    environment_class,
    make_env,
    make_env_for_policy,
    register_env,
)

__all__ = [
    "ENVIRONMENTS",
    "BattleEnv",
    "environment_class",
    "make_env",
    "make_env_for_policy",
    "register_env",
]
