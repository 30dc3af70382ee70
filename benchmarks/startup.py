"""What `import uncollapse` adds to `import torch`, and how long the command line takes to show its help."""

import subprocess
import sys

from benchmarks.timing import interleaved, ratio


def python(code):
    return lambda: subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def run(quick=False):
    parties = {
        "uncollapse": python("import uncollapse"),
        "torch": python("import torch"),
        "help": python("import sys; sys.argv = ['uncollapse', '--help']; from uncollapse.cli import main; main()"),
    }
    times = interleaved(parties, rounds=3 if quick else 9)
    added = sorted(a - b for a, b in zip(times["uncollapse"], times["torch"], strict=True))
    middle = round(added[len(added) // 2], 3)
    return {
        "import uncollapse over import torch": ratio(
            times, "uncollapse", "torch", f"<= 0.3 s more; measured {middle} s"
        ),
        "uncollapse --help over import torch": ratio(times, "help", "torch", "well under 2 s"),
    }
