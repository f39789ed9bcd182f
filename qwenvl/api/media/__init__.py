"""Pictures of requests: where they may come from, how they are fetched, decoded and fitted."""
