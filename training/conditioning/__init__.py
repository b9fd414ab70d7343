"""What a cloud is conditioned on: frozen image and text encoders, and the cache of their embeddings.

May import: torch, Pillow, transformers (optional) and `render.failures`. Start reading with `encoder.py`.
"""
