"""The JSON Schemas against what they describe: scenario files that the program takes and reports that it prints are valid; and most of
what it refuses, and every report with a field missing, are not. Usage: schema_check.py RUNNER"""

import json
import pathlib
import subprocess
import sys

import jsonschema

try:
    import tomllib
except ImportError:
    import tomli as tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNNER = sys.argv[1]
# wrong files that no schema of one file could tell, such as limits that depend on other keys: at most this part of all
UNTOLD_MAX = 0.6


def printed(*arguments):
    return json.loads(subprocess.run([RUNNER, *arguments], cwd=ROOT, check=True, capture_output=True).stdout)


def validator(name):
    schema = json.loads((ROOT / f"docs/{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def main():
    scenario, report = validator("scenario"), validator("report")
    good = sorted((ROOT / "scenarios").glob("*.toml"))
    for path in good:
        scenario.validate(tomllib.loads(path.read_text()))
    drafted = subprocess.run([RUNNER, "init", "arcface"], check=True, capture_output=True, text=True).stdout
    scenario.validate(tomllib.loads(drafted))

    told = untold = 0
    for path in sorted((ROOT / "tests/wrong_scenarios").glob("*.toml")):
        try:
            file = tomllib.loads(path.read_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            continue
        told, untold = (told, untold + 1) if scenario.is_valid(file) else (told + 1, untold)
    assert untold <= UNTOLD_MAX * (told + untold), f"{untold} of {told + untold} wrong scenarios are valid by the schema"

    runs = printed("report", "--json", "scrfd", "arcface", "transport")
    report.validate(runs)
    removed = 0
    for place in (runs["runs"][0], runs["runs"][0]["records"][0], runs["runs"][0]["answers"][0]):
        for key in ("path", "case", "words"):
            if key in place:
                value = place.pop(key)
                assert not report.is_valid(runs), f"a report without {key} is valid"
                place[key], removed = value, removed + 1
    assert removed >= 3
    print(f"{len(good)} scenarios and a report of 3 runs are valid; {told} of {told + untold} wrong scenarios are told")


main()
