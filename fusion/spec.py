"""How a YAML names a component inside another one: by its name, or by its name and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from fusion.config_components import filled
from fusion.protocols import Component
from fusion.registry import resolve

__all__ = ["NormalizationSpec", "Spec"]


class Spec(BaseModel):
    """``rrf``, or ``{name: rrf, k: 20}``: a component of `group` and the fields of its ``Config``.

    The name is looked up and the settings are checked as soon as the YAML is read, so that an
    error stands at its place there.

    Raises:
        pydantic.ValidationError: an unknown name, an unknown setting, a value out of range; the
            location of each fault is that of the field.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    #: which group of the registry the name belongs to
    group: ClassVar[str] = ""

    name: str

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            resolve(cls.group, value)  # here the fault's place is the string itself
            return {"name": value}
        return value

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        resolve(cls.group, name)
        return name

    @model_validator(mode="after")
    def _fill_settings(self) -> Self:
        extra = self.__pydantic_extra__
        if extra is not None:  # every default filled in: one meaning, one spelling, one hash
            extra.update(filled(self._component.Config, self.settings))
        return self

    @property
    def settings(self) -> Mapping[str, Any]:
        """The component's own fields."""
        return dict(self.model_extra or {})

    @property
    def _component(self) -> type[Component]:
        return resolve(self.group, self.name)

    def build(self) -> Any:
        """The component."""
        return self._component(self.settings, name=self.name)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Either form."""
        return {"anyOf": [{"type": "string"}, handler(core_schema)]}


class NormalizationSpec(Spec):
    """A normalisation."""

    group: ClassVar[str] = "normalizations"
