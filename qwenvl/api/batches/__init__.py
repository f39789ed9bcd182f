"""Files of requests, answered when there is room: ``/v1/files`` and ``/v1/batches``."""
