"""Sends one message through Apprise, in a process that ends.

Run by `notify.py` as `python -I notify_child.py`; the order comes as JSON on standard input, the
answer goes out as JSON: for each address whether it took the message, in their order.
"""

from __future__ import annotations

import json
import logging
import sys

import apprise


def main() -> None:
    order = json.load(sys.stdin)
    logging.disable(logging.CRITICAL)  # Apprise's log has addresses in it
    results = []
    for url in order["urls"]:
        notifier = apprise.Apprise()
        known = notifier.add(url)
        if not known or order["check"]:
            results.append("ok" if known else "unknown")
            continue
        done = notifier.notify(title=order["title"], body=order["body"], body_format="text")
        results.append("ok" if done else "failed")
    sys.stdout.write(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
