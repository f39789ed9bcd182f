"""Write the table of settings into docs/configuration.md: ``python -m scripts.settings_table``."""

from pathlib import Path
from typing import Any

from qwenvl.api.settings import Settings
from qwenvl.cli import option_of, variable_of

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"
START, END = "<!-- settings: make them with python -m scripts.settings_table -->\n", "<!-- end of settings -->\n"


def table() -> str:
    """Every setting with its option, its variable, its default and what it does, in Markdown."""
    rows = ["| setting | option | variable | default | what |", "| --- | --- | --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "none" if field.default in (None, ()) else str(field.default).lower()
        cells = (f"`{name}`", f"`{option_of(name)}`", f"`{variable_of(name)}`", default, _cell(field.description))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def with_table(page: str) -> str:
    """The page with the table as it is now."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}{table()}{END}{after}"


def _cell(text: Any) -> str:
    return str(text).replace("|", r"\|").replace("*", r"\*")


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
