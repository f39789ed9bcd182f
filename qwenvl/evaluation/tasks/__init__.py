"""What is measured: the catalogue of tasks, and readers of their official files."""
