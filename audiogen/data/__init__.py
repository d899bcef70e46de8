"""Recipes that turn corpora into manifests and compact tensor files, and the data modules that read those."""
