"""What starting costs: importing the package, and the command's help.

    python benchmarks/startup.py

prints medians over several fresh processes, beside one that does nothing, and whether importing
the package imports torch. CPU seconds stand beside the waiting time because other work on the
machine does not touch them.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

IMPORT = "import geobridge"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=9, help="processes of each kind")
    options = parser.parse_args()
    python = [sys.executable, "-c"]
    command = str(Path(sys.executable).with_name("geobridge"))
    kinds = {
        "python -c pass": ([*python, "pass"], ""),
        IMPORT: ([*python, IMPORT], ", target 0.3"),
        "geobridge --help": ([command, "--help"], ", target 0.5"),
    }
    waited: dict[str, list[float]] = {name: [] for name in kinds}
    computed: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(options.repeats + 1):
        for name, (arguments, _target) in kinds.items():
            began, computed_before = time.perf_counter(), children_cpu_s()
            subprocess.run(arguments, stdout=subprocess.DEVNULL, check=True)
            waited[name].append(time.perf_counter() - began)
            computed[name].append(children_cpu_s() - computed_before)
    for name, (_arguments, target) in kinds.items():
        # The first run finds files that are not cached yet.
        wait, cpu = (statistics.median(times[name][1:]) for times in (waited, computed))
        print(f"{name:<17} {wait:.2f} s, CPU {cpu:.2f} s{target}")
    code = f"import sys; {IMPORT}; print('torch' in sys.modules)"
    run = subprocess.run([*python, code], capture_output=True, text=True, check=True)
    print(f"{IMPORT} imports torch: {'yes' if run.stdout.strip() == 'True' else 'no'}")


def children_cpu_s() -> float:
    """CPU seconds of all processes this one has waited for."""
    times = os.times()
    return times.children_user + times.children_system


if __name__ == "__main__":
    main()
