# SPDX-License-Identifier: Apache-2.0
"""Geometries, planners and plans."""

import json

import numpy as np
import pytest

import onebeat


def geometry(**changes):
    fields = dict(num_heads=32, num_kv_heads=8, head_dim=128, page_tokens=16, workers=132)
    return onebeat.AttentionGeometry(**{**fields, **changes})


def planner(*geometries, **changes):
    fields = dict(max_requests=64, max_context_tokens=131072)
    return onebeat.StepPlanner(geometries[0] if len(geometries) == 1 else geometries, **{**fields, **changes})


def test_a_plan_covers_the_work_and_shows_itself():
    plan = planner(geometry()).plan([131072] + [512] * 31)
    plan.check()
    plan.check(lens=[131072] + [512] * 31, query_tokens=[1] * 32)
    assert plan.lens == [131072] + [512] * 31
    assert plan.query_tokens == [1] * 32
    shown = json.loads(plan.to_json())
    assert len(shown["workers"]) == 132
    assert plan.balance()["balance"] < 1.1
    assert plan.svg().startswith("<svg") and plan._repr_svg_() == plan.svg()
    assert "131072" in str(plan)
    assert "32 requests" in repr(plan)
    assert len(bytes(plan)) == plan.nbytes


def test_a_plan_of_other_lengths_does_not_check():
    plan = planner(geometry()).plan([100, 200])
    with pytest.raises(onebeat.InternalError, match="request 1"):
        plan.check(lens=[100, 201])
    with pytest.raises(ValueError, match="query_tokens"):
        plan.check(lens=[100, 200], query_tokens=[1])


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_lengths_are_integers_of_any_stride(dtype):
    lens = np.arange(1, 41, dtype=dtype)[::2]
    assert bytes(planner(geometry()).plan(lens)) == bytes(planner(geometry()).plan(list(range(1, 41, 2))))


def test_several_geometries_give_a_plan_each():
    full, windowed = planner(geometry(), geometry(window_left=127)).plan([1000, 3000])
    assert full.geometry == geometry() and windowed.geometry == geometry(window_left=127)
    assert windowed.balance()["total_cost"] < full.balance()["total_cost"]


def test_a_plan_is_written_again_in_place():
    p = planner(geometry())
    plan = p.plan([5, 6, 7])
    address = plan.data_ptr
    again = p.plan([50, 60], out=plan)
    assert again is plan and plan.data_ptr == address and plan.lens == [50, 60]
    with pytest.raises(onebeat.PlanMismatchError, match=r"out\[0\]"):
        planner(geometry(window_left=7)).plan([1], out=plan)


def test_what_is_beyond_a_limit_is_named():
    p = planner(geometry(), max_requests=2, max_context_tokens=100)
    with pytest.raises(ValueError, match="101.*100"):
        p.plan([5, 101])
    with pytest.raises(ValueError, match="3.*2"):
        p.plan([1, 2, 3])
    with pytest.raises(TypeError, match="lens has elements of float32"):
        p.plan(np.ones(2, np.float32))
    with pytest.raises(TypeError, match="lens is a str"):
        p.plan("12")
    with pytest.raises(ValueError, match="lens has shape"):
        p.plan(np.ones((2, 2), np.int32))


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("num_kv_heads", 5, "KV heads must divide"),
        ("head_dim", 100, "head_dim is 100"),
        ("page_tokens", 24, "page_tokens is 24"),
        ("workers", 0, "workers is 0"),
        ("max_query_tokens", 17, "max_query_tokens is 17"),
        ("kv_dtype", "int8", "kv_dtype is 'int8'"),
        ("device", "tpu", "device is 'tpu'"),
    ],
)
def test_a_geometry_says_what_is_wrong_with_it(field, value, message):
    with pytest.raises(ValueError, match=message):
        geometry(**{field: value})


def test_geometries_compare_by_their_fields():
    assert geometry() == geometry() and hash(geometry()) == hash(geometry())
    assert geometry() != geometry(window_left=3)
    assert geometry().stamp != geometry(num_heads=16).stamp
    assert geometry() != "geometry"
    assert "num_heads=32" in repr(geometry())


def test_heads_of_a_rank_follow_the_attention_group():
    assert onebeat.heads_of_rank(32, 8, 4) == (8, 2)
    assert onebeat.heads_of_rank(32, 8, 16) == (2, 1)
    with pytest.raises(ValueError, match="32 query heads"):
        onebeat.heads_of_rank(32, 8, 3)
