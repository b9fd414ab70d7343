"""What a network is trained for (diffusion, rectified flow, EDM), and the samplers: Heun, DDIM, DDPM.

May import: numpy and torch. Start reading with `objective.py`, the contract of all of them.
"""
