"""A claim on a folder: one process at a time works in it, on a local disk, on NFS or in an object store.

A claim is the highest of a chain of numbered files, `claim-00000007.json`. The only operation it needs is "make this
file unless it is there", which local disks, NFS and object stores with conditional writes all do atomically:

- to take a free folder, or to renew one's own claim, is to make the file of the next number;
- to take over a dead owner's claim is to make the file of the number after the one that it left. Had the owner renewed
  it meanwhile, that file would be there. An owner that slept and wakes finds it there, and knows that it has lost;
- nobody ever removes the highest file, so numbers do not come back. Who made a file late, below a higher one, sees
  that when it lists the files again, and withdraws.

An owner is dead when it was a process of this machine that is gone, or when its number did not change while somebody
watched for as long as its `lease`, by the watcher's own monotonic clock: no clocks are ever compared.
"""

from uncollapse.claim.chain import LEASE, Claim, top, try_claim
from uncollapse.claim.holding import Inherited, held, hold, holding, inherit, lent
from uncollapse.claim.owners import Sightings, dead, here, owner
from uncollapse.claim.shelves import Folder, Shelf

__all__ = [
    "LEASE",
    "Claim",
    "Folder",
    "Inherited",
    "Shelf",
    "Sightings",
    "dead",
    "held",
    "here",
    "hold",
    "holding",
    "inherit",
    "lent",
    "owner",
    "top",
    "try_claim",
]
