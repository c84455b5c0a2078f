"""Loaded by schemathesis (SCHEMATHESIS_HOOKS): what the sandbox granted, where made-up values would never get past the door.

FUZZING_GRANT is {parameter: value}. Only text that the document would accept is replaced, so a case that is meant to be
wrong stays wrong; and a revocation never gets a real token.
"""

import json
import os
from typing import Any

import schemathesis

GRANT = json.loads(os.environ["FUZZING_GRANT"])


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    if isinstance(case.body, dict) and case.operation.path != "/revoke":
        put(case.body)
    put(case.path_parameters)


def put(parameters: Any) -> None:
    for name in GRANT.keys() & (parameters or {}).keys():
        value = parameters[name]
        if isinstance(value, str) and value and value.isascii() and value.isprintable():
            parameters[name] = GRANT[name]
