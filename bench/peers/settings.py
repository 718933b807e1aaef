"""What every process of the peer is started with, whichever script measures it."""
import os

# Memory is kept between steps: by default every large tensor is mapped and cleared anew, at a tenth of the time of a
# step of a model, and more than half of it where all that is done is to move rows.
MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(64 << 20),
          "MALLOC_ARENA_MAX": "1", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def environment(threads, memory=MEMORY, **more):
    """The peer's: ours, with its settings."""
    return {**os.environ, **memory, "OMP_NUM_THREADS": str(threads), "PYTHONDONTWRITEBYTECODE": "1", **more}
