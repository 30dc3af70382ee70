"""Remedies and wrappers by other people, with a promise of their own.

**What is promised.** A class here keeps the contract (`check_remedy`, `check_model`), cites its source, and has a test
of its formula against an independent version; all of this runs with every change to the package. Imports go from here
to the package, never back.

**What is not.** Names, arguments and defaults may change, and a class may go, in any release: pin the version if you
rely on one. Nobody but its author has judged whether it does good. Studies do not know it by name. It moves to
`uncollapse.remedies` or `uncollapse.wrappers` when two people use it and a page with measured figures stands.

**How to get in.** One file here and one in `tests/contrib`, as `docs/extend.md` shows; one line below; your name and a
way to reach you in the module's docstring. You keep it working: where the package breaks it, you are asked, and after
one release without an answer it goes.
"""

from uncollapse.contrib.density_gap import DensityGap

__all__ = ["DensityGap"]
