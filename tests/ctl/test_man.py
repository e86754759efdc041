#!/usr/bin/env python3
"""The man pages and the completion name every command and option that --help names, and no other."""

import os
import re
import subprocess
import sys

SOURCE = os.environ["SQYFS_SOURCE"]
OPTION = re.compile(r"(?<![\w=-])(--?[a-zA-Z][\w-]*)")


def helped(*command):
    done = subprocess.run([*command, "--help"], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit("%s --help: exit code %d" % (" ".join(command), done.returncode))
    return done.stdout


def man(name):
    with open(os.path.join(SOURCE, "etc", "man", name), encoding="utf-8") as file:
        text = re.sub(r"\\f[BIRP]", "", file.read())
    return text.replace("\\-", "-").replace("\\ ", " ")


def options(text):
    return set(OPTION.findall(text.replace("->", " ")))


def missing(what, wanted, text):
    return ["%s lacks %s" % (what, item) for item in sorted(wanted)
            if not re.search(r"(?<![\w-])" + re.escape(item) + r"(?![\w-])", text)]


def check_sqyctl(program):
    text = helped(program)
    commands = re.findall(r"^  (\w+) +\S", text, re.M)
    commands = [c for c in commands if c != "sqyctl"]
    page = man("sqyctl.1")
    errors = missing("sqyctl.1", [".SS " + c for c in commands], page)
    known = options(text)
    for command in commands:
        known |= options(helped(program, command))
    errors += missing("sqyctl.1", known, page)
    errors += ["sqyctl --help lacks %s of sqyctl.1" % option
               for option in sorted(options(page) - known - {"-V"})]
    with open(os.path.join(SOURCE, "etc", "completion", "sqyctl"), encoding="utf-8") as file:
        completion = file.read()
    errors += missing("the completion of sqyctl", set(commands) | known - {"-h", "-V"}, completion)
    return errors if len(commands) >= 10 else errors + ["--help names only %s" % commands]


def check_sqyfs(program):
    text = helped(program)
    page = man("sqyfs.1")
    mount_options = ["pipeline=", "chunk=", "threads=", "cache=", "spool=", "spooldir=", "statedir=", "raw=", "ro"]
    errors = []
    for option in mount_options:
        for what, where in [("sqyfs --help", text), ("sqyfs.1", page)]:
            if not re.search(r"(?<![\w-])" + re.escape(option) + r"(?!\w*=)", where):
                errors.append("%s lacks %s" % (what, option))
    for option in ["-f", "-d", "-o"]:
        errors += missing("sqyfs --help", [option], text) + missing("sqyfs.1", [option], page)
    return errors


def main():
    errors = check_sqyctl(sys.argv[1])
    if len(sys.argv) > 2:
        errors += check_sqyfs(sys.argv[2])
    for error in errors:
        print(error)
    sys.exit(1 if errors else 0)


main()
