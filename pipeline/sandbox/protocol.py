"""What passes between a supervisor and its child: frames of JSON, each validated by the side that reads it.

A frame is a big-endian uint32 length and that many bytes. The child may be in the hands of a hostile file, so
nothing is taken from it but these three shapes, bounded in size: anything else is a `ProtocolError`.

    supervisor: {"order": ...}              child: Obeyed, what came of an order of `render.references.orders`
    supervisor: {"job": ..., "place": ...}  child: Answer
"""

from __future__ import annotations

import json
import struct
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from render.failures import FailureClass, Status
from render.job import Job, Placement
from render.references.orders import Order, Result

HEADER = struct.Struct(">I")
LONGEST_MESSAGE = 8000  # characters

Name = Annotated[str, StringConstraints(max_length=64)]
Text = Annotated[str, StringConstraints(max_length=LONGEST_MESSAGE)]
Message = TypeVar("Message", bound="FromChild")
AnyResult = TypeVar("AnyResult", bound=Result)
Scalar = bool | int | float | Text | None
Times = Annotated[dict[Name, Annotated[float, Field(ge=0, allow_inf_nan=False)]], Field(max_length=64)]


class ProtocolError(Exception):
    """The other side sent what is no frame, or no valid one."""


class FromChild(BaseModel):
    """A child's frame."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    largest: ClassVar[int] = 1 << 20
    """Bytes; a record is a few hundred."""


class Hello(FromChild):
    """A child's first frame: whether it is ready, and what it could take from itself."""

    ready: bool
    confinement: Text | None = None
    message: Text | None = None


class Verdict(FromChild):
    """Whether what was asked for was done."""

    status: Annotated[Status, Field(strict=False)]
    kind: Annotated[FailureClass | None, Field(strict=False)] = None
    message: Text | None = None

    @model_validator(mode="after")
    def _failures_have_a_class(self) -> Self:
        if (self.status is Status.FAILED) != (self.kind is not None):
            raise ValueError("a failure has a class, and nothing else has one")
        if self.kind in (FailureClass.INFRASTRUCTURE, FailureClass.TIMEOUT):
            raise ValueError("that is for the supervisor to say")
        return self


class Answer(Verdict):
    """What became of a job."""

    record: Annotated[dict[Name, Scalar | list[Scalar] | dict[Name, Scalar]], Field(max_length=256)] = Field(
        default_factory=dict
    )
    seconds: Times = Field(default_factory=dict)
    cpu_seconds: Times = Field(default_factory=dict)


class Obeyed(Verdict, Generic[AnyResult]):
    """What became of an order."""

    largest: ClassVar[int] = 12 << 20
    """What `render.references.link_scan` finds at most in one file, with every character escaped."""
    result: AnyResult | None = None

    @model_validator(mode="after")
    def _successes_have_a_result(self) -> Self:
        if (self.status is Status.OK) != (self.result is not None):
            raise ValueError("an order that was obeyed has a result, and no other")
        return self


def encode(message: dict[str, Any]) -> bytes:
    """One frame's bytes."""
    body = json.dumps(message).encode()
    return HEADER.pack(len(body)) + body


def encode_job(job: Job, place: Placement) -> bytes:
    """The frame that asks for a job."""
    return encode({"job": job.model_dump(mode="json"), "place": place.model_dump(mode="json")})


def encode_order(order: Order) -> bytes:
    """The frame that asks for an order to be obeyed."""
    return encode({"order": order.model_dump(mode="json")})


def decode_message(body: bytes, kind: type[Message]) -> Message:
    """A child's frame as what was expected; ProtocolError if it is neither JSON nor that."""
    try:
        return kind.model_validate_json(body)
    except (ValidationError, ValueError, RecursionError) as error:
        raise ProtocolError(f"not a valid {kind.__name__.lower()}: {type(error).__name__}") from error
