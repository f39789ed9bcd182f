"""One module a metric: pure functions of predictions and annotations, equal to the scripts that the field reports."""
