"""What a network is trained for (diffusion, rectified flow, EDM), and the samplers: Heun, DDIM, DDPM.

May import: numpy, torch and `training.settings`. Start reading with `objective.py`, the contract of all of
them.
"""
