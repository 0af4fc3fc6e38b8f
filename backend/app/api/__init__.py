"""HTTP: routers parse, call one service and build the response. No queries, no business rules."""

import sys
from importlib import import_module

from pydantic import BaseModel

# Only the OpenAPI document needs FastAPI's models of it, and building their validators took a tenth
# of the service's start. They inherit this setting if it is there while FastAPI is imported.
BaseModel.model_config["defer_build"] = True
import_module("fastapi")
del BaseModel.model_config["defer_build"]
# FastAPI loads pydantic's predecessor only to refuse its models, of which there are none.
sys.modules["pydantic.v1"] = None  # type: ignore[assignment]  # how an import is made to fail
