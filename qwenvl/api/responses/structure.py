"""``text.format`` and ``structured_outputs``: what a response must look like."""

from anyio import to_thread

from qwenvl.api.responses.schemas import CreateResponseRequest, TextFormat
from qwenvl.api.structure import FORMATS, StructureFields, read_structure, schema_structure
from qwenvl.engine import Structure
from qwenvl.errors import UserError


async def response_structure_of(wire: CreateResponseRequest) -> Structure | None:
    """As :func:`read_response_structure`, in a thread where there is something to read: it may be large."""
    if wire.structured_outputs is None and wire.text is None:
        return None
    return await to_thread.run_sync(read_response_structure, wire)


def read_response_structure(wire: CreateResponseRequest) -> Structure | None:
    """What the answer must look like; None where it is free.

    Raises:
        UserError: both parameters ask for something, or one of them for what cannot be.
    """
    wanted = read_structure(StructureFields(structured_outputs=wire.structured_outputs))
    form = _of_format(wire.text.format) if wire.text and wire.text.format else None
    if wanted and form:
        raise UserError(
            "structured_outputs and text.format both say what the answer must look like. Give one of them.",
            param="structured_outputs",
            code="invalid_value",
        )
    return wanted or form


def _of_format(form: TextFormat) -> Structure | None:
    if form.type == "text":
        return None
    if form.type == "json_object":
        return Structure("json_object", param="text.format")
    if form.type != "json_schema":
        param = "text.format.type"
        raise UserError(f"{param} must be one of {', '.join(FORMATS)}.", param=param, code="invalid_value")
    for name, value in (("name", form.name), ("schema", form.schema_)):
        if value is None:
            param = f"text.format.{name}"
            raise UserError(
                f"{param} is required with the type json_schema.", param=param, code="missing_required_parameter"
            )
    assert form.schema_ is not None
    return schema_structure(form.schema_, "text.format.schema")
