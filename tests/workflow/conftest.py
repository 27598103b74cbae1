import signal

import pytest


@pytest.fixture(autouse=True)
def heard():
    """Whoever runs the tests in the background has them ignore signals that these send to processes of their own."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)
