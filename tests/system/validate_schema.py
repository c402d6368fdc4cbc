#!/usr/bin/python3
"""Judges playbooks by the JSON Schema, independently of capsize.

usage: validate_schema.py SCHEMA FILE...

Prints one line for each file: "ok FILE", or "wrong FILE: /pointer: message". Exits 1 when the schema itself is not one.
"""
import json
import sys

from jsonschema import Draft202012Validator


def without_comments(text):
    """Comments become spaces; what is within texts stays."""
    out = []
    at = 0
    in_text = False
    while at < len(text):
        two = text[at:at + 2]
        if in_text:
            if text[at] == "\\":
                out.append(two)
                at += 2
                continue
            in_text = text[at] != '"'
        elif text[at] == '"':
            in_text = True
        elif two == "//":
            while at < len(text) and text[at] != "\n":
                at += 1
            continue
        elif two == "/*":
            at = text.index("*/", at) + 2
            out.append(" ")
            continue
        out.append(text[at])
        at += 1
    return "".join(out)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        schema = json.load(file)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for name in sys.argv[2:]:
        with open(name, encoding="utf-8") as file:
            playbook = json.loads(without_comments(file.read()))
        error = next(iter(validator.iter_errors(playbook)), None)
        if error is None:
            print("ok", name)
        else:
            pointer = "".join("/" + str(part) for part in error.absolute_path)
            print(f"wrong {name}: {pointer or '/'}: {error.message[:200]}".replace("\n", " "))


if __name__ == "__main__":
    main()
