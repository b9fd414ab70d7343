"""What runs the stages: configuration, discovery, the Ray runner, supervision, the command line."""
