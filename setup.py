"""Metadata lies in setup.cfg; here only: a wheel carries conf/ and sweeps/ inside the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Copies the folders of configs into the built package; a source tree is read where it lies."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for folder in ("conf", "sweeps"):
                target = Path(self.build_lib, "hygen_lightning", folder)
                shutil.copytree(Path(__file__).parent / folder, target, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithConfigs})
