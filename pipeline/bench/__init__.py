"""What the pipeline costs: per model and step, in the engine itself, and in the driver for a million models.

May import: every room. It parses no command line: `pipeline.commands.bench` does. Start reading with
`models`.
"""
