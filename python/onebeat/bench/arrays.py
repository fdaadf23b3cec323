# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks need of a framework: NumPy on the CPU, torch on a GPU."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

import onebeat
from onebeat.errors import UnavailableError

_READ_BYTES = 1 << 28


class Cpu:
    """NumPy arrays, times by the clock of the processor."""

    device = "cpu"
    cache_bytes = 0  # Runs of one layer are measured as they are.

    def __init__(self, seed: int = 0):
        self.rng = np.random.default_rng(seed)

    def normal(self, shape: tuple[int, ...], dtype: str) -> Any:
        # A cache is large: as few random numbers as tell its tokens apart.
        block = self.rng.standard_normal(min(int(np.prod(shape)), 1 << 20)).astype(np.float32)
        values = np.resize(block, shape)
        if dtype == "bfloat16":
            return (values.view(np.uint32) >> 16).astype(np.uint16)  # The bits: NumPy has no bf16.
        return values.astype(dtype)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Any:
        return np.zeros(shape, "uint16" if dtype == "bfloat16" else dtype)

    def array(self, values: Any) -> Any:
        return np.array(values)

    def host(self, array: Any) -> np.ndarray:
        """A copy: floats as float64, bf16 by its bits, and integers as they are."""
        if array.dtype == np.uint16:
            return (array.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        return array.astype(np.float64) if array.dtype.kind == "f" else array.copy()

    def prepare(self, run: Callable[[], Any]) -> Callable[[], float]:
        """Something that runs it once and returns microseconds."""
        run()

        def timed() -> float:
            begin = time.perf_counter()
            run()
            return (time.perf_counter() - begin) * 1e6

        return timed

    def host_microseconds(self, run: Callable[[], Any]) -> float | None:
        return None  # It is the time itself.

    def read_gigabytes_per_second(self) -> float:
        """Largest of several readings of memory by all threads that attention uses."""
        threads = onebeat.get_num_threads()
        words = np.ones(_READ_BYTES // 8, np.uint64)
        parts = np.array_split(words, threads)
        best = 0.0
        with ThreadPoolExecutor(threads) as pool:
            for _ in range(4):
                begin = time.perf_counter()
                list(pool.map(np.max, parts))
                best = max(best, _READ_BYTES / (time.perf_counter() - begin) / 1e9)
        return best

    def facts(self) -> dict[str, Any]:
        return {"device": f"{platform.machine()} processor", "processors": os.cpu_count(),
                "threads": onebeat.get_num_threads(), "read_limit_by": "numpy.max over 256 MiB"}


class Cuda:
    """torch tensors, times by events around replays of CUDA graphs."""

    def __init__(self, device: str, seed: int = 0):
        if not onebeat.with_cuda:
            raise UnavailableError("this build of onebeat has no CUDA code; use --device cpu")
        try:
            import torch
        except ImportError as error:
            raise UnavailableError("torch is not installed; use --device cpu") from error
        if not torch.cuda.is_available():
            raise UnavailableError("torch finds no GPU; use --device cpu")
        number = int(device.partition(":")[2] or torch.cuda.current_device())
        if number >= torch.cuda.device_count():
            raise UnavailableError(f"--device is {device}; there are {torch.cuda.device_count()} GPUs; use --device "
                                   "cuda:0 or cpu")
        self.torch = torch
        self.device = f"cuda:{number}"
        torch.cuda.set_device(number)
        self.properties = torch.cuda.get_device_properties(number)
        self.cache_bytes = self.properties.L2_cache_size
        self.generator = torch.Generator(device).manual_seed(seed)
        self.rng = np.random.default_rng(seed)
        self._stream = torch.cuda.Stream()

    def normal(self, shape: tuple[int, ...], dtype: str) -> Any:
        torch = self.torch
        return torch.randn(shape, generator=self.generator, device=self.device, dtype=getattr(torch, dtype))

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Any:
        return self.torch.zeros(shape, device=self.device, dtype=getattr(self.torch, dtype))

    def array(self, values: Any) -> Any:
        return self.torch.as_tensor(np.asarray(values), device=self.device)

    def host(self, array: Any) -> np.ndarray:
        return (array.double() if array.is_floating_point() else array).cpu().numpy()

    def prepare(self, run: Callable[[], Any]) -> Callable[[], float]:
        torch = self.torch
        # The stream that captures has run everything once: what it needs is there.
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            run()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            run()
        graph.replay()
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

        def timed() -> float:
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            return begin.elapsed_time(end) * 1e3

        return timed

    def host_microseconds(self, run: Callable[[], Any]) -> float:
        """Of one call outside of a graph, least of several series."""
        best, calls = float("inf"), 100
        for _ in range(5):
            self.torch.cuda.synchronize()
            begin = time.perf_counter()
            for _ in range(calls):
                run()
            best = min(best, (time.perf_counter() - begin) * 1e6 / calls)
        self.torch.cuda.synchronize()
        return best

    def read_gigabytes_per_second(self) -> float:
        torch = self.torch
        words = torch.ones(1 << 28, dtype=torch.int32, device=self.device)
        out = torch.zeros((), dtype=torch.int32, device=self.device)
        timed = self.prepare(lambda: torch.amax(words, 0, out=out))
        return max(words.nbytes / timed() / 1e3 for _ in range(10))

    def facts(self) -> dict[str, Any]:
        torch = self.torch
        return {"device": self.properties.name, "torch": torch.__version__, "cuda": torch.version.cuda,
                "multiprocessors": self.properties.multi_processor_count, "read_limit_by": "torch.amax over 1 GiB"}


def arrays_on(device: str, seed: int) -> Cpu | Cuda:
    return Cpu(seed) if device == "cpu" else Cuda(device, seed)
