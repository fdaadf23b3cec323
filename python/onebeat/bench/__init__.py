# SPDX-License-Identifier: Apache-2.0
"""Ours beside peers, in one process, on the same buffers: ``python -m onebeat.bench attention|metadata|step``."""
