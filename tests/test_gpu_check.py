"""The check of a CUDA host, dry, on the CPU: each step is recorded, whatever becomes of it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import gpu_check
from benchmarks.gpu_agreement import CASES, Answer, compared
from benchmarks.gpu_profile import covered
from benchmarks.gpu_table import STEPS, tables

WITHOUT_ALL = frozenset(gpu_check.REQUIRED)


def called(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_check", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_a_dry_run_agrees_with_itself_and_is_drawn(tmp_path):
    out = tmp_path / "check.json"
    done = called("--quick", "--steps", "agreement", "batches", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(out.read_text())
    assert [step["ended"] for step in record["steps"]] == ["done", "done"]
    agreement, batches = (step["found"]["rows"] for step in record["steps"])
    # Two processes on one CPU: the same bits.
    assert [(row["method"], row["furthest apart"]) for row in agreement] == [
        ("exact", 0.0),
        ("auto", 0.0),
    ]
    assert [row["batch"] for row in batches] == [8, 16]
    drawn = called("--table", str(out))
    assert "| exact | 4 | 1 |" in drawn.stdout
    assert "#### Batches" in drawn.stdout


def test_a_step_that_is_cut_off_or_fails_is_recorded_and_the_next_begins(tmp_path):
    out = tmp_path / "check.json"
    done = called("--quick", "--limit", "0.1", "--steps", "batches", "pools", "--out", str(out))
    assert done.returncode == 1
    steps = json.loads(out.read_text())["steps"]
    assert [step["ended"] for step in steps] == ["cut off after 0 s"] * 2
    assert all(step["found"] is None for step in steps)
    out.unlink()
    done = called("--quick", "--seconds", "1", "--steps", "profiles", "--out", str(out))
    [step] = json.loads(out.read_text())["steps"]
    assert step["ended"] == "not begun: no time is left"
    assert "Not begun: no time is left." in tables({"steps": [step]})


def test_a_step_that_fails_leaves_its_sentence(tmp_path):
    broken = gpu_check.Step("batches", "gpu_batches", ("--methods", "no-such-method"), 60)
    record = gpu_check.taken(broken, tmp_path, 60, {"PYTHONPATH": str(ROOT)})
    assert record["ended"].startswith("failed (1): ValueError: ")
    assert "no-such-method" in record["ended"]


def test_what_is_not_installed_is_left_out_by_name():
    bare = {step.name: step for step in gpu_check.steps(False, WITHOUT_ALL)}
    assert bare["pools"].skipped == ("PIQP dense: piqp is not installed",)
    assert "PIQP dense" not in bare["pools"].arguments
    assert [line.split(": ")[1] for line in bare["rivals"].skipped] == [
        "torch is not installed"
    ] * 2
    every = gpu_check.steps(False, WITHOUT_ALL | {"torch", "piqp"})
    assert not any(step.skipped for step in every)
    # In all they fit the time, and each has a table.
    assert sum(step.limit for step in every) <= 490
    assert [step.name for step in every] == [*STEPS]


def test_wheels_that_are_not_there_are_refused(tmp_path):
    done = called("--quick", "--wheels", str(tmp_path), "--out", str(tmp_path / "check.json"))
    assert done.returncode == 1
    assert "no .whl file in there" in done.stderr


@pytest.mark.parametrize(("apart", "agree"), [(1e-9, True), (1e-7, False)])
def test_agreement_is_judged_on_rows_that_both_call_solved(apart, agree):
    truth = np.array([[1.0, 0.0], [0.0, 2.0]])
    cpu = Answer(truth, np.array([0, 0]))
    here = Answer(truth + np.array([[apart, 0.0], [5.0, 5.0]]), np.array([0, 2]))
    row = compared(CASES[0], here, cpu, truth)
    assert row["both solved"] == row["same status"] == 0.5
    assert row["furthest apart"] == pytest.approx(apart, rel=1e-6)
    assert row["agree"] is agree


def test_time_on_a_device_counts_overlap_once():
    assert covered([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0)]) == 4.0
