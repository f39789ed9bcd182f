"""One module for each group of routes; each builds an ``APIRouter`` from what it needs."""
