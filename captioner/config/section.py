"""What every section of the settings is."""

import pydantic


class Section(pydantic.BaseModel):
    """Settings that belong together; what isn't known is refused."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )
