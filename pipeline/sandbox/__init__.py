"""The child process that opens unknown files, and what keeps it from doing harm.

`process` is the supervisor's side, `child` the other one, `protocol` what passes between them. `confine`
takes from the child what it does not need, through `landlock` (files) and `seccomp` (system calls); `cores`
divides the CPU; `watchdog` ends what a killed owner leaves behind. What each layer stops: docs/security.md.

May import: render.job, render.failures and render.references.orders; pipeline.inputs.workspace.
Start reading with `process.py`.
"""
