"""What to do about the rows of a status, in the words and commands of this job."""

import shlex
from dataclasses import dataclass

from jaxinv.job import settings
from jaxinv.job.job import Job
from jaxinv.job.report import page
from jaxinv.job.retry import retries
from jaxinv.outcome.status import Status
from jaxinv.settings import resolve

TRIED_AGAIN = (
    Status.INEXACT,
    Status.STEP_LIMIT,
    Status.TOLERANCE_EXHAUSTED,
    Status.SOLVER_FAILED,
)
# Why a row is bad, in half a sentence.
REASON = {
    Status.INEXACT: "nothing confirms the code",
    Status.STEP_LIMIT: "the step limit came before convergence",
    Status.TOLERANCE_EXHAUSTED: "no tolerance made a layer's linear program feasible",
    Status.SOLVER_FAILED: "no solver's answer passed its check",
    Status.BAD_INPUT: "NaN, infinity or nothing observed",
}
NOISE = page.code("--noise")


@dataclass(frozen=True)
class Commands:
    """The lines that go on with a job.

    resume: computes what is missing. again: tries the rows that were not solved, by a method and
    seed that were not tried yet.
    """

    resume: str
    again: str

    @classmethod
    def of(cls, job: Job) -> "Commands":
        """Those of this job, as one types them where the report was written."""
        begin = ["jaxinv", "resume", str(job.folder)]
        allowed = ["--allow-code"] if job.manifest.code else []
        own, auto = job.manifest.method, settings.to_record(resolve("auto"))
        # A search that was longer than auto's own is repeated from other points.
        longer = own["name"] == "auto" and own.get("effort") != "fast"
        method, chosen = ([], own) if longer else (["--method", "auto"], auto)
        tried = [(a.manifest.method, a.manifest.seed) for a in (job, *retries(job))]
        seed = job.manifest.seed
        while (chosen, seed) in tried:
            seed += 1
        other = [] if seed == job.manifest.seed else ["--seed", str(seed)]
        again = [*begin, "--retry-failed", *method, *other, *allowed]
        return cls(shlex.join([*begin, *allowed]), shlex.join(again))


def remedy(status: Status, job: Job) -> str:
    """HTML: what is to be done about rows of this status."""
    if status is Status.SOLVED:
        return "Take the codes as they are."
    if status is Status.CLOSEST:
        sentence = "Take the codes as the nearest there are; what the generator cannot draw is left"
        if job.manifest.noise is not None:
            return f"{sentence}, more of it than the stated noise."
        return f"{sentence}. Where it is noise in truth, state its size in a new job: {NOISE}."
    if status is Status.UNDERDETERMINED:
        return (
            "Take a code as one of many. What makes it one: more observed entries, or a prior of "
            f"the codes in a new job ({NOISE} with {page.code('--prior-scale')})."
        )
    if status is Status.BAD_INPUT:
        look = "Look at these rows of the observations"
        if job.manifest.mask is not None:
            return f"{look}, and at their mask."
        mask = page.code("--mask")
        return f"{look}. Where single entries are missing, leave these out in a new job: {mask}."
    when = "When the job is whole, try" if job.shards.missing() else "Try"
    sentence = f"{when} them again: {page.code(Commands.of(job).again)}."
    if status is Status.INEXACT and job.manifest.noise is None:
        sentence += f" Where the observations are noisy, state the noise in a new job: {NOISE}."
    return sentence
