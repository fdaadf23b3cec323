# SPDX-License-Identifier: Apache-2.0
"""LLM: the same tokens as the command line, whatever way they are asked for; and clear refusals."""

import shutil
import subprocess
import sys
import textwrap
import threading

import llm_models
import numpy as np
import pytest

import onebeat
from onebeat import LLM, SamplingParams
from onebeat.llm import sampling

GREEDY = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True)
PROMPT = "The old lighthouse keeper counted"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return llm_models.make_tiny_models(tmp_path_factory.mktemp("models"), "llama", "gemma3", "mistral", "qwen3")


@pytest.fixture(scope="module")
def llm(models):
    with LLM(models / "llama.gguf", threads=2, max_num_seqs=4) as loaded:
        yield loaded


def expect_idle(llm):
    load = llm.load_now()
    assert (load["running_completions"], load["waiting_requests"]) == (0, 0)


# The same tokens


@pytest.mark.parametrize("name", ["llama.gguf", "llama", "gemma3.gguf", "mistral", "qwen3"])
def test_same_tokens_as_the_command_line(models, name):
    greedy = {"temperature": "0", "seed": "5"}
    drawn = {"temperature": "0.9", "seed": "5", "top-k": "40", "top-p": "0.95", "min-p": "0.01"}
    prompts = [PROMPT, "the hour, the wind"]
    with LLM(models / name, threads=2) as llm:
        for arguments in (greedy, drawn):
            given = [word for key, value in arguments.items() for word in (f"--{key}", value)]
            wanted = [llm_models.generate_by_command("-m", models / name, "-n", 12, *given, "-p", prompt)[0]
                      for prompt in prompts]
            params = SamplingParams(max_tokens=12, **{key.replace("-", "_"): float(value) if key != "top-k" else 40
                                                      for key, value in arguments.items() if key != "seed"}, seed=5)
            for output, reply in zip(llm.generate(prompts, params), wanted):
                assert output.prompt_token_ids == reply["prompt_tokens"]
                assert output.outputs[0].token_ids == reply["tokens"]
                assert output.outputs[0].text == reply["text"]
                assert output.outputs[0].finish_reason == reply["finish_reason"]
                assert output.seed == reply["seed"] == 5


def test_same_tokens_as_the_command_line_with_a_real_model():
    try:
        llm = LLM("smollm2", threads=2)
    except onebeat.NotFoundError:
        pytest.skip("smollm2 is not in the cache: `onebeat pull smollm2` fetches its 98 MB")
    with llm:
        common = ["-m", "smollm2", "--temperature", "0", "-n", "12"]
        (reply,) = llm_models.generate_by_command(*common, "-p", "The capital of France is")
        (output,) = llm.generate("The capital of France is", SamplingParams(temperature=0, max_tokens=12))
        assert (output.outputs[0].token_ids, output.outputs[0].text) == (reply["tokens"], reply["text"])
        assert output.prompt_token_ids == reply["prompt_tokens"] == [504, 3575, 282, 4649, 314]

        (reply,) = llm_models.generate_by_command(*common, "--chat", "-p", "Say hi.")
        (output,) = llm.chat([{"role": "user", "content": "Say hi."}], {"temperature": 0, "max_new_tokens": 12})
        assert (output.outputs[0].token_ids, output.outputs[0].text) == (reply["tokens"], reply["text"])
        assert output.prompt_token_ids == reply["prompt_tokens"]
        assert "<|im_start|>user\nSay hi.<|im_end|>" in output.prompt
        (parts,) = llm.chat([[{"role": "user", "content": [{"type": "text", "text": "Say "},
                                                           {"type": "text", "text": "hi."}]}]], GREEDY)
        assert parts.prompt_token_ids == output.prompt_token_ids
        joined = "".join(chunk.text for chunk in llm.stream_chat(
            [{"role": "user", "content": "Say hi."}], SamplingParams(temperature=0, max_tokens=12)))
        assert joined == output.outputs[0].text

        stop = SamplingParams(temperature=0, max_tokens=20, stop="s.\n")
        (reply,) = llm_models.generate_by_command("-m", "smollm2", "--temperature", "0", "-n", "20", "--stop", "s.\n",
                                                  "-p", "The capital of France is")
        (output,) = llm.generate("The capital of France is", stop)
        assert (output.outputs[0].text, output.outputs[0].finish_reason) == (reply["text"], reply["finish_reason"])


# Ways to ask


def test_prompts_of_all_kinds(llm):
    ids = llm.tokenize(PROMPT, add_special_tokens=True)
    assert llm.detokenize(ids) == PROMPT
    wanted = llm.generate(PROMPT, GREEDY)[0].outputs[0].token_ids
    assert len(wanted) == 24
    for prompts in (ids, [ids], [PROMPT], {"prompt": PROMPT}, [{"prompt_token_ids": ids}], np.array(ids),
                    np.array([ids]), tuple(ids)):
        outputs = llm.generate(prompts, GREEDY)
        assert [output.outputs[0].token_ids for output in outputs] == [wanted]
        assert outputs[0].prompt_token_ids == ids
    mixed = llm.generate([PROMPT, ids], [GREEDY, {"temperature": 0, "max_new_tokens": 3, "ignore_eos": True}])
    assert [output.outputs[0].token_ids for output in mixed] == [wanted, wanted[:3]]
    assert llm.generate([], GREEDY) == []


def test_special_tokens_are_spelled_out_unless_asked_for(llm):
    spelled, special = (llm.tokenize("<|eot_id|>", parse_special=parse) for parse in (False, True))
    assert len(special) == 1 and len(spelled) > 1
    (output,) = llm.generate("x<|eot_id|>", GREEDY, parse_special=True)
    assert output.prompt_token_ids[-1] == special[0]
    biased = SamplingParams(logit_bias={special[0]: 100}, max_tokens=2, ignore_eos=True, temperature=0)
    assert llm.generate("x", biased)[0].outputs[0].text == ""
    biased.skip_special_tokens = False
    assert llm.generate("x", biased)[0].outputs[0].text == "<|eot_id|>" * 2
    biased.detokenize = False
    assert llm.generate("x", biased)[0].outputs[0].token_ids == special * 2
    assert llm.generate("x", biased)[0].outputs[0].text == ""


def test_several_replies_and_seeds(llm):
    params = SamplingParams(n=3, max_tokens=8, seed=7, ignore_eos=True, temperature=1.2)
    first, second = (llm.generate(PROMPT, params)[0] for _ in range(2))
    replies = [output.token_ids for output in first.outputs]
    assert [output.index for output in first.outputs] == [0, 1, 2]
    assert replies == [output.token_ids for output in second.outputs]
    assert len({tuple(reply) for reply in replies}) == 3
    params.n = 1
    assert llm.generate(PROMPT, params)[0].outputs[0].token_ids == replies[0]
    params.seed = None
    unseeded = llm.generate([PROMPT] * 2, params)
    assert unseeded[0].outputs[0].token_ids != unseeded[1].outputs[0].token_ids
    params.seed = unseeded[0].seed
    assert llm.generate(PROMPT, params)[0].outputs[0].token_ids == unseeded[0].outputs[0].token_ids


def test_parts_join_to_the_whole(llm):
    prompts = [PROMPT, "Adelaide, Northern Star"]
    params = SamplingParams(n=2, max_tokens=16, seed=3, logprobs=2, ignore_eos=True)
    whole = llm.generate(prompts, params)
    joined = {(prompt, index): ["", [], [], []] for prompt in range(2) for index in range(2)}
    for chunk in llm.stream(prompts, params):
        entry = joined[chunk.prompt_index, chunk.index]
        assert entry[3] == [], "nothing comes after the end"
        entry[0] += chunk.text
        entry[1] += chunk.token_ids
        entry[2] += chunk.logprobs
        entry[3] += [chunk.finish_reason] if chunk.finish_reason else []
    for (prompt, index), (text, ids, logprobs, ends) in joined.items():
        output = whole[prompt].outputs[index]
        assert (output.text, output.token_ids, output.finish_reason) == (text, ids, ends[0])
        assert output.logprobs == logprobs and len(logprobs) == 16
    expect_idle(llm)


def test_log_probabilities(llm):
    params = SamplingParams(temperature=0, max_tokens=6, logprobs=3, ignore_eos=True)
    output = llm.generate(PROMPT, params)[0].outputs[0]
    for token, entries in zip(output.token_ids, output.logprobs):
        assert len(entries) == 3
        ranked = sorted(entries.values(), key=lambda entry: entry.rank)
        assert [entry.rank for entry in ranked] == [1, 2, 3]
        assert ranked[0].logprob >= ranked[1].logprob >= ranked[2].logprob
        assert entries[token].rank == 1 and entries[token].logprob < 0
        if token < llm.info["tokenizer_size"]:
            assert entries[token].decoded_token == llm.detokenize([token], skip_special_tokens=False)
    assert output.cumulative_logprob == pytest.approx(
        sum(entries[token].logprob for token, entries in zip(output.token_ids, output.logprobs)))
    params.logprobs = 0
    assert [list(entries) for entries in llm.generate(PROMPT, params)[0].outputs[0].logprobs] == \
        [[token] for token in output.token_ids]
    params.logprobs = None
    assert llm.generate(PROMPT, params)[0].outputs[0].logprobs is None


def test_ends(llm):
    wanted = llm.generate(PROMPT, GREEDY)[0].outputs[0].token_ids
    fifth = wanted[4]
    before = wanted.index(fifth)
    stopped = llm.generate(PROMPT, SamplingParams(temperature=0, max_tokens=24, ignore_eos=True,
                                                  stop_token_ids=[fifth]))[0].outputs[0]
    assert (stopped.token_ids, stopped.finish_reason) == (wanted[:before], "stop")
    later = llm.generate(PROMPT, SamplingParams(temperature=0, max_tokens=24, ignore_eos=True, min_tokens=before + 1,
                                                stop_token_ids=[fifth]))[0].outputs[0].token_ids
    assert len(later) > before and fifth not in later
    none = llm.generate(PROMPT, SamplingParams(max_tokens=0))[0].outputs[0]
    assert (none.token_ids, none.text, none.finish_reason) == ([], "", "length")
    allowed = llm.generate(PROMPT, SamplingParams(max_tokens=9, ignore_eos=True, allowed_token_ids=[40, 41]))
    assert set(allowed[0].outputs[0].token_ids) <= {40, 41}
    eos = llm.tokenize("<|eot_id|>", parse_special=True)[0]
    ended = llm.generate(PROMPT, SamplingParams(max_tokens=9, logit_bias={eos: 100}))[0].outputs[0]
    assert (ended.token_ids, ended.finish_reason) == ([], "stop")
    full = llm.generate(PROMPT, SamplingParams(max_tokens=None, ignore_eos=True))[0]
    assert full.outputs[0].finish_reason == "length"
    # The last token is never computed: it stands behind the context's end.
    assert len(full.prompt_token_ids) + len(full.outputs[0].token_ids) == llm.info["context_tokens"] + 1


def test_prompts_that_begin_alike_are_computed_once(models):
    prompt = PROMPT * 12
    with LLM(models / "llama.gguf") as llm:
        assert llm.generate(prompt, GREEDY)[0].num_cached_tokens == 0
        assert llm.generate(prompt, GREEDY)[0].num_cached_tokens >= 64
        assert llm.counters()["cached_prompt_tokens"] >= 64
    with LLM(models / "llama.gguf", enable_prefix_caching=False) as llm:
        assert [llm.generate(prompt, GREEDY)[0].num_cached_tokens for _ in range(2)] == [0, 0]


def test_more_prompts_than_the_queue_takes(models):
    with LLM(models / "qwen3.gguf", max_num_seqs=1, max_waiting=1) as llm:
        prompts = [[1 + i, 2, 3] for i in range(9)]
        alone = [llm.generate(prompt, GREEDY)[0].outputs[0].token_ids for prompt in prompts]
        together = llm.generate(prompts, GREEDY)
        assert [output.outputs[0].token_ids for output in together] == alone


# Many at once


def test_two_models_and_many_threads(models, llm):
    with LLM(models / "qwen3.gguf", threads=1) as other:
        wanted = {model: model.generate([5, 6, 7], GREEDY)[0].outputs[0].token_ids for model in (llm, other)}
        found = []

        def ask(model):
            found.append((model, model.generate([5, 6, 7], GREEDY)[0].outputs[0].token_ids))

        threads = [threading.Thread(target=ask, args=(model,)) for model in (llm, other) * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8 and all(tokens == wanted[model] for model, tokens in found)


def test_other_threads_run_while_the_engine_computes(llm):
    turns, go_on = [], threading.Event()

    def count():
        while not go_on.is_set():
            turns.append(llm.load_now()["running_completions"])

    counter = threading.Thread(target=count)
    counter.start()
    llm.generate([[5, 6, 7]] * 4, SamplingParams(max_tokens=400, ignore_eos=True))
    go_on.set()
    counter.join()
    assert turns.count(4) > 3, "they saw it at work"


def test_ending_a_stream_early_releases_its_requests(llm):
    endless = SamplingParams(max_tokens=400, n=2, ignore_eos=True)
    for chunk in llm.stream([[5, 6, 7]] * 8, endless):
        if chunk.token_ids:
            break
    # The next request waits for the step in which the others leave, and for nothing else.
    llm.generate([5], SamplingParams(max_tokens=1))
    expect_idle(llm)


def test_closing_ends_what_runs(models):
    llm = LLM(models / "llama.gguf", max_num_seqs=1)
    stream = llm.stream([[5, 6, 7], [8]], SamplingParams(max_tokens=400, ignore_eos=True))
    next(stream)
    llm.close()
    assert {chunk.finish_reason for chunk in stream if chunk.finish_reason} <= {"abort", "length"}
    for call in (lambda: llm.generate("x"), lambda: llm.stream("x"), lambda: llm.chat([]), lambda: llm.info,
                 llm.load_now, lambda: llm.tokenize("x")):
        with pytest.raises(onebeat.UnavailableError, match="closed"):
            call()
    llm.close()


def test_an_interrupt_ends_the_run_and_nothing_else(models):
    script = textwrap.dedent(f"""
        import os, signal, sys, threading
        from onebeat import LLM, SamplingParams
        llm = LLM({str(models / "llama.gguf")!r}, max_num_seqs=1)
        endless = SamplingParams(max_tokens=490, ignore_eos=True)
        def interrupt():
            while llm.load_now()["running_completions"] == 0:
                pass
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=interrupt).start()
        try:
            llm.generate([[5, 6, 7]] * 2000, endless)
        except KeyboardInterrupt:
            print("interrupted")
        (output,) = llm.generate([5, 6, 7], SamplingParams(max_tokens=3, ignore_eos=True))
        print(len(output.outputs[0].token_ids), llm.load_now()["waiting_requests"])
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["interrupted", "3", "0"]), done.stderr


def test_progress_bar(llm, capsys):
    pytest.importorskip("tqdm")
    llm.generate([[5]] * 9, SamplingParams(max_tokens=1, ignore_eos=True), use_tqdm=True)
    assert "9/9" in capsys.readouterr().err
    llm.generate([[5]] * 9, SamplingParams(max_tokens=1, ignore_eos=True))
    assert capsys.readouterr().err == "", "no terminal"


# Refusals


@pytest.mark.parametrize("arguments, error, words", [
    ({"temperature": -1}, ValueError, ["temperature", "-1"]),
    ({"temperature": float("nan")}, ValueError, ["temperature"]),
    ({"temperature": "hot"}, TypeError, ["temperature", "hot"]),
    ({"top_p": 0}, ValueError, ["top_p"]),
    ({"top_p": 1.5}, ValueError, ["top_p", "1.5"]),
    ({"top_k": -2}, ValueError, ["top_k", "-2"]),
    ({"top_k": 2.5}, TypeError, ["top_k", "2.5"]),
    ({"min_p": 1}, ValueError, ["min_p"]),
    ({"repetition_penalty": 0}, ValueError, ["repetition_penalty"]),
    ({"presence_penalty": 1000}, ValueError, ["presence_penalty", "1000"]),
    ({"frequency_penalty": float("inf")}, ValueError, ["frequency_penalty"]),
    ({"max_tokens": -1}, ValueError, ["max_tokens", "-1"]),
    ({"max_tokens": 2**40}, ValueError, ["max_tokens", str(2**40)]),
    ({"n": 0}, ValueError, ["0 completions", "1 to 4"]),
    ({"n": 5}, ValueError, ["5 completions", "1 to 4"]),
    ({"n": True}, TypeError, ["n is True"]),
    ({"seed": -1}, ValueError, ["seed"]),
    ({"seed": 2**64}, ValueError, ["seed"]),
    ({"stop": [""]}, ValueError, ["stop"]),
    ({"stop": 5}, TypeError, ["stop"]),
    ({"stop": "x", "detokenize": False}, ValueError, ["stop", "detokenize"]),
    ({"stop": "x", "min_tokens": 2}, NotImplementedError, ["min_tokens", "stop"]),
    ({"stop_token_ids": [100000]}, ValueError, ["stop tokens", "100000", "511"]),
    ({"stop_token_ids": "abc"}, TypeError, ["stop_token_ids"]),
    ({"logprobs": 129}, ValueError, ["129"]),
    ({"logprobs": -1}, ValueError, ["logprobs"]),
    ({"logit_bias": {100000: 1}}, ValueError, ["100000"]),
    ({"logit_bias": {1: 1000}}, ValueError, ["1000"]),
    ({"logit_bias": [1]}, TypeError, ["logit_bias"]),
    ({"allowed_token_ids": []}, ValueError, ["allowed_token_ids"]),
    ({"allowed_token_ids": [600]}, ValueError, ["allowed_token_ids", "600", "511"]),
    ({"allowed_token_ids": [7], "stop_token_ids": [7], "min_tokens": 1}, ValueError, ["min_tokens"]),
    ({"ignore_eos": 1}, TypeError, ["ignore_eos"]),
    ({"max_tokens": 3, "max_new_tokens": 4}, TypeError, ["max_tokens", "max_new_tokens"]),
    ({"best_of": 3}, NotImplementedError, ["best_of", "3"]),
    ({"prompt_logprobs": 1}, NotImplementedError, ["prompt_logprobs"]),
    ({"json_schema": "{}"}, NotImplementedError, ["json_schema"]),
    ({"include_stop_str_in_output": True}, NotImplementedError, ["include_stop_str_in_output"]),
    ({"bad_words": ["x"]}, NotImplementedError, ["bad_words"]),
    ({"temprature": 1}, TypeError, ["temprature"]),
])
def test_bad_parameters(llm, arguments, error, words):
    with pytest.raises(error) as raised:
        llm.generate([[5, 6], [7]], SamplingParams(**arguments))
    assert isinstance(raised.value, onebeat.OnebeatError)
    assert all(word in str(raised.value) for word in words), str(raised.value)
    expect_idle_soon(llm)


def expect_idle_soon(llm):
    llm.generate([5], SamplingParams(max_tokens=1))
    expect_idle(llm)


@pytest.mark.parametrize("prompts, error, words", [
    ("", ValueError, ["prompts[0]", "empty"]),
    ([[5], []], ValueError, ["prompt 1", "empty"]),
    ([5, 6, 100000], ValueError, ["token 2", "100000", "511"]),
    ([5, -1], ValueError, ["token 1", "-1"]),
    ([5, 2**40], ValueError, [str(2**40)]),
    ([[5] * 600], ValueError, ["600", "512"]),
    ([[5, "x"]], TypeError, ["prompts[0][1]"]),
    (5, TypeError, ["prompts", "5"]),
    ([None], TypeError, ["prompts[0]"]),
    ({"text": "x"}, NotImplementedError, ["text"]),
    ({"prompt": None}, ValueError, ["prompt"]),
    ({"prompt": "x", "multi_modal_data": {}}, NotImplementedError, ["multi_modal_data"]),
])
def test_bad_prompts(llm, prompts, error, words):
    with pytest.raises(error) as raised:
        llm.generate(prompts, GREEDY)
    assert all(word in str(raised.value) for word in words), str(raised.value)
    expect_idle_soon(llm)


def test_parameters_and_prompts_that_do_not_fit_together(llm):
    with pytest.raises(ValueError, match="1 entries for 2 prompts"):
        llm.generate(["a", "b"], [GREEDY])
    with pytest.raises(TypeError, match="sampling_params is a int"):
        llm.generate("a", 5)


def test_every_name_that_is_refused_has_a_value_that_asks_for_nothing():
    for name, neutral in sampling._NOT_HERE.items():
        for value in neutral:
            assert SamplingParams(**{name: value}) == SamplingParams()
        with pytest.raises(NotImplementedError, match=name):
            SamplingParams(**{name: object()})


def test_bad_models(models, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.gguf"):
        LLM(tmp_path / "nothing.gguf")
    with pytest.raises(FileNotFoundError, match="no-such-name"):
        LLM("no-such-name")
    (tmp_path / "noise.gguf").write_bytes(b"\0" * 4096)
    with pytest.raises(NotImplementedError, match="noise.gguf: not a GGUF file"):
        LLM(tmp_path / "noise.gguf")
    damaged = (models / "llama.gguf").read_bytes()[:5000]
    (tmp_path / "damaged.gguf").write_bytes(damaged)
    with pytest.raises(ValueError, match="damaged.gguf"):
        LLM(tmp_path / "damaged.gguf")
    model = models / "llama.gguf"
    for arguments, error, words in [
        ({"threads": 0}, ValueError, "threads is 0"),
        ({"threads": "many"}, TypeError, "threads"),
        ({"max_model_len": 100000}, ValueError, "100000 tokens; this model takes from 1 to 512"),
        ({"max_num_seqs": 0}, ValueError, "max_requests is 0"),
        ({"kv_cache_dtype": "fp4"}, ValueError, "fp4"),
        ({"compute": "f64"}, ValueError, "f64"),
        ({"isa": "mmx"}, ValueError, "mmx"),
        ({"device": "cuda"}, RuntimeError, "cuda"),
        ({"tensor_parallel_size": 2}, NotImplementedError, "tensor_parallel_size=2"),
        ({"quantization": "fp8"}, NotImplementedError, "quantization"),
        ({"colour": "red"}, TypeError, "colour"),
        ({"context_length": 100, "max_model_len": 200}, TypeError, "max_model_len"),
    ]:
        with pytest.raises(error, match=words):
            LLM(model, **arguments)
    with LLM(model, context_length=100, tensor_parallel_size=1, max_running_requests=2, dtype="auto") as llm:
        assert llm.info["context_tokens"] == 100


def test_chat_needs_a_template_and_messages(models, llm):
    with pytest.raises(NotImplementedError, match="no chat template"):
        llm.chat([{"role": "user", "content": "x"}])


def test_chat_through_a_template(models, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(models / "llama", folder)
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>{{ m.content }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>{% endif %}"
        "{% if mood is defined %}{{ mood }}{% endif %}{% if messages|length > 2 %}{{ raise_exception('too many') }}"
        "{% endif %}")
    message = {"role": "user", "content": "hi <|eot_id|>"}
    with LLM(folder) as llm:
        (output,) = llm.chat([message], GREEDY, chat_template_kwargs={"mood": "calm"})
        eot = llm.tokenize("<|eot_id|>", parse_special=True)[0]
        assert output.prompt_token_ids.count(eot) == 1, "what a message spells is spelled out"
        assert output.prompt.endswith("<|start_header_id|>assistant<|end_header_id|>calm")
        assert not llm.chat([message], GREEDY, add_generation_prompt=False)[0].prompt.endswith("<|end_header_id|>")
        assert len(llm.chat([[message], [message] * 2], GREEDY)) == 2
        assert "".join(chunk.text for chunk in llm.stream_chat([message], GREEDY)) == \
            llm.chat([message], GREEDY)[0].outputs[0].text
        for messages, error, words in [
            ([message] * 3, ValueError, "too many"),
            ("hi", TypeError, "messages"),
            ([{"role": "user"}], TypeError, "content"),
            ([{"content": "x"}], TypeError, "role"),
            ([{"role": "user", "content": [{"type": "image_url"}]}], NotImplementedError, "no text"),
            ([{"role": "user", "content": "x", "tool_calls": []}], NotImplementedError, "tool_calls"),
        ]:
            with pytest.raises(error, match=words):
                llm.chat(messages, GREEDY)


def test_memory_is_given_back(models):
    for _ in range(3):
        llm = LLM(models / "mistral.gguf")
        stream = llm.stream([5], SamplingParams(max_tokens=400, ignore_eos=True))
        next(stream)
        del llm  # The stream keeps the model.
        assert sum(len(chunk.token_ids) for chunk in stream) == 399
