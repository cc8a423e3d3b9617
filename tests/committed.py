"""Jobs whose shards hold what a test says, committed as a worker commits them."""

import numpy as np

import jaxinv
from jaxinv.job import Job
from jaxinv.job.shards import row_type

G = jaxinv.Generator.random((3, 9, 64), seed=0)


def rows_of(status, latent, x, generator=G):
    """Results with these statuses and latents, residuals as they are."""
    status = np.array([int(jaxinv.Status[name]) for name in status])
    rows = np.zeros(len(status), row_type(latent.shape[1]))
    without = [not jaxinv.Status(value).has_latent for value in status]
    rows["latent"] = np.where(np.array(without)[:, None], np.nan, latent)
    rows["status"] = status
    rows["residual"] = np.linalg.norm(np.asarray(generator(latent)) - x, axis=1)
    rows["residual"][without] = np.nan
    rows["allowed_error"] = 1e-3
    return rows


def committed(folder, observations, rows, shard_rows=8, method="exact", generator=G, **options):
    """A job in this folder; rows: of the first shards, the others being missing."""
    job = Job.create(folder, generator, observations, method, shard_rows=shard_rows, **options)
    for number in range(job.shards.count):
        start, stop = job.shards.span(number)
        if stop <= len(rows):
            job.shards.commit(number, rows[start:stop])
    return job
