"""From shards to a trained image-to-cloud model, and clouds drawn from it."""
