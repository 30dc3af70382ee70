"""Studies: methods x data x seeds as plain data, run into content-addressed folders, resumed and never done twice."""

from uncollapse.study.grid import chain, grid, product, zipped
from uncollapse.study.spec import Arm, Measure, ModelSpec, Run, Study

__all__ = ["Arm", "Measure", "ModelSpec", "Run", "Study", "chain", "grid", "product", "zipped"]
