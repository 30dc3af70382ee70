"""Where a study lies: a folder on a disk (local, or shared by NFS), or an address that fsspec knows, such as s3://.

The rest of the package works in local folders. A study on a disk is worked on where it lies. One in an object store
has a copy of its small files in the user's cache, which is brought up to date before it is read, and every run is
trained in a scratch folder whose files are put into the store whenever they change, so that any worker resumes any
run. Both kinds answer the same questions (`Place`).
"""

from uncollapse.storage.disk import Disk
from uncollapse.storage.place import Place, at, is_address

__all__ = ["Disk", "Place", "at", "is_address"]
