"""From view bundles to coloured clouds, and the Parquet shards that hold them."""
