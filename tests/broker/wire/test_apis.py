"""The table of API keys agrees with Kafka's message definitions."""

import subprocess
import sys
from pathlib import Path

from kio.index import load_request_schema, load_response_schema
from kio.schema.index import api_key_map, schema_name_map

from broker.wire.apis import Api, is_flexible, is_known, request_header_version, response_header_version
from broker.wire.errors import error_name


def test_every_api_key_has_its_name():
    assert {int(api): api.name.lower() for api in Api} == dict(api_key_map) | {93: "get_replica_log_info"}
    assert not is_known(999)


def test_every_version_is_flexible_from_the_right_one_on_and_has_the_right_headers():
    wrong = []
    for key, name in api_key_map.items():
        for version in {min(schema_name_map[name]), max(schema_name_map[name])} | _edges(key, name):
            request, response = load_request_schema(key, version), load_response_schema(key, version)
            if (is_flexible(key, version), request_header_version(key, version)) != (
                request.__flexible__,
                request.__header_schema__.__version__,
            ) or response_header_version(key, version) != response.__header_schema__.__version__:
                wrong.append((name, version))
    assert wrong == []


def _edges(key, name):
    """Return the first flexible version and the one before it, where they exist."""
    known = sorted(schema_name_map[name])
    first = next((version for version in known if is_flexible(key, version)), known[0])
    return {first} | {version for version in known if version == first - 1}


def test_an_error_code_has_kafkas_name():
    assert error_name(6) == "NOT_LEADER_OR_FOLLOWER"
    assert error_name(31_000) == "UNKNOWN_31000"


def test_a_run_does_not_load_hypothesis_though_it_is_installed(tmp_path):
    program = "from broker.wire.definitions import prepare; import sys; prepare(); print('hypothesis' in sys.modules)"
    program += "; import hypothesis; print(hypothesis.__version__ > '6')"
    environment = {"PYTHONPATH": str(Path(__file__).parents[3])}
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
    )
    assert answer.stdout.split() == ["False", "True"]
