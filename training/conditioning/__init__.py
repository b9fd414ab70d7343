"""What a cloud is conditioned on: frozen encoders of images and texts, a cache of embeddings, views' cameras.

May import: torch, Pillow, scipy, transformers (optional), `render.failures`, `training.objectives.condition`.
Start reading with `encoder.py`, or with `shown.py` for several views.
"""
