"""What a network is trained for (diffusion, rectified flow, EDM, offsets), and the samplers.

May import: numpy, torch, `fuse.sampling` and `training.settings`. Start reading with `objective.py`, the
contract of all of them.
"""
