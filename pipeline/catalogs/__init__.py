"""Catalogs that collections of models come with, as input lists: captions, categories, licenses, authors.

A module per collection: `knows` says whether a folder is one, `entries` reads it. The lists are what
`insideout render` takes; models themselves are not opened here.

May import: pipeline.output.licenses, pipeline.inputs, render.failures. Start reading with `listing.py`.
"""
