"""Who may ask, how much, and how many at a time: keys, rate limits, admission."""
