"""What every test stands on."""

from __future__ import annotations

import signal

for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
    # Whoever runs the tests in the background may ignore some of them, and children inherit that:
    # kokon would leave what its caller ignores ignored.
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
