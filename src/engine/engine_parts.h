// SPDX-License-Identifier: Apache-2.0
// What an Engine is made of.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "engine/cpu/cpu_forward.h"
#include "engine/request_check.h"
#include "engine/steps/request_queue.h"
#include "engine/steps/step_loop.h"
#include "model/model.h"
#include "onebeat/engine.h"
#include "onebeat/thread_pool.h"

namespace onebeat {

struct Engine::Parts {
  std::unique_ptr<Model> model;
  std::unique_ptr<ThreadPool> pool;
  CpuForwardOptions forward;
  RequestLimits limits;
  ModelFacts facts;
  std::unique_ptr<RequestQueue> queue;
  std::unique_ptr<PageCache> cache;
  std::unique_ptr<StepLoop> loop;

  std::mutex step_mutex;           // held during a step, and by whoever reads loop or cache
  std::atomic<int> onlookers = 0;  // who wait for it between steps
  std::mutex thread_mutex;         // of the two below
  std::thread thread;
  std::atomic<bool> threaded = false;
  std::atomic<bool> stopping = false;

  bool step() {
    // A thread that runs steps would take the mutex again before anybody who waits for it.
    while (onlookers.load(std::memory_order_acquire) > 0) std::this_thread::yield();
    const std::lock_guard lock(step_mutex);
    return loop->step();
  }
  /// The step mutex, soon even while a thread runs steps.
  [[nodiscard]] std::unique_lock<std::mutex> between_steps() {
    ++onlookers;
    std::unique_lock lock(step_mutex);
    --onlookers;
    return lock;
  }
  void run_until_stopped();
};

}  // namespace onebeat
