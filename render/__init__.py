"""What happens inside a Blender process, and the view bundle that comes out of it."""
