"""What a network is trained for (diffusion, rectified flow, EDM, offsets), and the samplers.

May import: numpy, torch, `training.settings`, `training.conditioning.cameras` and `training.merging.rules`.
Start reading with `objective.py`, the contract of all of them.
"""
