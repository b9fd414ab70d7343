"""The verbs of the command line, one module per verb: `Command` holds its flags and help, `run` does it.

May import: every room. A module imports at its top only what its help needs; `run` imports what it runs.
Start reading with `render`; `pipeline.cli` has the table of verbs, `pipeline.arguments` parses the flags.
"""
