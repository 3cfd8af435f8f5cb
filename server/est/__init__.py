"""EST: one folder, the same file names as its siblings."""
