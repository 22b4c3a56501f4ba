"""Commands beside LightningCLI's: one function each, listed in `hygen_lightning.cli.COMMANDS`.

Its parameters are the options, its docstring their help, its result the exit code. Every command
has `json: bool = False`: one JSON object on stdout, nothing else there. Heavy imports stand inside
the functions, so that `--help` stays quick.
"""
