"""Configurations of both schemas with every field, and changes that make one invalid."""

from __future__ import annotations

from typing import Any

FULL: dict[str, Any] = {
    "schemaVersion": "2.0.0",
    "globalEnvVars": [{"key": "G", "value": "g"}],
    "commandTests": [
        {
            "name": "n",
            "command": "c",
            "args": ["a", "b"],
            "setup": [["s", "1"], ["t"]],
            "teardown": [["u"]],
            "envVars": [{"key": "E", "value": "e"}],
            "expectedOutput": ["o"],
            "excludedOutput": ["p"],
            "expectedError": ["q"],
            "excludedError": ["r"],
            "exitCode": 3,
        },
        {"name": "least", "command": "c"},
    ],
    "fileContentTests": [
        {"name": "n", "path": "/p", "expectedContents": ["x"], "excludedContents": ["y"]}
    ],
    "fileExistenceTests": [
        {
            "name": "n",
            "path": "/p",
            "shouldExist": False,
            "permissions": "-rw-r--r--",
            "uid": 0,
            "gid": 5,
            "isExecutableBy": "group",
        },
        {"name": "least", "path": "/q"},
    ],
    "licenseTests": [{"debian": True, "files": ["/f"]}],
    "metadataTest": {
        "envVars": [{"key": "k", "value": "v.*", "isRegex": True}, {"key": "e", "value": ""}],
        "unboundEnvVars": [{"key": "u"}],
        "labels": [{"key": "l", "value": "w"}],
        "exposedPorts": ["80"],
        "unexposedPorts": ["81"],
        "volumes": ["/v"],
        "unmountedVolumes": ["/w"],
        "entrypoint": [],
        "cmd": ["x"],
        "workdir": "/d",
        "user": "me",
    },
    "containerRunOptions": {
        "user": "root",
        "envFile": "env",
        "envVars": ["HOST"],
        "bindMounts": ["/a:/b"],
        "privileged": True,
        "allocateTty": True,
        "capabilities": ["NET_ADMIN"],
    },
}

IMAGE: dict[str, Any] = {
    "schemaVersion": "image_test/1",
    "healthcheckTests": [
        {"name": "h"},
        {
            "name": "broken",
            "expect": "unhealthy",
            "within": 5,
            "interval": 0.5,
            "env": {"A": "b"},
            "command": ["c"],
            "user": "1:2",
            "readOnlyRoot": True,
            "writable": ["/data"],
        },
    ],
    "entrypointTests": [
        {
            "name": "e",
            "waitForPort": 80,
            "waitForLog": "up",
            "within": 9,
            "requests": [{"path": "/", "status": 404, "body": ["x"]}, {"path": "/h"}],
            "signal": "SIGINT",
            "grace": 2,
            "exitCodes": [0, 130],
            "env": {"A": "b"},
            "command": ["c"],
            "user": "1:2",
            "readOnlyRoot": True,
            "writable": ["/data"],
        }
    ],
    "invariants": {
        "noSetId": True,
        "worldWritable": ["/tmp"],
        "uids": [0],
        "gids": [0, 42],
        "forbidden": ["**/*.pyc"],
        "maxBytes": 10,
        "maxLayers": 3,
        "readOnlyRoot": True,
        "arbitraryUid": 12345,
        "writable": ["/data"],
    },
}

# Changes to a configuration of schema 2.0.0, and what the error says of them.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"schemaVersion": None}, "schemaVersion"),
    ({"schemaVersion": "1.0.0"}, "schemaVersion '1.0.0' is not supported, write 2.0.0"),
    ({"schemaVersion": "3"}, "(there is no other)"),
    ({"colour": "red"}, "unknown field 'colour'; known are: commandTests, "),
    ({"commandTests": [{"name": "n"}]}, "commandTests[0]: command: is missing"),
    ({"commandTests": [{"command": "c"}]}, "commandTests[0]: name: is missing"),
    (
        {"commandTests": [{"name": "n", "command": "c", "x": 1}]},
        "commandTests[0]: unknown field 'x'",
    ),
    ({"commandTests": {"name": "n"}}, "commandTests: wanted a list, found {'name': 'n'}"),
    ({"commandTests": ["c"]}, "commandTests[0]: wanted a mapping, found 'c'"),
    (
        {"commandTests": [{"name": "n", "command": "c", "exitCode": "one"}]},
        "exitCode: wanted a whole number, found 'one'",
    ),
    (
        {"commandTests": [{"name": "n", "command": "c", "args": "a b"}]},
        "args: wanted a list, found 'a b'",
    ),
    (
        {"commandTests": [{"name": "n", "command": "c", "args": [["a"]]}]},
        "args[0]: wanted a string, found ['a']",
    ),
    ({"globalEnvVars": [{"key": "", "value": "v"}]}, "globalEnvVars[0]: key: is empty"),
    ({"globalEnvVars": [{"key": "k", "value": ""}]}, "globalEnvVars[0]: value: is empty"),
    ({"fileExistenceTests": [{"name": "n", "path": ""}]}, "path: is empty"),
    (
        {"fileExistenceTests": [{"name": "n", "path": "/p", "isExecutableBy": "me"}]},
        "isExecutableBy: wanted 'owner', 'group', 'other' or 'any', found 'me'",
    ),
    (
        {"fileExistenceTests": [{"name": "n", "path": "/p", "shouldExist": "perhaps"}]},
        "shouldExist: wanted true or false, found 'perhaps'",
    ),
    ({"metadataTest": {"env": []}}, "metadataTest: unknown field 'env'"),
    ({"metadataTest": []}, "metadataTest: wanted a mapping, found []"),
    ({"metadataTest": {"user": ["me"]}}, "user: wanted a string, found ['me']"),
    ({"containerRunOptions": {"privileged": "perhaps"}}, "privileged: wanted true or false"),
    ({"containerRunOptions": {"tty": True}}, "containerRunOptions: unknown field 'tty'"),
    ({"containerRunOptions": {"capabilities": "ALL"}}, "capabilities: wanted a list"),
]
