from __future__ import annotations

import threading
import time

from experiments.turns import taking_turns


def test_nobody_is_alone_before_all_have_compiled_and_then_one_at_a_time(tmp_path):
    events, both_within = [], threading.Barrier(2)

    def benchmark(name: str, compiles: float) -> None:
        with taking_turns(str(tmp_path / "lock")) as wait:
            both_within.wait()
            time.sleep(compiles)
            events.append(f"{name} compiled")
            wait()
            events.append(f"{name} begins")
            time.sleep(0.1)
            events.append(f"{name} ends")

    threads = [threading.Thread(target=benchmark, args=each) for each in (("a", 0.0), ("b", 0.3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert events[:2] == ["a compiled", "b compiled"]
    first = events[2][0]
    second = "b" if first == "a" else "a"
    assert events[2:] == [
        f"{name} {what}" for name in (first, second) for what in ("begins", "ends")
    ]


def test_without_a_file_nobody_is_waited_for():
    with taking_turns(None) as wait:
        wait()
