"""Takes 10 MB more at each step, says how much it holds, and gives nothing back.

hungry.py [SECONDS]     the pause after a step, 1 second when nothing is said
"""

import sys
import time

STEP = 10_000_000

pause = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
held = []
# Random bytes, so that no page is a copy of another; unbuffered, so that each is held once.
with open("/dev/urandom", "rb", buffering=0) as random:
    while True:
        held.append(random.read(STEP))
        print(len(held) * STEP // 1_000_000, "MB", flush=True)
        time.sleep(pause)
