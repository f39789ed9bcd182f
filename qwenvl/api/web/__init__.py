"""The page at ``/``: a chat in the browser, of files that are served as they lie in ``static``."""
