"""A stage whose module cannot be loaded."""

raise ImportError("libMissing.so.1: cannot open shared object file")
