"""The half of the model that runs on vLLM. Importing the package imports nothing: see ``plugin.register``."""
