"""What went wrong outside a model: the user's mistake, or the machinery's. Both end as one line."""

from __future__ import annotations


class UserError(Exception):
    """A mistake that the user can mend; the message names the file, the fault and the cure. Exit code 2."""


class InfrastructureError(Exception):
    """Ray, the disk or the network failed; no model is to blame. Exit code 1."""
