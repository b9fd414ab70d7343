"""From view bundles to colored clouds, and the Parquet shards that hold them."""
