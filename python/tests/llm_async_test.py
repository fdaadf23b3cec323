# SPDX-License-Identifier: Apache-2.0
"""LLM under asyncio: the loop is never kept waiting, and what is cancelled is released."""

import asyncio

import llm_models
import pytest

import onebeat
from onebeat import LLM, SamplingParams

GREEDY = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True)
MANY = 40  # A second of work, so that a busy machine does not miss it.
ENDLESS = SamplingParams(max_tokens=490, ignore_eos=True)


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    models = llm_models.make_tiny_models(tmp_path_factory.mktemp("models"), "llama")
    with LLM(models / "llama.gguf", threads=2, max_num_seqs=2, max_waiting=2) as loaded:
        yield loaded


async def expect_idle(llm):
    """The steps in which cancelled requests leave have run when one more reply is there."""
    await llm.async_generate([5], SamplingParams(max_tokens=1))
    load = llm.load_now()
    assert (load["running_completions"], load["waiting_requests"]) == (0, 0)


def test_same_replies_as_without_asyncio(llm):
    prompts = [[5 + i, 6, 7] for i in range(7)]  # more than the queue takes
    wanted = [output.outputs[0].token_ids for output in llm.generate(prompts, GREEDY)]

    async def run():
        together = await llm.async_generate(prompts, GREEDY)
        apart = await asyncio.gather(*(llm.async_generate(prompt, GREEDY) for prompt in prompts))
        streamed = []
        async for chunk in llm.async_stream(prompts[0], GREEDY):
            streamed += chunk.token_ids
        return together, [outputs[0] for outputs in apart], streamed

    together, apart, streamed = asyncio.run(run())
    assert [output.outputs[0].token_ids for output in together] == wanted
    assert [output.outputs[0].token_ids for output in apart] == wanted
    assert streamed == wanted[0]


def test_the_loop_runs_meanwhile(llm):
    async def run():
        ticks = 0
        reply = asyncio.ensure_future(llm.async_generate([[5, 6, 7]] * MANY, ENDLESS))
        while not reply.done():
            await asyncio.sleep(0)
            ticks += 1
        return ticks

    assert asyncio.run(run()) > 50


def test_cancelling_a_task_releases_its_requests(llm):
    async def run():
        task = asyncio.ensure_future(llm.async_generate([[5, 6, 7]] * MANY, ENDLESS))
        while llm.load_now()["running_completions"] < 2:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await expect_idle(llm)

        stream = llm.async_stream([5, 6, 7], ENDLESS)
        async for _ in stream:
            break
        await stream.aclose()
        await expect_idle(llm)

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(llm.async_generate([[5]] * MANY, ENDLESS), 0.05)
        await expect_idle(llm)

    asyncio.run(run())


def test_a_slow_reader_loses_nothing(llm):
    wanted = llm.generate([5, 6, 7], GREEDY)[0].outputs[0].token_ids

    async def run():
        found = []
        async for chunk in llm.async_stream([5, 6, 7], GREEDY):
            await asyncio.sleep(0.002)
            found += chunk.token_ids
        return found

    assert asyncio.run(run()) == wanted


def test_refusals(llm):
    async def run():
        with pytest.raises(ValueError, match="100000"):
            await llm.async_generate([100000])
        with pytest.raises(ValueError, match="prompt 1"):
            await llm.async_generate([[5], []], ENDLESS)
        await expect_idle(llm)
        with pytest.raises(onebeat.UnsupportedError, match="no chat template"):
            await llm.async_chat([{"role": "user", "content": "x"}])

    asyncio.run(run())
