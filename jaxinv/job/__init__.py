"""Thousands to millions of observations: a directory of immutable shards that survives a crash.

job = Job.create("DIR", generator, "observations.npy", "linf")
run(job, partial(executors.processes, 2), watcher)   # again after a crash: only what is missing
export(job, Path("codes.npz"))
"""

from jaxinv.job import executors
from jaxinv.job.export import export
from jaxinv.job.job import Job
from jaxinv.job.retry import open_retry, results, retries
from jaxinv.job.run import run

__all__ = ["Job", "executors", "export", "open_retry", "results", "retries", "run"]
