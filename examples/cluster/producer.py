"""A producer process: `python -m examples.cluster.producer ORDERS`.

It notes each order once the queue has accepted it, in the file that CLUSTER_ACKS names.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..lines import LineWriter
from .settings import config
from .tasks import ACKS, pack, tasks


def main(orders: int) -> None:
    with tasks.open(config, start=False), LineWriter(Path(os.environ[ACKS])) as acks:
        for order in range(orders):
            pack.enqueue(order)
            acks.add(str(order))


if __name__ == "__main__":
    main(int(sys.argv[1]))
