"""Seeds: a random choice depends on the run's seed, the model's uid and the choice's purpose alone."""

from __future__ import annotations

import hashlib


def seed_for(seed: int, uid: str, purpose: str) -> int:
    """A 63-bit seed that differs between models and purposes, and is the same on every machine."""
    digest = hashlib.sha256(f"{seed}\0{uid}\0{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
