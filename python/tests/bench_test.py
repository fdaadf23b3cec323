# SPDX-License-Identifier: Apache-2.0
"""python -m onebeat.bench on the CPU: every candidate is measured and compared, absent peers are named."""

import json
import subprocess
import sys
import types

import numpy as np
import pytest
from backend_runner import why_no_gpu

import onebeat
from onebeat.bench import __main__ as bench
from onebeat.bench import attention, measure, metadata
from onebeat.bench.arrays import Cpu
from onebeat.bench.workload import make_workload

SMALL = ["--device", "cpu", "--batch", "2", "--contexts", "20,70", "--heads", "4/2", "--head-dim", "16", "--repeats", "2",
         "--read-limit", "10"]


def run(capsys, *arguments, code=0):
    assert bench.main([*arguments, *SMALL, "--format", "json"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("what, names, absent", [
    ("attention", ["onebeat", "numpy"], {"fa3", "flashinfer"}),
    ("metadata", ["onebeat", "onebeat, live columns", "one operation after the other"], {"fused Triton kernel"}),
    ("step", ["onebeat", "onebeat, a plan each layer"], {"fa3", "flashinfer"}),
])
@pytest.mark.parametrize("page", [1, 16])
def test_measures_and_compares(capsys, what, names, absent, page):
    report = run(capsys, what, "--page", str(page))
    assert set(report["absent"]) == absent and all(report["absent"].values())
    assert [case["context"] for case in report["cases"]] == [20, 70]
    for case in report["cases"]:
        assert [row["name"] for row in case["rows"]] == names
        for row in case["rows"]:
            assert 0 < row["us_least"] <= row["us"] <= row["us_most"]
            assert row.get("agrees", True)
            assert ("share" in row) == (what != "metadata")
    assert report["parameters"]["page"] == page


def test_table_file_and_picture(capsys, tmp_path):
    out = tmp_path / "report.json"
    assert bench.main(["metadata", *SMALL, "-o", str(out)]) == 0
    shown = capsys.readouterr().out
    for words in ("2 requests of 20 tokens", "one operation after the other", "absent: fused Triton kernel"):
        assert words in shown
    report = json.loads(out.read_text())
    assert report["command"] == "metadata" and report["facts"]["threads"] >= 1
    pytest.importorskip("matplotlib")
    for what in ("attention", "metadata"):
        picture = tmp_path / f"{what}.png"
        assert bench.main([what, *SMALL, "--plot", str(picture)]) == 0
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_wrong_result_is_said_and_fails(capsys, monkeypatch):
    right = metadata.Metadata.eager

    def wrong(self):
        right(self)
        self.sums[1] += 1

    monkeypatch.setattr(metadata.Metadata, "eager", wrong)
    report = run(capsys, "metadata", code=1)
    row = report["cases"][0]["rows"][2]
    assert row["agrees"] is False and row["largest_difference"] == 1
    assert bench.main(["metadata", *SMALL]) == 1
    assert "WRONG by 1" in capsys.readouterr().out


def test_a_peer_that_fails_does_not_stop_the_others(capsys, monkeypatch):
    def failing(work):
        def run():
            raise RuntimeError("cannot do that shape")

        return run, []

    monkeypatch.setattr(attention, "_numpy", failing)
    report = run(capsys, "attention")
    ours, theirs = report["cases"][0]["rows"]
    assert ours["us"] > 0 and theirs["error"] == "RuntimeError: cannot do that shape"
    bench.main(["attention", *SMALL])
    assert "cannot do that shape" in capsys.readouterr().out


def test_results_of_one_do_not_pass_for_those_of_another():
    work = make_workload(Cpu(), [30, 7], heads=2, kv_heads=1, head_dim=16, page=4, dtype="float32")
    candidates, _ = metadata.metadata_candidates(work)
    idle = measure.Candidate("idle", lambda: None, lambda: [array * 0 for array in candidates[0].result()])
    rows = measure.measure(work.arrays, [candidates[0], idle], 1)
    assert rows[0]["agrees"] and not rows[1]["agrees"]


def test_what_a_layer_must_move():
    work = make_workload(Cpu(), [30, 7], heads=4, kv_heads=2, head_dim=16, page=4, dtype="bfloat16", layers=3)
    assert work.layers == 3
    assert work.bytes_of_layer() == 2 * (37 * 2 * 32 + 2 * 4 * 32)
    table = np.asarray(work.page_table)
    assert sorted(table[0, :8].tolist() + table[1, :2].tolist()) == list(range(10)), "every page has one owner"
    np.testing.assert_array_equal(np.asarray(work.req_to_token)[:, ::4] // 4, table)


@pytest.mark.parametrize("arguments, words", [
    (["attention", "--contexts", "12,x"], "--contexts is '12,x'"),
    (["attention", "--contexts", "0"], "--contexts is '0'"),
    (["attention", "--page", "12"], "12"),
    (["attention", "--heads", "5/2"], "5"),
    (["attention", "--threads", "5000"], "5000"),
    (["attention", "--device", "cuda:99"], "cpu"),
])
def test_refusals(capsys, arguments, words):
    assert bench.main([arguments[0], "--device", "cpu", "--batch", "1", "--contexts", "8", *arguments[1:]]) == 1
    error = capsys.readouterr().err
    assert words in error and len(error.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["sing"], ["attention", "--heads", "x"], ["attention", "--batch", "0"],
                                       ["attention", "--device", "gpu"]])
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        bench.main(arguments)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_as_a_program():
    done = subprocess.run([sys.executable, "-m", "onebeat.bench", "metadata", *SMALL], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    assert "microseconds" in done.stdout


# On a GPU


def stand_ins():
    """Modules under the peers' names: FA3's call is ours, which has its arguments; FlashInfer's is PyTorch's."""
    import torch

    fa3 = types.ModuleType("sgl_kernel.flash_attn")
    fa3.flash_attn_with_kvcache = onebeat.flash_attn_with_kvcache
    flashinfer = types.ModuleType("flashinfer")

    class Wrapper:
        def __init__(self, workspace, layout, **buffers):
            assert layout == "NHD" and workspace.nbytes > 0 and len(buffers) == 5

        def plan(self, begins, pages, last, heads, kv_heads, dim, page, *, q_data_type, kv_data_type):
            begins, last = begins.tolist(), last.tolist()
            self.requests = [(pages[begin:end].long(), (end - begin - 1) * page + rest)
                             for begin, end, rest in zip(begins, begins[1:], last)]
            self.groups = heads // kv_heads

        def run(self, q, cache, *, out):
            for request, (pages, length) in enumerate(self.requests):
                k, v = (part[pages].flatten(0, 1)[:length].repeat_interleave(self.groups, 1).transpose(0, 1)
                        for part in cache)
                out[request] = torch.nn.functional.scaled_dot_product_attention(q[request][:, None], k, v)[:, 0]

    flashinfer.BatchDecodeWithPagedKVCacheWrapper = Wrapper
    return {"sgl_kernel": types.ModuleType("sgl_kernel"), "sgl_kernel.flash_attn": fa3, "flashinfer": flashinfer}


@pytest.mark.skipif(bool(why_no_gpu()), reason=why_no_gpu() or "-")
@pytest.mark.parametrize("what, names", [
    ("attention", ["onebeat", "fa3", "flashinfer"]),
    ("metadata", ["onebeat", "onebeat, live columns", "one operation after the other", "fused Triton kernel"]),
    ("step", ["onebeat", "onebeat, a plan each layer", "fa3, metadata in PyTorch", "fa3, fused Triton metadata"]),
])
def test_peers_are_measured_on_a_gpu(capsys, monkeypatch, what, names):
    for name, module in stand_ins().items():
        monkeypatch.setitem(sys.modules, name, module)
    assert bench.main([what, "--device", "cuda", "--batch", "3", "--contexts", "50,300", "--heads", "8/2", "--head-dim",
                       "64", "--repeats", "2", "--layers", "3", "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    for case in report["cases"]:
        assert [row["name"] for row in case["rows"]] == names
        for row in case["rows"]:
            assert row.get("agrees", True) and row["us"] > 0 and row["host_us"] > 0, row


@pytest.mark.skipif(bool(why_no_gpu()), reason=why_no_gpu() or "-")
def test_absent_peers_are_named_on_a_gpu(capsys, monkeypatch):
    for name in ("sgl_kernel", "sgl_kernel.flash_attn", "flashinfer"):
        monkeypatch.setitem(sys.modules, name, None)
    assert bench.main(["attention", "--device", "cuda", "--batch", "2", "--contexts", "50", "--heads", "8/2",
                       "--head-dim", "64", "--repeats", "2", "--layers", "1"]) == 0
    shown = capsys.readouterr().out
    assert "absent: fa3: sgl_kernel (package sglang-kernel)" in shown
    assert "absent: flashinfer: flashinfer (package flashinfer-python)" in shown
