"""The first signal is a request, the second is not."""

from __future__ import annotations

import signal

import pytest

from gan3d.training.interruption import StopSignals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_is_only_noted(number, capfd):
    before = signal.getsignal(number)
    with StopSignals() as stop:
        assert stop.received is None
        assert signal.getsignal(number) != before
        signal.raise_signal(number)
        assert stop.received == number
        assert signal.getsignal(number) == before
    assert signal.getsignal(number) == before
    assert signal.Signals(number).name in capfd.readouterr().err


def test_second_signal_acts_as_usual(capfd):
    # Usual is Python's: a shell starts background jobs with this signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _interrupt_twice()
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt_twice():
    with pytest.raises(KeyboardInterrupt), StopSignals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.received == signal.SIGINT
        signal.raise_signal(signal.SIGINT)
