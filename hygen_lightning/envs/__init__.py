"""Environments: the protocol and the registry (base), and one module or folder for each."""

from hygen_lightning.envs.base import (
    ENVIRONMENTS,
    BattleEnv,
    environment_class,
    environment_for,
    make_env,
    make_env_for_policy,
    own_environment,
    register_env,
)

__all__ = [
    "ENVIRONMENTS",
    "BattleEnv",
    "environment_class",
    "environment_for",
    "make_env",
    "make_env_for_policy",
    "own_environment",
    "register_env",
]
