"""What runs the stages: configuration, discovery, the Ray engine, the sandbox, the ledger, the command line.

May import: every room; nothing imports `pipeline`. Start reading with `cli`, then `commands.render`, which
leads to `stages.render` and the engine.
"""
