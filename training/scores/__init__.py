"""Distances between clouds and between sets of clouds, which generated clouds are judged by.

May import: numpy and torch. Start reading with `distances.py`.
"""
