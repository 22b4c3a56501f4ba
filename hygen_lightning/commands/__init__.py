"""Commands beside LightningCLI's: one file each, found by name.

A file `commands/<name>.py` defines `COMMAND`: a function, or a dict of functions for
subcommands (`benchmark update`). Its parameters are the options, its docstring their help, its
result the exit code. Every command has `json: bool = False`: one JSON object on stdout, nothing
else there. Heavy imports stand inside the functions, so that `--help` stays quick.
"""
