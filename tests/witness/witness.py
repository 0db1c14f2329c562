#!/usr/bin/env python3
"""An independent witness: register and memory faults injected by fits and, again, by gdb (breakpoint, ignore count, set).

Usage: tests/witness/witness.py FITS COUNT SEED PROGRAM [ARGUMENT...]

Draws COUNT faults (a bit of a general register, a flag, or a byte near the stack pointer, before the K-th execution of an instruction of
PROGRAM's own code that is executed as often under fits as natively), lets both inject them, and compares the outcomes and the ends. Ends with 1 if they differ anywhere, and with 2 if it
could not work.
"""

import csv
import json
import os
import random
import re
import shlex
import subprocess
import sys
import tempfile

REGISTERS = "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15".split()
FLAGS = {"cf": 0, "pf": 2, "af": 4, "zf": 6, "sf": 7, "of": 11}
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
# A breakpoint of gdb costs some 50 microseconds.
MOST_ARRIVALS = 2000
SECONDS = 20


def executed(fits, program, folder, own, options):
    """What a golden run says of the instructions of the program's own code."""
    golden = tempfile.mkdtemp(dir=folder)
    os.rmdir(golden)
    command = [fits, "golden", "--quiet", "--stats", "counts", "--out", golden, *options, "--"] + program
    status, (_, errors) = run(command, folder, "golden")
    path = os.path.join(golden, "instructions.csv")
    if not os.path.exists(path):
        sys.exit(f"no golden run ({status}): {errors.decode(errors='replace')}")
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if row["module"] and os.path.realpath(row["module"]) == own]


def draw(fits, program, count, generator, folder):
    """Faults as (text for fits, address, arrival, gdb command)."""
    own = os.path.realpath(program[0])
    rows = executed(fits, program, folder, own, [])
    # Without a vDSO, and with other such surroundings that fits controls and gdb does not, start-up code of a static program counts otherwise: an
    # arrival there would be another moment.
    natively = {row["offset"]: row["executions"] for row in executed(fits, program, folder, own, ["--raw-environment"])}
    rows = [row for row in rows if natively.get(row["offset"]) == row["executions"]]
    faults = []
    for _ in range(count):
        row = generator.choice(rows)
        address, arrival = int(row["pc"], 16), generator.randint(1, min(int(row["executions"]), MOST_ARRIVALS))
        kind = generator.choice(["register", "register", "flag", "memory"])
        if kind == "register":
            register, bit = generator.choice(REGISTERS), generator.randrange(64)
            where, command = f"reg:{register}:{bit}", f"set ${register} = (long)${register} ^ ((long)1 << {bit})"
        elif kind == "flag":
            flag = generator.choice(list(FLAGS))
            where, command = f"reg:{flag}", f"set $eflags = $eflags ^ {1 << FLAGS[flag]}"
        else:
            offset, bit = generator.randrange(0, 256), generator.randrange(8)
            place = f"*(unsigned char *)($rsp + {offset})"
            where, command = f"mem:sp+{offset:#x}:{bit}", f"set {place} = {place} ^ {1 << bit}"
        faults.append((f"{where}@{address:#x}:{arrival}", address, arrival, command))
    return faults


def run(command, folder, name):
    """Runs a command with its output in files; its exit status, and what it wrote."""
    paths = [os.path.join(folder, f"{name}.{stream}") for stream in ("stdout", "stderr")]
    with open(paths[0], "wb") as out, open(paths[1], "wb") as err:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=ENVIRONMENT).returncode
    return status, contents(paths)


def contents(paths):
    return [open(path, "rb").read() for path in paths]


def by_gdb(program, fault, folder):
    """How the program ends when gdb injects the fault: ('exited', status) or ('signaled', name), or 'limit'; and its outputs."""
    _, address, arrival, command = fault
    paths = [os.path.join(folder, f"gdb.{stream}") for stream in ("stdout", "stderr")]
    script = f"""
set pagination off
set confirm off
set disable-randomization on
set exec-wrapper env -i PATH=/usr/bin:/bin
handle all nostop noprint pass
starti {shlex.join(program[1:])} > {paths[0]} 2> {paths[1]} < /dev/null
break *{address:#x}
ignore 1 {arrival - 1}
continue
{command}
delete
continue
"""
    path = os.path.join(folder, "commands.gdb")
    with open(path, "w") as file:
        file.write(script)
    gdb = ["gdb", "--batch", "--nx", "-x", path, program[0]]
    environment = dict(ENVIRONMENT, SHELL="/bin/sh", HOME=folder)
    # Its own session: what it debugs can be ended with it.
    process = subprocess.Popen(
        gdb, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, start_new_session=True
    )
    try:
        text = process.communicate(timeout=SECONDS)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        # gdb ends what it debugs when it is asked to end.
        process.terminate()
        try:
            process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.communicate()
        return ("limit", None), contents(paths)
    if "Breakpoint 1," not in text:
        sys.exit(f"gdb did not come to the breakpoint:\n{text}")
    if found := re.search(r"terminated with signal (SIG\w+)", text):
        return ("signaled", found[1]), contents(paths)
    if found := re.search(r"exited with code ([0-7]+)", text):
        return ("exited", int(found[1], 8)), contents(paths)
    if "exited normally" in text:
        return ("exited", 0), contents(paths)
    sys.exit(f"gdb did not say how the program ended:\n{text}")


def outcome(end, outputs, expected):
    if end[0] == "limit":
        return "hang"
    if end != ("exited", expected[0]):
        return "crash"
    return "masked" if outputs == expected[1] else "sdc"


def main():
    if len(sys.argv) < 5:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    fits, count, seed = os.path.realpath(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    program = [os.path.realpath(sys.argv[4])] + sys.argv[5:]
    with tempfile.TemporaryDirectory() as folder:
        expected = run(program, folder, "native")
        faults = draw(fits, program, count, random.Random(seed), folder)
        path = os.path.join(folder, "faults")
        with open(path, "w") as file:
            file.writelines(text + "\n" for text, *_ in faults)
        results = os.path.join(folder, "results")
        status, (_, errors) = run([fits, "inject", "--faults", path, "--out", results, "--"] + program, folder, "inject")
        if status != 0:
            print(errors.decode(errors="replace"), file=sys.stderr)
            sys.exit(2)
        with open(os.path.join(results, "experiments.json")) as file:
            experiments = json.load(file)["experiments"]
        differing, counts = 0, {}
        for fault, experiment in zip(faults, experiments, strict=True):
            end, outputs = by_gdb(program, fault, folder)
            theirs = outcome(end, outputs, expected)
            ours, how = experiment["outcome"], experiment["end"]
            ended = (how["kind"], how.get("status", how.get("name")))
            counts[theirs] = counts.get(theirs, 0) + 1
            same_end = ended == end or ours == theirs == "hang"
            if ours != theirs or not same_end:
                differing += 1
                print(f"{fault[0]}: fits {ours} {ended}, gdb {theirs} {end}\n  {experiment['replay']}")
        print(f"{len(faults)} faults, {differing} differ; gdb: {counts}")
        sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
