"""What is measured, and how. Nothing of the package imports from here."""
