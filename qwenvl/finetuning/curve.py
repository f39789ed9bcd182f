"""The loss over the steps of a run, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def draw_curve(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw training and evaluation loss.

    Args:
        history: entries as the Trainer of transformers logs them, with ``step`` and ``loss`` or ``eval_loss``.
        path: of the PNG.
    """
    # Not through pyplot: it keeps every figure, and asks for a display.
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for key, label in (("loss", "training"), ("eval_loss", "evaluation")):
        points = [(entry["step"], entry[key]) for entry in history if key in entry]
        if points:
            steps, losses = zip(*points, strict=True)
            axes.plot(steps, losses, label=label, marker="." if len(points) < 50 else None)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
