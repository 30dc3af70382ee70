"""Where runs are executed: one `submit` of the shape of `concurrent.futures`, over libraries for clusters.

Work is idempotent and claims its run, so an engine may start it twice, anywhere, whenever it likes.
"""

from uncollapse.study.engines.base import Engine, Resources, missing
from uncollapse.study.engines.choice import ENGINES, open_engine
from uncollapse.study.engines.local import LocalEngine, local_engine

__all__ = ["ENGINES", "Engine", "LocalEngine", "Resources", "local_engine", "missing", "open_engine"]
